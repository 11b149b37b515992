"""Scores of an estimate: similarity to the truth, flux, and similarity of the kernel."""

from __future__ import annotations

import functools
from dataclasses import replace
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
)

__all__ = ["quality", "score"]

# The best shift depends on the map of intensities, and the best map on the shift. After this many
# turns neither changes.
_TURNS = 3
_MIN_SIDE_FOR_VIF = 41  # pixels that its four scales need
# The network of LPIPS, by its name in torchvision. The weights are used if they are already there;
# a benchmark does not download them.
_LPIPS_WEIGHTS = "alexnet-owt-7be5be79.pth"


def quality(case: Case, image: NDArray[np.floating]) -> float:
    """Return the PSNR in dB, aligned as the case states."""
    return _aligned(case, image).psnr(case.peak)


def score(
    case: Case, image: NDArray[np.floating], kernel: NDArray[np.floating] | None
) -> dict[str, Any]:
    """Return all scores of an estimate; those of the kernel only if there is one."""
    aligned = _aligned(case, image)
    figures = {
        "psnr": aligned.psnr(case.peak),
        "ssim": aligned.ssim(case.peak),
        "vif": _vif(aligned, case),
        "lpips": _lpips(aligned, case),
        "flux": _flux(case, image),
        "shift": [float(s) for s in aligned.shift],
    }
    if kernel is not None and case.kernel is not None:
        true_width = kernel_width(case.kernel)
        figures["kernel_similarity"] = kernel_similarity(case.kernel, kernel)
        figures["width_error"] = 100 * (kernel_width(kernel) / true_width - 1)
    return figures


def _aligned(case: Case, image: NDArray[np.floating]) -> Aligned:
    """Return truth and estimate, aligned as the case states."""
    how = case.alignment
    search: dict[str, Any] = {"border": how.border, "reach": how.reach, "moved": how.moved}
    estimate = case.clipped(image)
    if not how.fits_intensities:
        return align(case.truth, estimate, **search)
    spread = float(estimate.std())
    slope = float(case.truth.std()) / spread if spread > 0 else 0.0
    intercept = float(case.truth.mean() - slope * estimate.mean())
    for _ in range(_TURNS):
        estimate = slope * estimate + intercept
        aligned = align(case.truth, estimate, **search)
        slope, intercept = _intensity_map(aligned)
    return replace(aligned, estimate=slope * aligned.estimate + intercept)


def _intensity_map(aligned: Aligned) -> tuple[float, float]:
    """Return slope and intercept of the affine map from estimate to truth with the least error."""
    means = aligned.estimate.mean(), aligned.truth.mean()
    estimate, truth = aligned.estimate - means[0], aligned.truth - means[1]
    energy = float(np.square(estimate).sum())
    slope = float((estimate * truth).sum()) / energy if energy > 0 else 0.0
    return slope, float(means[1] - slope * means[0])


def _flux(case: Case, image: NDArray[np.floating]) -> float | None:
    """Return the light of an estimate divided by that of the truth; None if it has other units."""
    if case.alignment.fits_intensities:
        return None
    light, true_light = (
        float((pixels - case.offset).sum()) for pixels in (case.clipped(image), case.truth)
    )
    return light / true_light


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
