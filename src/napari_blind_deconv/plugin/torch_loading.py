"""Loading of PyTorch in a process that draws with OpenGL."""

from __future__ import annotations

import sys
from threading import Lock

__all__ = ["load_torch"]

_loading = Lock()


def load_torch() -> None:
    """Import what torch's first optimiser imports, except triton; call this in a thread.

    Nothing here uses triton. Importing it loads its own copy of LLVM, and the process crashes if
    OpenGL has loaded another copy before, as Mesa does on Linux. torch remembers that it found no
    triton, so other code in this process cannot compile with triton either.
    """
    with _loading:
        if "triton" in sys.modules:  # it is loaded already, and the process has survived
            return
        sys.modules["triton"] = None  # type: ignore[assignment]  # makes its import fail
        try:
            import torch._dynamo  # noqa: F401
        finally:
            del sys.modules["triton"]
