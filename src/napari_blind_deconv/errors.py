"""Errors of a computation. Each message is one sentence for the user."""

from __future__ import annotations

__all__ = ["DeconvolutionError", "OutOfMemoryError", "first_line"]


class DeconvolutionError(Exception):
    """The computation failed; the message is one sentence for the user."""


class OutOfMemoryError(DeconvolutionError):
    """The computation ran out of memory; a smaller image or tile may succeed."""


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error, or its `repr` if the message is empty."""
    return (str(error).strip() or repr(error)).splitlines()[0]
