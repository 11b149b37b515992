"""Choice of the device a run computes on."""

from __future__ import annotations

import torch

__all__ = ["choose_device", "computes_bfloat16"]


def choose_device(name: str) -> torch.device:
    """The device of this name, as in `Settings.device`.

    Raises
    ------
    ValueError
        For a device this machine does not have.
    """
    kind, _, index = name.partition(":")
    available = {
        "cuda": torch.cuda.is_available() and int(index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available() and _allocates("mps"),
        "cpu": True,
    }
    if kind == "auto":
        return torch.device(next(kind for kind, found in available.items() if found))
    if not available[kind]:
        raise ValueError(f"The device {name!r} was not found on this machine; 'cpu' always works.")
    return torch.device(name)


def _allocates(kind: str) -> bool:
    """Whether a device can be used: a virtual Mac reports a GPU and has no memory for it."""
    try:
        torch.empty(1, device=kind)
    except RuntimeError:
        return False
    return True


def computes_bfloat16(device: torch.device) -> bool:
    """Whether this device computes in bfloat16 natively, and so faster than in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
