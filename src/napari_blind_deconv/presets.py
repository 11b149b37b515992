"""The presets: the settings in which each one differs from the defaults of `Settings`.

Others can be added to `PRESETS`. Those with a text in `PRESET_HELP` are offered to users.
"""

from __future__ import annotations

from typing import Any

__all__ = ["PRESETS", "PRESET_HELP"]

# As published: 5 scales of 128 channels and 16 skip channels. Section 4.1 gives the other values.
_PUBLISHED: dict[str, Any] = {
    "kernel_size_limit": None,
    "max_iterations": 10_000,
    "sparsity": 1e-5,
    "sparsity_scale": "published",
    "window": 100,
    "patience": 500,
    "kernel_start": "flat",
    "kernel_features": 64,
    "stop_at_noise": False,
    "headroom": 0.0,
    "averaging": 0.0,
    "image_start": "random",
    "channels": (128,) * 5,
    "precision": "float32",
}
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {},
    "draft": {"max_iterations": 15},
    "paper-small": {
        **_PUBLISHED,
        "image_learning_rate": 1e-2,
        "kernel_learning_rate": 1e-3,
        # From the published flat kernel, 400 iterations do not improve the image.
        "kernel_start": 2.0,
        "channels": (16, 32, 64, 64, 64),
        "precision": "auto",
        "max_iterations": 400,
    },
    "paper-synthetic": {
        **_PUBLISHED,
        "image_learning_rate": 1e-2,
        "kernel_learning_rate": 1e-4,
    },
    "paper-real": {
        **_PUBLISHED,
        "image_learning_rate": 1e-3,
        "kernel_learning_rate": 1e-5,
    },
}
PRESET_HELP = {
    "fast": "Starts from the blur found in the image; takes seconds to a minute on a laptop.",
    "draft": "As `fast`, with only a few iterations; takes seconds.",
    "paper-small": "As published, with a small network, 400 iterations and a Gaussian as the first "
    "kernel; takes minutes.",
    "paper-synthetic": "As published for synthetic blur; takes very long on a CPU, made for a GPU.",
    "paper-real": "As published for photographs; a tenth of the learning rates, the same run time.",
}
