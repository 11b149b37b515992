"""Directional blur is told from directional texture by the power at different angles."""

import numpy as np
import pytest
from scipy import fft, ndimage
from skimage import data

from napari_blind_deconv.numerics.anisotropy import Anisotropy
from napari_blind_deconv.numerics.optics import elliptic_gaussian, gaussian_kernel
from napari_blind_deconv.numerics.orientation import Orientation
from napari_blind_deconv.numerics.spectrum import Spectrum, frequencies_of
from napari_blind_deconv.synthetic import fluorescence_scene

SIDE, CANVAS = 192, 256


def texture(exponent: float, stretch: float = 1.0, seed: int = 0) -> np.ndarray:
    """Return a random field whose power falls faster along the rows by a constant factor."""
    down, right = frequencies_of((CANVAS, CANVAS))
    power = ((down * stretch) ** 2 + (right / stretch) ** 2 + 0.01) ** (-exponent / 2)
    white = np.random.default_rng(seed).standard_normal((CANVAS, CANVAS))
    field = fft.irfft2(fft.rfft2(white) * np.sqrt(power), (CANVAS, CANVAS))
    return field / field.std()


def blurred(
    scene: np.ndarray, variances: tuple[float, float], angle: float, noise: float = 0.03
) -> np.ndarray:
    """Return a scene, blurred by an elliptic Gaussian with the given variances, and noise."""
    kernel = elliptic_gaussian(31, (variances[0] ** 0.5, variances[1] ** 0.5), angle)
    image = ndimage.convolve(scene, kernel, mode="wrap")[:SIDE, :SIDE]
    return image + noise * np.random.default_rng(1).standard_normal(image.shape)


def angle_between(first: float, second: float) -> float:
    return abs((first - second + 90) % 180 - 90)


@pytest.mark.parametrize(("exponent", "tolerance"), [(2.0, 0.2), (3.0, 0.4), (4.0, 0.4)])
@pytest.mark.parametrize("angle", [20.0, 110.0])
def test_the_difference_of_the_variances_is_found_for_any_scene(exponent, tolerance, angle):
    """The borders of the image spread some power of a steep scene evenly over all angles."""
    image = blurred(texture(exponent), (6.5, 2.5), angle)
    found = Anisotropy.of(Spectrum.of(image))
    assert found.evidence > 50
    assert found.variances[0] - found.variances[1] == pytest.approx(4.0, rel=tolerance)
    assert angle_between(found.angle, angle) < 5


def test_the_length_is_that_of_a_line_with_the_same_variance():
    assert Anisotropy((3.0, 0.0), 0.0, 1.0, 1.0).length == pytest.approx(6.0)


@pytest.mark.parametrize("stretch", [1.0, 1.4, 2.0])
def test_texture_is_no_blur(stretch):
    image = blurred(texture(3.0, stretch), (3.0, 3.0), 0.0)
    assert Anisotropy.of(Spectrum.of(image)).evidence < 15


def test_texture_and_blur_in_different_directions_are_told_apart():
    image = blurred(texture(3.0, 1.5), (6.5, 2.5), 45.0)
    found = Anisotropy.of(Spectrum.of(image))
    assert found.evidence > 50
    assert angle_between(found.angle, 45.0) < 8


@pytest.mark.parametrize("noise", [0.03, 0.1, 0.2])
def test_periodic_texture_has_little_evidence(noise):
    bricks = data.brick()[:256, :256] / 255
    noisy = bricks + noise * np.random.default_rng(0).standard_normal(bricks.shape)
    assert Anisotropy.of(Spectrum.of(noisy)).evidence < 20


def test_an_image_of_noise_has_no_evidence():
    noise = np.random.default_rng(0).standard_normal((SIDE, SIDE))
    assert abs(Anisotropy.of(Spectrum.of(noise)).evidence) < 5


def test_a_round_blur_of_the_sample_scene_has_little_evidence():
    scene = fluorescence_scene((SIDE, SIDE), kernel=gaussian_kernel((21, 21), 2.0))
    assert Anisotropy.of(Spectrum.of(scene.observed.astype(float))).evidence < 15


class TestOrientation:
    """An image is searched in the same one of its eight orientations, however it is turned."""

    views = (
        lambda image: image,
        lambda image: image[::-1],
        lambda image: image[:, ::-1],
        lambda image: image[::-1, ::-1],
        lambda image: image.T,
        lambda image: image[::-1].T,
        lambda image: image[:, ::-1].T,
        lambda image: image[::-1, ::-1].T,
    )

    def test_all_views_have_one_orientation(self):
        image = np.random.default_rng(0).random((7, 9))
        oriented = [Orientation.of(view(image)).applied(view(image)) for view in self.views]
        for other in oriented[1:]:
            np.testing.assert_array_equal(other, oriented[0])

    @pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
    @pytest.mark.parametrize("is_transposed", [False, True])
    def test_an_orientation_is_undone(self, flips, is_transposed):
        orientation = Orientation(flips, is_transposed)
        image = np.arange(12.0).reshape(3, 4)
        np.testing.assert_array_equal(orientation.undone(orientation.applied(image)), image)
