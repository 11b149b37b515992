"""The spectrum of a picture: its noise, its border, and what explains it."""

import numpy as np
import pytest
from scipy import ndimage

from napari_blind_deconv.numerics.kernel_prior import gaussian_kernel
from napari_blind_deconv.numerics.spectrum import Spectrum, periodic_component, white_noise


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    """A picture whose power falls like the frequency squared, as those of the world do."""
    random = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(160)[:, None], np.fft.rfftfreq(160)[None, :]
    radius = np.hypot(rows, columns)
    radius[0, 0] = np.inf
    picture = np.fft.irfft2(np.fft.rfft2(random.standard_normal((160, 160))) / radius)
    return ((picture - picture.min()) / np.ptp(picture))[:128, :128]


def test_the_periodic_component_has_no_jump_at_the_border():
    ramp = np.linspace(0, 1, 64)[:, None] + np.linspace(0, 2, 48)[None, :]
    periodic = periodic_component(ramp)
    assert np.abs(periodic[0] - periodic[-1]).max() < 0.1 * np.abs(ramp[0] - ramp[-1]).max()
    assert periodic.mean() == pytest.approx(ramp.mean())


def test_noise_is_found(sharp):
    blurred = ndimage.gaussian_filter(sharp, 2, mode="wrap")
    noisy = blurred + 0.03 * np.random.default_rng(1).standard_normal(blurred.shape)
    assert white_noise(noisy) == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_the_true_blur_explains_a_spectrum_best(sharp, sigma):
    blurred = ndimage.gaussian_filter(sharp, sigma)
    noisy = blurred + 0.01 * np.random.default_rng(1).standard_normal(blurred.shape)
    spectrum = Spectrum.of(noisy)

    def misfit(tried: float) -> float:
        kernel = gaussian_kernel((61, 61), tried).numpy()
        return spectrum.explained_by(spectrum.transfer_of(kernel), 2.0).misfit

    assert misfit(sigma) < min(misfit(0.7 * sigma), misfit(1.4 * sigma))


def test_noise_alone_has_a_misfit_of_one():
    noise = np.random.default_rng(0).standard_normal((128, 128))
    spectrum = Spectrum.of(noise)
    found = spectrum.explained_by(np.ones_like(spectrum.power), 2.0)
    assert found.misfit == pytest.approx(1, abs=0.05)
    assert found.strength < 0.05
