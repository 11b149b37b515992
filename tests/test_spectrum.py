"""The spectrum of an image: noise, border and the blur that explains it."""

import numpy as np
import pytest
from scipy import ndimage

from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum, noise_deviation, periodic_component


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    """An image whose power decreases with the square of the frequency, as in natural images."""
    random = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(160)[:, None], np.fft.rfftfreq(160)[None, :]
    radius = np.hypot(rows, columns)
    radius[0, 0] = np.inf
    image = np.fft.irfft2(np.fft.rfft2(random.standard_normal((160, 160))) / radius)
    return ((image - image.min()) / np.ptp(image))[:128, :128]


def test_the_periodic_component_has_no_jump_at_the_border():
    ramp = np.linspace(0, 1, 64)[:, None] + np.linspace(0, 2, 48)[None, :]
    periodic = periodic_component(ramp)
    assert np.abs(periodic[0] - periodic[-1]).max() < 0.1 * np.abs(ramp[0] - ramp[-1]).max()
    assert periodic.mean() == pytest.approx(ramp.mean())


@pytest.mark.parametrize("axes", [2, 3])
def test_only_jumps_at_the_border_are_removed(axes):
    periodic = np.cos(2 * np.pi * np.arange(16) / 16)
    image = sum(periodic.reshape((16,) + (1,) * axis) for axis in range(axes))
    np.testing.assert_allclose(periodic_component(image + 0.0), image, atol=0.15)
    ramp = np.linspace(0, 5, 16).reshape((16,) + (1,) * (axes - 1)) + image
    smooth = periodic_component(ramp)
    assert np.abs(smooth[0] - smooth[-1]).mean() < 0.2 * np.abs(ramp[0] - ramp[-1]).mean()


def test_noise_of_a_volume_is_found():
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((24, 32, 32)), 3)
    noise = 0.03 * np.random.default_rng(1).standard_normal(smooth.shape)
    assert noise_deviation(smooth + noise) == pytest.approx(0.03, rel=0.1)


def test_the_transfer_of_a_blur_of_a_volume():
    kernel = gaussian_kernel((9, 9, 9), 1.2)
    spectrum = Spectrum.of(np.random.default_rng(0).random((24, 32, 32)))
    np.testing.assert_allclose(
        spectrum.transfer_of(kernel), spectrum.transfer_of_gaussian(1.2), atol=0.01
    )
    assert [len(along) for along in spectrum.frequencies] == [len(spectrum.power)] * 3


def test_noise_is_found(sharp):
    blurred = ndimage.gaussian_filter(sharp, 2, mode="wrap")
    noisy = blurred + 0.03 * np.random.default_rng(1).standard_normal(blurred.shape)
    assert noise_deviation(noisy) == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_the_true_blur_explains_a_spectrum_best(sharp, sigma):
    blurred = ndimage.gaussian_filter(sharp, sigma)
    noisy = blurred + 0.01 * np.random.default_rng(1).standard_normal(blurred.shape)
    spectrum = Spectrum.of(noisy)

    def misfit(tried: float) -> float:
        kernel = gaussian_kernel((61, 61), tried)
        return spectrum.explained_by(spectrum.transfer_of(kernel), 2.0).misfit

    assert misfit(sigma) < min(misfit(0.7 * sigma), misfit(1.4 * sigma))


def test_noise_alone_has_a_misfit_of_one():
    noise = np.random.default_rng(0).standard_normal((128, 128))
    spectrum = Spectrum.of(noise)
    found = spectrum.explained_by(np.ones_like(spectrum.power), 2.0)
    assert found.misfit == pytest.approx(1, abs=0.05)
    assert found.strength < 0.05
