"""The presets: by name, what each sets otherwise than the defaults of `Settings`.

Others may be added to `PRESETS`; those with a text in `PRESET_HELP` are offered to users.
"""

from __future__ import annotations

from typing import Any

__all__ = ["PRESETS", "PRESET_HELP"]

# The paper's network has 128 channels on each of 5 scales and 16 skip channels; 4.1 gives the rest.
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
    "fast": "Starts from the blur found in the image: seconds to a minute on a laptop.",
    "draft": "The same with a few steps of the fit only: seconds.",
    "paper-synthetic": "As published for synthetic blur: very long on a CPU, made for a GPU.",
    "paper-real": "As published for photographs: ten times smaller steps, and as long.",
}
