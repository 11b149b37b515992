"""The peak memory of a measurement."""

from __future__ import annotations

import sys

import torch

__all__ = ["peak_memory"]

_GIBI = 2**30


def peak_memory(device: torch.device) -> float | None:
    """Return the peak memory in GiB: of the process on a CPU, of PyTorch on a GPU.

    None on Windows, where it is unknown.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _GIBI
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIBI
