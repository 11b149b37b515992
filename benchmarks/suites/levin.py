"""Eight real camera shakes of Levin et al. (2009), scored as in the literature."""

from benchmarks.cases import camera_shake, camera_shakes
from benchmarks.comparison import CLASSICAL, Comparison

__all__ = ["SUITE"]

SUITE = Comparison(
    name="levin",
    cases=camera_shakes,
    methods=(
        "draft",
        "fast",
        *CLASSICAL,
        "fast, true PSF",
        "selfdeblur, true size, reduced",
        "wang, true size, reduced",
    ),
    # These are slow, because their canvas is twice as wide as the image.
    slow_methods=("selfdeblur, half the image, reduced", "paper-synthetic, reduced"),
    slow_cases=lambda data: (camera_shake(data, im, kernel) for im in (1, 2) for kernel in (1, 5)),
    parts={"capture": 0},
)
