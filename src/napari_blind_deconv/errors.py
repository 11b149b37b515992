"""How a computation fails; each message is one sentence for a person."""

from __future__ import annotations

__all__ = ["DeconvolutionError", "OutOfMemoryError", "first_line"]


class DeconvolutionError(Exception):
    """A run failed while computing; the message is one sentence for a person."""


class OutOfMemoryError(DeconvolutionError):
    """The same for want of memory: something smaller may go well."""


def first_line(error: BaseException) -> str:
    """First line of an error's message, or how Python writes the error if it has none."""
    return (str(error).strip() or repr(error)).splitlines()[0]
