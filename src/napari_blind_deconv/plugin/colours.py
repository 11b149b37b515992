"""The two colours that tell things apart, on the screen's layers as in the panel's plots."""

__all__ = ["BLUE", "ORANGE"]

BLUE, ORANGE = "#4c9be8", "#ff9f1c"
