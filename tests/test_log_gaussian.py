"""The estimate that knows the noise of each pixel, positivity and the local amplitude of detail."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import spearmanr
from skimage import data

from napari_blind_deconv.numerics.camera import CameraNoise
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.degrade import expose
from napari_blind_deconv.numerics.field_of_view import crop_to_field_of_view
from napari_blind_deconv.numerics.local_model import (
    LocalModel,
    dark_level,
    expected_deviation,
    local_amplitude,
    with_kernel_error,
)
from napari_blind_deconv.numerics.log_gaussian import log_gaussian
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.wiener import (
    EXPONENT,
    KERNEL_ERROR,
    is_limited_by_noise,
    noise_to_signal,
    scene_penalty,
    wiener,
)

KERNEL = gaussian_kernel((11, 11), 1.5)
STEPS = 60


def cells(shape: tuple[int, ...] = (110, 120)) -> np.ndarray:
    """Return bright textured objects on a dark background, in [0, 1]."""
    random = np.random.default_rng(0)
    objects = ndimage.gaussian_filter(random.normal(size=shape), 7) > 0.02
    texture = ndimage.gaussian_filter(random.normal(size=shape), 1)
    scene = objects * (0.5 + 0.5 * texture / np.abs(texture).max()) + 0.02
    return scene.astype(np.float32)


def camera() -> np.ndarray:
    """Return a photograph: structure in the dark and in the light."""
    return (data.camera()[60:280:2, 140:380:2] / 255).astype(np.float32)


class Exposure:
    """An exposure of a scene with its linear estimate and all that the estimate here needs."""

    def __init__(
        self, scene: np.ndarray, photons: float = 200, kernel: np.ndarray = KERNEL
    ) -> None:
        convolution = Convolution(torch.from_numpy(kernel))
        counts = expose(
            convolution.forward(torch.from_numpy(scene)),
            photons=photons,
            background=0,
            read_noise=1.5,
            generator=torch.Generator().manual_seed(0),
        )
        self.kernel = kernel
        self.sharp = photons * convolution.field_of_view(scene)
        self.observed = counts.numpy()
        spectrum = Spectrum.of(self.observed)
        self.ratio = noise_to_signal(spectrum, kernel)
        *_, (linear, _) = wiener(
            torch.from_numpy(self.observed),
            kernel,
            noise_to_signal=self.ratio,
            exponent=EXPONENT,
            kernel_error=KERNEL_ERROR,
        )
        self.linear = linear.numpy()
        self.model = LocalModel.of(
            self.observed,
            kernel,
            self.linear,
            camera=CameraNoise.of(self.observed),
            penalty=scene_penalty(
                self.linear.shape, noise_to_signal=self.ratio, kernel_error=KERNEL_ERROR
            ),
            width_error=0.05,
        )

    def estimate(self, observed: np.ndarray | None = None, **changes) -> np.ndarray:
        """Return the field of view of the estimate, with some parts of the model changed."""
        light = self.observed if observed is None else observed
        *_, last = estimates(light, replace(self.model, **changes), self.linear)
        return crop_to_field_of_view(last, self.kernel.shape)

    def gain(self, estimate: np.ndarray) -> float:
        """Return how much closer to the truth than the linear estimate, in dB."""
        linear = crop_to_field_of_view(self.linear, self.kernel.shape)
        errors = [np.mean(np.square(each - self.sharp)) for each in (linear, estimate)]
        return float(10 * np.log10(errors[0] / errors[1]))


def estimates(observed: np.ndarray, model: LocalModel, start: np.ndarray) -> Iterator[np.ndarray]:
    steps = log_gaussian(torch.from_numpy(observed), model, model.field_of(start))
    for fitted in islice(steps, STEPS):
        yield fitted.canvas.numpy()


@pytest.fixture(scope="module")
def exposure() -> Exposure:
    return Exposure(cells())


class TestQuality:
    def test_cells_on_a_dark_background_gain(self, exposure):
        assert exposure.gain(exposure.estimate()) > 0.4

    def test_a_photograph_gains_too(self):
        exposure = Exposure(camera())
        assert exposure.gain(exposure.estimate()) > 0.5

    def test_a_scene_darker_than_its_image_is_not_cut_off(self):
        # A bright ring around a dark centre: blur fills the centre with light.
        rows, columns = np.mgrid[-60:60, -60:60]
        radius = np.hypot(rows, columns)
        scene = (0.5 + 0.4 * (radius < 40) - 0.85 * (radius < 5)).astype(np.float32)
        exposure = Exposure(scene, 2000, gaussian_kernel((25, 25), 4.0))
        assert exposure.sharp.min() < 0.5 * exposure.observed.min()
        assert exposure.gain(exposure.estimate()) > 0.2

    def test_a_volume_gains(self):
        kernel = gaussian_kernel((9, 7, 7), (1.8, 1.2, 1.2))
        exposure = Exposure(cells((30, 44, 44)), 200, kernel)
        assert exposure.gain(exposure.estimate()) > 0.5

    def test_a_volume_of_points_gains_from_a_refined_model(self):
        kernel = gaussian_kernel((9, 9, 9), (1.8, 1.5, 1.5))
        points = np.zeros((30, 44, 44), np.float32)
        random = np.random.default_rng(0)
        points[tuple(random.integers(0, points.shape, (30, 3)).T)] = 20
        exposure = Exposure(ndimage.gaussian_filter(points, 0.6), 500, kernel)
        start, model = exposure.linear, exposure.model
        *_, first = estimates(exposure.observed, model, start)
        refined = model.refined(first, model.field_of(first))
        *_, second = estimates(exposure.observed, refined, first)
        gains = [
            exposure.gain(crop_to_field_of_view(each, kernel.shape)) for each in (first, second)
        ]
        assert gains[1] > gains[0] + 0.5

    @pytest.mark.parametrize("turn", [np.flipud, np.fliplr, np.transpose])
    def test_a_turned_image_gives_the_turned_estimate(
        self, exposure, turn: Callable[[np.ndarray], np.ndarray]
    ):
        turned = Exposure(cells())
        turned.observed = turn(exposure.observed).copy()
        turned.linear = turn(exposure.linear).copy()
        parts = {name: turn(getattr(exposure.model, name)) for name in ("variance", "amplitude")}
        if turn is np.transpose:
            parts |= {"power": exposure.model.power.T, "penalty": exposure.model.penalty.T}
        turned.model = replace(exposure.model, **{n: p.copy() for n, p in parts.items()})
        turned.model = replace(turned.model, valid=np.ones(turned.observed.shape, bool))
        expected = turn(exposure.estimate())
        error = np.abs(turned.estimate() - expected).mean() / np.abs(expected).mean()
        assert error < 5e-3


class TestNoise:
    def test_the_estimate_is_above_the_dark_level(self, exposure):
        assert exposure.estimate().min() > exposure.model.dark

    def test_the_unit_of_the_image_does_not_matter(self, exposure):
        larger = Exposure(cells())
        larger.linear, larger.observed = 1000 * larger.linear, 1000 * larger.observed
        model = exposure.model
        intensities = {name: 1000 * getattr(model, name) for name in ("dark", "bright", "level")}
        larger.model = replace(model, variance=1e6 * model.variance, **intensities)
        expected = 1000 * exposure.estimate()
        assert np.abs(larger.estimate() - expected).mean() < 5e-3 * np.abs(expected).mean()

    def test_dim_detail_is_sharper_if_the_noise_of_each_pixel_is_known(self):
        scene = cells((110, 120))
        scene[:, :60] *= 0.05
        exposure = Exposure(scene, photons=2000)
        dim = np.s_[8:-8, 8:44]
        one = np.full_like(exposure.model.variance, exposure.model.noise)
        known, assumed = (
            np.mean(np.square(exposure.estimate(variance=variance) - exposure.sharp)[dim])
            for variance in (exposure.model.variance, one)
        )
        assert known < 0.8 * assumed

    def test_pixels_with_much_noise_have_no_influence(self, exposure):
        spoilt = exposure.observed.copy()
        spoilt[40:46, 50:56] += 10 * exposure.observed.max()
        ignored = exposure.model.variance.copy()
        ignored[40:46, 50:56] *= 1e12
        valid = np.ones(spoilt.shape, bool)
        valid[40:46, 50:56] = False
        known = exposure.estimate()
        for estimate in (
            exposure.estimate(spoilt, valid=valid),
            exposure.estimate(spoilt, valid=valid, variance=ignored),
        ):
            assert np.abs(estimate - known)[:30].max() < 0.05 * known.max()
            assert np.isfinite(estimate).all()

    def test_the_objective_decreases_and_the_steps_end(self, exposure):
        steps = list(estimates(exposure.observed, exposure.model, exposure.linear))
        assert 3 < len(steps) < STEPS
        changes = [np.abs(b - a).mean() for a, b in pairwise(steps)]
        assert changes[-1] < 0.2 * changes[0]

    def test_noise_is_the_limit_only_if_there_is_some(self, exposure):
        assert is_limited_by_noise(exposure.ratio)
        clear = Spectrum.of(ndimage.gaussian_filter(camera().astype(np.float64), 1.5))
        assert not is_limited_by_noise(noise_to_signal(clear, KERNEL))


class TestLocalAmplitude:
    def test_it_follows_the_detail_and_not_the_brightness(self):
        estimate = np.ones((80, 90), np.float32)
        noise = np.random.default_rng(0).normal(size=(80, 45))
        estimate[:, 45:] = 5
        estimate[:, :45] += 2 * ndimage.gaussian_filter(noise, 1)
        amplitude = local_amplitude(estimate, (3.0, 3.0), (1.0, 1.0))
        assert np.mean(np.square(amplitude)) == pytest.approx(1, rel=1e-4)
        assert amplitude[:, :35].mean() > 2 * amplitude[:, 60:].mean()

    def test_a_constant_has_one_amplitude(self):
        flat = np.full((40, 40), 3, np.float32)
        np.testing.assert_array_equal(local_amplitude(flat, (3.0, 3.0), (1.0, 1.0)), 1)


class TestKernelError:
    def test_it_counts_where_the_image_bends_and_at_most_as_much_as_noise(self):
        blurred = np.ones((60, 60), np.float32)
        blurred[:, 30:] = 100
        blurred = ndimage.gaussian_filter(blurred, 2)
        variance = np.full(blurred.shape, 4.0)
        small, large = (
            with_kernel_error(variance, blurred, KERNEL, deviation) for deviation in (0.05, 0.5)
        )
        np.testing.assert_allclose(small[:, :15], 4, rtol=1e-3)
        assert (large >= small).all()
        assert large[:, 25:35].max() > 5
        assert large.max() <= 8

    def test_without_an_error_or_noise_nothing_is_added(self):
        blurred = ndimage.gaussian_filter(cells(), 2)
        noise = np.full(blurred.shape, 1e-4)
        np.testing.assert_array_equal(with_kernel_error(noise, blurred, KERNEL, 0), noise)
        none = np.zeros(blurred.shape)
        np.testing.assert_array_equal(with_kernel_error(none, blurred, KERNEL, 0.2), none)


def test_the_dark_level_is_bounded_by_camera_and_estimate():
    observed = np.linspace(10, 20, 1000, dtype=np.float32)
    estimate = np.linspace(-5, 25, 1000, dtype=np.float32)

    def level(estimate: np.ndarray, offset: float | None, noise: float = 0.0) -> float:
        return dark_level(observed, estimate, blurred=12.0, noise=noise, offset=offset)

    assert level(estimate, None) == pytest.approx(-5, abs=0.1)
    assert level(estimate, 3.0) == 3
    assert level(estimate, 12.0) == 10
    assert level(observed + 5, -100.0) == 10
    # Noise explains a part of the darkness, but not that the scene is as bright as its blur.
    assert 3 < level(estimate, 3.0, noise=1.0) < 7
    assert level(estimate, 3.0, noise=1000.0) == pytest.approx(7.5)


def test_the_noise_of_the_linear_estimate_is_not_taken_for_darkness(exposure):
    assert exposure.observed.min() < 0 < exposure.sharp.min()
    assert exposure.observed.min() < exposure.model.dark < exposure.sharp.min()


class TestExpectedDeviation:
    @pytest.mark.parametrize("scene", [cells, camera])
    def test_it_has_the_size_and_the_place_of_the_true_error(self, scene):
        exposure = Exposure(scene())
        estimate = exposure.estimate()
        expected = expected_deviation(estimate, exposure.model)
        error = np.abs(estimate - exposure.sharp)
        assert 0.6 < np.sqrt(np.mean(np.square(expected)) / np.mean(np.square(error))) < 1.6
        assert 0.5 < (error < expected).mean() < 0.9, "0.68 for a normal distribution"
        smooth = ndimage.gaussian_filter(np.square(error), 1)
        assert spearmanr(expected.ravel(), smooth.ravel()).statistic > 0.4

    def test_it_falls_with_more_light(self, exposure):
        brighter = Exposure(cells(), photons=2000)
        few, many = (
            np.median(expected_deviation(each.estimate(), each.model)) / each.sharp.max()
            for each in (exposure, brighter)
        )
        assert many < 0.8 * few

    def test_it_rises_with_the_variance_of_a_pixel(self, exposure):
        variance = exposure.model.variance.copy()
        variance[:30] *= 4
        known, doubled = (
            expected_deviation(exposure.estimate(), replace(exposure.model, variance=each))
            for each in (exposure.model.variance, variance)
        )
        assert (doubled[:30] > known[:30]).all()
