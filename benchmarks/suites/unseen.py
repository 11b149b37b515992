"""Other disturbances, PSFs and exposures than those of ``conditions``; none was tuned on.

Their micrographs are among the truths of ``fluorescence``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scipy import ndimage

from benchmarks.cases import OBJECTIVE
from benchmarks.suites.conditions import CONTROL, Condition, Conditions, expose
from benchmarks.unseen_disturbances import UNSEEN
from napari_blind_deconv.numerics.optics import gaussian_kernel, widefield_psf

__all__ = ["SUITE"]

# Micrograph, photons, PSF. Actin is also a micrograph of ``conditions``.
EXPOSURES = (
    ("DNA", 400.0, gaussian_kernel((25, 25), 1.7)),
    ("microtubules", 800.0, widefield_psf(31, **OBJECTIVE)),
    ("actin", 200.0, widefield_psf(31, **OBJECTIVE)),
)
SIDE = 224  # pixels


def _conditions(data: Path) -> Iterator[Condition]:
    for micrograph, photons, psf in EXPOSURES:
        exposure = expose(
            data,
            micrograph,
            lambda scene, psf=psf: ndimage.convolve(scene, psf, mode="reflect"),  # type: ignore[misc]
            photons=photons,
            side=SIDE,
        )
        yield CONTROL, micrograph, CONTROL, exposure
        for name, disturb in UNSEEN.items():
            yield "unseen", micrograph, name, disturb(exposure)


SUITE = Conditions("unseen", _conditions)
