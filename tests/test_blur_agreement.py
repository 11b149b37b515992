"""Which plane a kernel is found on, and whether planes and parts of them are blurred alike."""

import numpy as np
import pytest
from scipy import ndimage

from napari_blind_deconv import KernelChoice, Settings
from napari_blind_deconv.engine.blur_agreement import disagreement, varies_over_field
from napari_blind_deconv.engine.channel_statistics import channel_statistics
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.quality import judge
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stack_plan import make_plan
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.reasons import Finding, StopReason
from napari_blind_deconv.results import Notice
from napari_blind_deconv.synthetic import fluorescence_scene
from napari_blind_deconv.task import Task

TRUTH = fluorescence_scene((128, 128), seed=2).truth.astype(float)


def stack(sigmas, photons):
    """Exposures of one scene with different blurs and brightnesses."""
    random = np.random.default_rng(0)
    scene = TRUTH / TRUTH.max()
    planes = [
        random.poisson(count * ndimage.gaussian_filter(scene, sigma) + 5) + random.normal(100, 2)
        for sigma, count in zip(sigmas, photons, strict=True)
    ]
    return np.stack(planes).astype(np.float32)


class TestDisagreement:
    def test_planes_that_are_blurred_differently(self):
        image = Image(stack((1.2, 3.0), (2000, 2000)), "ZYX")
        notice = disagreement(image, [(0,), (1,)])
        assert "Z 0 and Z 1 are blurred" in notice.text

    def test_bleaching_is_none(self):
        image = Image(stack((1.8, 1.8, 1.8), (2000, 1000, 500)), "TYX")
        assert disagreement(image, [(0,), (1,), (2,)]) is None

    @pytest.mark.parametrize(("scope", "notices"), [("per-channel", 1), ("per-slice", 0)])
    def test_the_plan_of_a_stack_tells_if_planes_share_a_kernel(self, scope, notices):
        image = Image(stack((1.2, 2.4), (2000, 2000)), "ZYX")
        task = Task(image, Settings(solver="wiener"), KernelChoice.find(scope))
        steps = list(make_plan(task, RunControl()))
        assert sum(isinstance(step, Notice) for step in steps) == notices


def tilted(sigmas):
    """Return an exposure whose upper and lower half are blurred by different Gaussians."""
    truth = np.tile(TRUTH / TRUTH.max(), (4, 4))
    truth[256:] = np.rot90(truth[256:], 2)
    upper, lower = (ndimage.gaussian_filter(truth, sigma) for sigma in sigmas)
    light = np.vstack([upper[:256], lower[256:]])
    return np.random.default_rng(0).poisson(1000 * light + 10).astype(np.float32)


class TestField:
    @pytest.mark.parametrize(("sigmas", "varies"), [((1.2, 3.0), True), ((1.8, 1.8), False)])
    def test_quarters_that_are_blurred_differently_are_told(self, sigmas, varies):
        image = Image(tilted(sigmas), "YX")
        inspection = Inspection.of(image)
        assert varies_over_field(inspection) == varies
        kernel = Kernel.of(gaussian_kernel((9, 9), 1.5), source=KernelSource.GAUSSIAN)
        found = judge(inspection, image.array, kernel, reason=StopReason.COMPLETED).findings
        assert (Finding.UNEVEN in found) == varies

    def test_a_given_kernel_is_not_questioned(self):
        image = Image(tilted((1.2, 3.0)), "YX")
        kernel = Kernel.of(gaussian_kernel((9, 9), 1.5))
        judgement = judge(Inspection.of(image), image.array, kernel, reason=StopReason.COMPLETED)
        assert Finding.UNEVEN not in judgement.findings

    def test_small_planes_are_not_divided(self):
        small = Image(tilted((1.2, 3.0))[128:384, :256], "YX")
        assert not varies_over_field(Inspection.of(small))


class TestInformation:
    def test_it_grows_with_light_and_falls_with_blur(self):
        planes = stack((1.5, 1.5, 3.0), (2000, 200, 2000))
        bright, dim, blurred = (Spectrum.of(plane).information for plane in planes)
        assert bright > dim
        assert bright > blurred

    def test_it_does_not_depend_on_gain_and_offset(self):
        plane = stack((1.5,), (500,))[0]
        expected = Spectrum.of(plane).information
        assert Spectrum.of(7 * plane - 300).information == pytest.approx(expected, rel=1e-3)

    def test_a_plane_with_a_dead_column_does_not_win(self):
        planes = stack((1.5, 1.5), (2000, 500))
        planes[1, :, 40] = 0
        [statistics] = channel_statistics(Image(planes, "ZYX"))
        assert statistics.sharpest == (0,)
