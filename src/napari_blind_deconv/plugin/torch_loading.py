"""PyTorch in a process that draws with OpenGL."""

from __future__ import annotations

import sys
from threading import Lock

__all__ = ["load_torch"]

_loading = Lock()


def load_torch() -> None:
    """Load what torch's first optimiser loads, but not triton; to be called in a thread.

    Triton, which nothing here uses, brings an LLVM of its own, and the process dies if OpenGL has
    loaded another before, as Mesa does on Linux. torch remembers that it found none, so other code
    in this process cannot compile with it either.
    """
    with _loading:
        if "triton" in sys.modules:  # and alive
            return
        sys.modules["triton"] = None  # type: ignore[assignment]  # imports of it fail
        try:
            import torch._dynamo  # noqa: F401
        finally:
            del sys.modules["triton"]
