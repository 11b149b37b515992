"""Blind deconvolution of microscope images, without a known point spread function (PSF).

Importing this package is fast: torch, scikit-image, Qt and napari are imported on first use.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_blind_deconv.bead_psf import BeadPsf, psf_from_beads
    from napari_blind_deconv.engine.deconvolve import deconvolve, iterate
    from napari_blind_deconv.engine.stacks import deconvolve_stack
    from napari_blind_deconv.errors import DeconvolutionError
    from napari_blind_deconv.image import Image
    from napari_blind_deconv.kernel import Kernel, KernelChoice
    from napari_blind_deconv.optics import Optics
    from napari_blind_deconv.psf import microscope_psf, prepare_psf
    from napari_blind_deconv.reasons import StopReason
    from napari_blind_deconv.results import BlockResult, Result, Snapshot, StackResult, Stage
    from napari_blind_deconv.settings import Settings

# Large tensors lie in huge pages of memory, as arrays of numpy do. Linux provides these in a third
# of the time. torch reads this before its first large tensor; elsewhere it has no effect.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

__all__ = [
    "BeadPsf",
    "BlockResult",
    "DeconvolutionError",
    "Image",
    "Kernel",
    "KernelChoice",
    "Optics",
    "Result",
    "Settings",
    "Snapshot",
    "StackResult",
    "Stage",
    "StopReason",
    "deconvolve",
    "deconvolve_stack",
    "iterate",
    "microscope_psf",
    "prepare_psf",
    "psf_from_beads",
]
__version__ = version("napari-blind-deconv")

_MODULES = {
    "deconvolve": "engine.deconvolve",
    "deconvolve_stack": "engine.stacks",
    "iterate": "engine.deconvolve",
    "microscope_psf": "psf",
    "psf_from_beads": "bead_psf",
    "BeadPsf": "bead_psf",
    "prepare_psf": "psf",
    "DeconvolutionError": "errors",
    "Image": "image",
    "Kernel": "kernel",
    "KernelChoice": "kernel",
    "Optics": "optics",
    "Result": "results",
    "BlockResult": "results",
    "Snapshot": "results",
    "StackResult": "results",
    "Stage": "results",
    "StopReason": "reasons",
    "Settings": "settings",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
