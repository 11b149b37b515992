"""Choice of the device a run computes on."""

from __future__ import annotations

import torch

__all__ = ["DEVICE_NAMES", "choose_device", "computes_bfloat16"]

DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> torch.device:
    """The device of this name; ``"auto"`` takes a CUDA GPU, then Apple's, then the CPU.

    Raises
    ------
    ValueError
        For a name that is not a device, or a device this machine does not have.
    """
    kind, colon, index = name.partition(":")
    if kind not in DEVICE_NAMES or (colon and not (kind == "cuda" and index.isdecimal())):
        raise ValueError(
            f"There is no device {name!r}; devices are {', '.join(DEVICE_NAMES)} and cuda:N, "
            "the GPU of number N."
        )
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
