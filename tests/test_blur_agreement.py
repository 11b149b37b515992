"""Which plane a kernel is found on, and whether planes and parts of them are blurred alike."""

import numpy as np
import pytest
from scipy import ndimage

from napari_blind_deconv import KernelChoice, Settings
from napari_blind_deconv.engine.blur_agreement import disagreement, uneven_blur
from napari_blind_deconv.engine.channel_statistics import channel_statistics
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.quality import judge
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stack_plan import make_plan
from napari_blind_deconv.image import BlockKind, Image
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
        assert bool(uneven_blur(inspection)) == varies
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
        assert not uneven_blur(Inspection.of(small))


def scattering(sigmas, planes: int = 48) -> Image:
    """Return a volume whose blur changes from a Gaussian at its first planes to one at its last."""
    random = np.random.default_rng(3)
    shape = (planes, 80, 80)
    points = (random.random(shape) > 0.998) * random.uniform(0.3, 1, shape)
    light = np.zeros(shape)
    steps = np.linspace(*sigmas, 5)
    for plane, sigma in zip(np.linspace(0, planes - 1, 5), steps, strict=True):
        blurred = ndimage.gaussian_filter(points, sigma, mode="wrap")
        distance = np.abs(np.arange(planes) - plane) / (planes - 1) * 4
        light += np.clip(1 - distance, 0, 1)[:, None, None] * blurred / blurred.max()
    counts = random.poisson(500 * light + 10).astype(np.float32)
    return Image(counts, "ZYX", dict.fromkeys("ZYX", 0.1), "µm", space="ZYX")


class TestDepth:
    @pytest.mark.parametrize(
        ("sigmas", "finding"),
        [
            ((1.2, 2.2), Finding.WIDER_AT_END),
            ((2.2, 1.2), Finding.WIDER_AT_START),
            ((1.6, 1.6), None),
        ],
    )
    def test_the_wider_end_is_told(self, sigmas, finding):
        found = uneven_blur(Inspection.of(scattering(sigmas)))
        assert list(found) == [finding] * (finding is not None)
        # The means of the thirds differ less than the ends.
        assert all(40 <= percent <= 100 for percent in found.values())

    def test_it_does_not_depend_on_brightness_that_fades(self):
        image = scattering((1.6, 1.6))
        fading = np.geomspace(1, 0.2, len(image.array))[:, None, None]
        assert not uneven_blur(Inspection.of(image.with_pixels(image.array * fading)))

    def test_a_thin_volume_is_not_divided(self):
        assert not uneven_blur(Inspection.of(scattering((1.2, 2.2), planes=33)))

    def test_the_sentence_tells_by_how_much(self):
        text = Finding.WIDER_AT_END.text(60, BlockKind.VOLUME)
        assert text.endswith("volume on their own (60 %).")


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
        assert statistics.sharpest[0] == (0,)
