"""Errors of a computation. Each message is one sentence for the user."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "DeconvolutionError",
    "OutOfMemoryError",
    "TooLargeForNetworksError",
    "UntoldKernelError",
    "first_line",
]


class DeconvolutionError(Exception):
    """The computation failed; the message is one sentence for the user."""


class OutOfMemoryError(DeconvolutionError):
    """The computation ran out of memory; a smaller image or tile may succeed."""


class TooLargeForNetworksError(DeconvolutionError):
    """The networks of a block would take too much memory; its estimate up to them is `image`."""

    def __init__(self, image: NDArray[np.floating[Any]]) -> None:
        super().__init__("The block is too large for the networks; try tiles.")
        self.image = image


class UntoldKernelError(ValueError):
    """A volume tells too little about its kernel."""


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error, or its `repr` if the message is empty."""
    return (str(error).strip() or repr(error)).splitlines()[0]
