"""What the tests of the panel share."""

import re

__all__ = ["states_time"]


def states_time(text: str) -> bool:
    """Return whether *Will take* states a time, so that the machine has been measured."""
    return re.search(r"\d+ (s|min|h)\b", text) is not None
