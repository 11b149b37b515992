"""Scores of an estimate: similarity to the truth, flux, and similarity of the kernel."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cases import Case
from napari_blind_deconv.numerics.metrics import (
    Aligned,
    align,
    kernel_similarity,
    kernel_width,
    psnr_up_to_shift,
)

__all__ = ["quality", "score"]

_MIN_SIDE_FOR_VIF = 41  # pixels that its four scales need
# The network of LPIPS, by its name in torchvision. The weights are used if they are already there;
# a benchmark does not download them.
_LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"


def quality(case: Case, image: NDArray[np.floating]) -> float:
    """Return the PSNR in dB after the best shift."""
    return psnr_up_to_shift(case.truth, case.clipped(image), peak=case.peak, moved=case.moved)


def score(
    case: Case, image: NDArray[np.floating], kernel: NDArray[np.floating] | None
) -> dict[str, Any]:
    """Return all scores of an estimate; those of the kernel only if there is one."""
    image = case.clipped(image)
    aligned = align(case.truth, image, moved=case.moved)
    figures = {
        "psnr": aligned.psnr(case.peak),
        "ssim": aligned.ssim(case.peak),
        "vif": _vif(aligned, case),
        "lpips": _lpips(aligned, case),
        "flux": float((image - case.offset).sum() / (case.truth - case.offset).sum()),
        "shift": [float(s) for s in aligned.shift],
    }
    if kernel is not None:
        true_width = kernel_width(case.kernel)
        figures["kernel_similarity"] = kernel_similarity(case.kernel, kernel)
        figures["width_error"] = 100 * (kernel_width(kernel) / true_width - 1)
    return figures


def _tensors(aligned: Aligned, case: Case, peak: float) -> tuple[torch.Tensor, torch.Tensor]:
    pair = (aligned.estimate, aligned.truth)
    estimate, truth = (
        torch.from_numpy(peak * (image - case.offset) / case.peak)[None, None].float()
        for image in pair
    )
    return estimate, truth


def _vif(aligned: Aligned, case: Case) -> float | None:
    """Return the visual information fidelity (Sheikh and Bovik, 2006).

    Its noise is in grey levels up to 255. None for images that are too small for its four scales.
    """
    if min(aligned.truth.shape) < _MIN_SIDE_FOR_VIF:
        return None
    from torchmetrics.functional.image import visual_information_fidelity

    return float(visual_information_fidelity(*_tensors(aligned, case, 255.0)))


def _lpips(aligned: Aligned, case: Case) -> float | None:
    """Return the learned perceptual distance (Zhang et al., 2018); None without its weights."""
    distance = _lpips_network()
    if distance is None:
        return None
    estimate, truth = (
        image.clamp(0, 1).expand(-1, 3, -1, -1) for image in _tensors(aligned, case, 1.0)
    )
    return float(distance(estimate, truth))


@functools.cache
def _lpips_network() -> Any:
    if not (Path(torch.hub.get_dir()) / "checkpoints" / _LPIPS_WEIGHTS).is_file():
        return None
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
