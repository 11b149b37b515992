"""The learned posterior of the width of the kernel, and the scenes that it is trained on."""

from importlib.resources import files

import numpy as np
import pytest
from scipy import ndimage
from training.fit import fit
from training.samples import exposure, log_widths, sample
from training.scenes import HELD_OUT, SORTS, scene

from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.intensity import IntensityMap
from napari_blind_deconv.numerics.kernel_search import search_kernel
from napari_blind_deconv.numerics.parametric_kernel import find_gaussian
from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.width_features import FEATURES, explained_widths, width_features
from napari_blind_deconv.numerics.width_posterior import (
    LEVELS,
    MODEL_FILE,
    WidthModel,
    WidthPosterior,
    shipped_model,
)
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.synthetic import fluorescence_scene

TRUTH = fluorescence_scene((160, 160), seed=5).truth.astype(float)


def exposed(sigma, photons=2000, seed=0):
    """Return an exposure of the package's sample scene, which no training uses."""
    random = np.random.default_rng(seed)
    light = photons * ndimage.gaussian_filter(TRUTH / TRUTH.max(), sigma) + 20
    return random.poisson(light) + random.normal(100, 2, light.shape)


def features(image):
    return width_features(image, Spectrum.of(image))


class TestFeatures:
    def test_gain_and_offset_do_not_matter(self):
        image = exposed(1.5)
        assert features(0.01 * image - 3) == pytest.approx(features(image), abs=0.02)

    def test_a_transposed_image_has_the_same(self):
        image = exposed(1.5)
        # The half of the spectrum that is computed counts its middle line twice.
        assert features(image.T.copy()) == pytest.approx(features(image), abs=0.15)

    @pytest.mark.parametrize("shape", [(32, 32), (40, 200), (161, 99)])
    def test_they_are_finite_for_any_shape(self, shape):
        image = np.random.default_rng(0).random(shape)
        assert np.isfinite(features(image)).all()

    def test_the_width_that_explains_the_spectrum_grows_with_blur(self):
        found = [explained_widths(Spectrum.of(exposed(sigma)))[3] for sigma in (1.0, 2.0, 4.0)]
        assert found == sorted(found)


class TestModel:
    def test_it_belongs_to_the_code_that_computes_the_features(self):
        """If this fails, the features were changed: run ``make kernel-model``."""
        assert shipped_model().reference == pytest.approx(sample(0)[0], rel=2e-3, abs=2e-3)

    def test_it_is_small_and_needs_no_pickle(self):
        stored = files("napari_blind_deconv.numerics") / MODEL_FILE
        with stored.open("rb") as file:
            assert len(file.read()) < 500_000
        assert len(shipped_model().centre) == FEATURES

    @pytest.mark.parametrize("sigma", [1.2, 2.0, 3.5])
    def test_it_finds_the_width_of_scenes_it_never_saw(self, sigma):
        image = exposed(sigma)
        unit = IntensityMap.of(image[np.newaxis]).to_unit(image)
        posterior = WidthPosterior.of(unit, Spectrum.of(unit))
        error = posterior.means[LEVELS.index(0.1)] - np.log(sigma)
        assert abs(error) < max(0.3, 2 * posterior.deviations[LEVELS.index(0.1)])

    def test_written_and_read(self, tmp_path):
        path = tmp_path / "model.npz"
        shipped_model().write(path)
        image = exposed(2.0)
        expected, found = (
            model.predict(features(image)) for model in (shipped_model(), WidthModel.read(path))
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5)


class TestSearch:
    def test_a_gaussian_states_how_uncertain_it_is(self):
        kernel = run_to_end(search_kernel(exposed(2.0), 41))
        assert kernel.source is KernelSource.GAUSSIAN
        assert 0.01 < kernel.width_deviation < 1
        again = Kernel.from_record(kernel.as_record())
        assert again.width_deviation == kernel.width_deviation

    def test_its_width_is_the_mean_of_two_opinions(self):
        image = exposed(2.0)
        unit = IntensityMap.of(image[np.newaxis]).to_unit(image)
        spectrum = Spectrum.of(unit)
        alone = find_gaussian(spectrum, 41).widths.principal[0]
        posterior = WidthPosterior.of(unit, spectrum).means[LEVELS.index(0.1)]
        expected = np.sqrt(alone * np.sqrt(8 * np.log(2)) * np.exp(posterior))
        found = run_to_end(search_kernel(image, 41)).widths.principal[0]
        assert found == pytest.approx(expected, rel=0.05)
        assert abs(np.log(alone / found)) > 0.01  # the opinions differ in this image

    def test_fewer_photons_make_it_more_uncertain(self):
        bright, dim = (
            run_to_end(search_kernel(exposed(2.0, photons), 41)) for photons in (5000, 40)
        )
        assert dim.width_deviation > bright.width_deviation


class TestTraining:
    @pytest.mark.parametrize("sort", [*SORTS, *HELD_OUT])
    def test_scenes_are_images_and_repeatable(self, sort):
        first, second = (scene(np.random.default_rng(3), 96, (sort,)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert first.min() >= 0
        assert first.max() <= 1
        assert first.std() > 0

    def test_the_targets_of_a_gaussian_are_its_width(self):
        blurs = (exposure(seed).blur for seed in range(20))
        blur = next(blur for blur in blurs if blur.kind == "Gaussian")
        widths = np.exp(log_widths(blur.transfer))
        assert np.ptp(widths) < 0.1 * widths.mean()

    def test_a_fit_learns_and_tells_its_errors(self):
        random = np.random.default_rng(0)
        inputs = random.normal(size=(3000, 10))
        wanted = inputs[:, :1] + 0.3 * random.normal(size=(3000, len(LEVELS)))
        means, deviations = fit(inputs, wanted, epochs=15).predict(inputs)
        errors = means - wanted
        assert errors.std() < 0.4
        assert 0.5 < (np.abs(errors) < deviations).mean() < 0.85
