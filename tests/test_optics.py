"""PSFs of a microscope and of linear motion."""

import numpy as np
import pytest

from napari_blind_deconv.numerics.metrics import kernel_width
from napari_blind_deconv.numerics.optics import gaussian_kernel, line_kernel, widefield_psf
from napari_blind_deconv.optics import Optics

OBJECTIVE = {"numerical_aperture": 1.2, "wavelength": 0.6, "pixel_size": 0.04}


def test_an_airy_pattern_has_its_known_width_and_first_ring():
    psf = widefield_psf(61, **OBJECTIVE)
    assert psf.sum() == pytest.approx(1)
    assert kernel_width(psf) * 0.04 == pytest.approx(0.514 * 0.6 / 1.2, rel=0.03)
    profile = psf[30, 30:]
    dark = np.flatnonzero(np.diff(np.sign(np.diff(profile))) > 0)[0] + 1
    assert dark * 0.04 == pytest.approx(0.61 * 0.6 / 1.2, abs=0.04)


def test_the_narrowest_psf_is_that_of_a_closed_pinhole():
    psf = np.square(widefield_psf(61, **OBJECTIVE))
    optics = Optics(1.2, emission_wavelengths=(None, 0.7, 0.6))
    assert optics.narrowest_width == pytest.approx(kernel_width(psf) * 0.04, rel=0.03)
    assert Optics(1.2).narrowest_width is None
    assert Optics(emission_wavelengths=(0.6,)).narrowest_width is None


def test_defocus_widens_and_is_the_same_on_both_sides():
    above, focus, below = (widefield_psf(61, **OBJECTIVE, defocus=z) for z in (-0.5, 0, 0.5))
    np.testing.assert_allclose(above, below, atol=1e-7)
    assert above.max() < 0.7 * focus.max()


def test_a_psf_is_centred_and_round():
    psf = widefield_psf(61, **OBJECTIVE, defocus=0.7)
    np.testing.assert_allclose(psf, psf[::-1, ::-1], atol=1e-7)
    np.testing.assert_allclose(psf, psf.T, atol=1e-7)


@pytest.mark.parametrize(("shape", "sigma"), [((9, 13), 1.5), ((7, 9, 13), (0.8, 1.5, 2.0))])
def test_a_gaussian_is_centred_and_of_unit_sum(shape, sigma):
    kernel = gaussian_kernel(shape, sigma)
    assert kernel.dtype == np.float32
    assert kernel.sum() == pytest.approx(1)
    assert np.unravel_index(kernel.argmax(), shape) == tuple(side // 2 for side in shape)
    np.testing.assert_allclose(kernel, np.flip(kernel), atol=1e-9)


def test_a_gaussian_has_its_width_along_each_axis():
    kernel = gaussian_kernel((25, 31, 41), (1.0, 2.0, 3.0))
    offsets = np.indices(kernel.shape) - np.array(kernel.shape).reshape(3, 1, 1, 1) // 2
    variances = (kernel * offsets**2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(np.sqrt(variances), (1, 2, 3), rtol=0.02)


@pytest.mark.parametrize("angle", [0, 30, 90])
def test_a_line_has_its_length_and_direction(angle):
    kernel = line_kernel(9, angle)
    rows, columns = np.indices(kernel.shape) - kernel.shape[0] // 2
    assert kernel.sum() == pytest.approx(1)
    assert (kernel * rows).sum() == pytest.approx(0, abs=1e-4)
    along = columns * np.cos(np.deg2rad(angle)) - rows * np.sin(np.deg2rad(angle))
    # The variance of a line, plus at most that of the pixels that share it.
    assert (kernel * along**2).sum() == pytest.approx(81 / 12, abs=0.3)
