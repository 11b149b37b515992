"""Choice of the device that computes a run."""

from __future__ import annotations

import torch

__all__ = ["choose_device", "computes_bfloat16"]


def choose_device(name: str) -> torch.device:
    """Return the device with the name given in `Settings.device`.

    ``"auto"`` takes CUDA before MPS before the CPU.

    Raises
    ------
    ValueError
        If this machine does not have the device.
    """
    kind, _, index = name.partition(":")
    available = {
        "cuda": torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available() and _allocates("mps"),
        "cpu": True,
    }
    if kind == "auto":
        return torch.device(next(kind for kind, is_usable in available.items() if is_usable))
    if not available[kind]:
        raise ValueError(
            f"Expected a device of this machine, but {name!r} was not found; 'cpu' always works."
        )
    return torch.device(name)


def _allocates(kind: str) -> bool:
    """Return whether a device has memory; a virtual Mac reports a GPU without memory."""
    try:
        torch.empty(1, device=kind)
    except RuntimeError:
        return False
    return True


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes natively in bfloat16, which is faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
