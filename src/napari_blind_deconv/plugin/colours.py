"""The two colours that layers and plots share."""

__all__ = ["BLUE", "ORANGE"]

BLUE, ORANGE = "#4c9be8", "#ff9f1c"
