"""PSFs from images of beads: made images with a known PSF and noise, in two and three axes."""

import numpy as np
import pytest
from scipy.special import erf

from napari_blind_deconv import Image, psf_from_beads
from napari_blind_deconv.bead_psf import diameter_in_unit
from napari_blind_deconv.kernel import KernelWidths
from napari_blind_deconv.numerics.beads import LeftOut
from napari_blind_deconv.numerics.metrics import kernel_similarity

SIGMAS = {2: (1.7, 1.4), 3: (2.6, 1.7, 1.5)}
SHAPES = {2: (200, 200), 3: (48, 120, 120)}
PLACES = {
    2: [(40.3, 45.7), (42.1, 150.4), (100.6, 99.2), (155.5, 48.4), (160.2, 158.9)],
    3: [(23.3, 25.7, 28.4), (24.4, 30.2, 90.7), (22.8, 62.5, 60.1), (24.1, 95.3, 26.6)],
}


def spot(shape, place, sigmas, light) -> np.ndarray:
    """A Gaussian integrated over pixels, with its amount of light."""
    result = np.array(light, float)
    for side, centre, sigma in zip(shape, place, sigmas, strict=True):
        edges = np.arange(side + 1) - 0.5 - centre
        result = np.multiply.outer(result, np.diff(erf(edges / (np.sqrt(2) * sigma))) / 2)
    return result


def slide(ndim, extra=(), light=None) -> np.ndarray:
    """An image of beads on a background of 100 counts, with photon noise; `extra` are others."""
    light = light or {2: 30_000, 3: 200_000}[ndim]
    shape, sigmas = SHAPES[ndim], SIGMAS[ndim]
    scene = np.full(shape, 100.0)
    for number, place in enumerate(PLACES[ndim]):
        scene += spot(shape, place, sigmas, light * (0.8 + 0.1 * number))
    for place, share in extra:
        scene += spot(shape, place, sigmas, light * share)
    return np.random.default_rng(1).poisson(scene).astype(np.uint16)


def truth(shape, ndim) -> np.ndarray:
    return spot(shape, [side // 2 for side in shape], SIGMAS[ndim], 1.0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_average_is_the_psf(ndim):
    found = psf_from_beads(slide(ndim), (0.3, 0.1, 0.1)[-ndim:])
    assert len(found.used) == len(PLACES[ndim])
    kernel = found.kernel
    assert kernel.pixel_size == (0.3, 0.1, 0.1)[-ndim:]
    expected = truth(kernel.shape, ndim)
    assert kernel_similarity(kernel.weights, expected.astype(np.float32)) > 0.99
    assert np.abs(kernel.weights - expected).max() < 0.06 * expected.max()
    for bead in found.used:
        nearest = min(
            PLACES[ndim], key=lambda place: np.hypot(*np.subtract(place, bead.position)[-2:])
        )
        assert np.abs(np.subtract(nearest, bead.position)).max() < 0.15


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_widths_are_those_of_the_psf(ndim):
    sides = (0.3, 0.1, 0.1)[-ndim:]
    found = psf_from_beads(slide(ndim), sides)
    pixels_widen = np.square(SIGMAS[ndim]) + 1 / 12
    expected = 2.355 * np.sqrt(pixels_widen) * sides
    assert found.fwhm == pytest.approx(expected, rel=0.03)
    assert max(found.fwhm_deviation) < 0.1 * max(found.fwhm)
    assert f"{len(PLACES[ndim])} beads; FWHM " in found.described
    assert "µm." in found.described
    widths = KernelWidths.of(found.kernel, sides).along_axes
    assert widths == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ([((100.0, 20.0), 1.0), ((103.0, 26.5), 0.9)], LeftOut.TOUCHING),
        ([((3.0, 100.0), 1.0)], LeftOut.CUT_OFF),
        ([((100.0, 20.0), 0.05)], LeftOut.DIM),
        ([((100.0, 20.0), 3.0)], LeftOut.CLUMPED),
        ([((100.0, 20.0), 0.7), ((100.0, 22.5), 0.7)], LeftOut.CLUMPED),
        ([((100.0, 20.0), 40.0)], LeftOut.SATURATED),
    ],
)
def test_beads_that_mislead_are_left_out(extra, reason):
    image = slide(2, extra)
    if reason is LeftOut.SATURATED:
        image = np.minimum(image, 4095)  # of a camera with 12 bits
    found = psf_from_beads(image)
    for bead in found.used:
        assert min(np.abs(np.subtract(place, bead.position)).max() for place in PLACES[2]) < 0.2
    assert set(found.left_out) == {str(reason)}
    assert str(reason) in found.described
    assert found.unit == "pixel"


def test_one_bead_is_found_among_hot_pixels():
    image = np.random.default_rng(0).normal(100, 2, SHAPES[3])
    image += spot(SHAPES[3], (24, 60, 60), (3.5, 1.4, 1.4), 3e5)
    hot = np.random.default_rng(1).random(SHAPES[3]) > 0.9998
    found = psf_from_beads(image + 300 * hot)
    assert [np.round(bead.position).tolist() for bead in found.used] == [[24, 60, 60]]
    assert set(found.left_out) <= {str(LeftOut.HOT), str(LeftOut.DIM), str(LeftOut.CUT_OFF)}


def test_picked_beads_are_used_alone():
    found = psf_from_beads(slide(2), positions=[(42, 44), (98, 101)])
    assert [np.round(bead.position).tolist() for bead in found.used] == [[40, 46], [101, 99]]
    assert len(found.beads) == 2


def test_the_size_of_the_beads_is_subtracted():
    image = Image(slide(2), "YX", {"Y": 0.1, "X": 0.1}, "µm")
    plain, corrected = (psf_from_beads(image, bead_diameter=d) for d in (None, 0.2))
    expected = np.sqrt(np.square(plain.fwhm) - 8 * np.log(2) / 20 * 0.2**2)
    assert corrected.fwhm == pytest.approx(expected)
    np.testing.assert_array_equal(corrected.kernel, plain.kernel)


def test_a_diameter_needs_the_pixel_size_along_all_axes():
    sides = {"Z": 300.0, "Y": 100.0, "X": 100.0}
    assert diameter_in_unit(Image(slide(3), "ZYX", sides, "nm"), 0.2) == pytest.approx(200)
    assert diameter_in_unit(Image(slide(3), "ZYX"), None) is None
    for known in ({}, {"Y": 100.0, "X": 100.0}):
        with pytest.raises(ValueError, match="Expected a pixel size to correct for beads"):
            diameter_in_unit(Image(slide(3), "ZYX", known, "nm"), 0.2)


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (np.random.default_rng(0).poisson(100, (64, 64)), "got no spot above the noise"),
        (np.full((64, 64), 7.0), "got no spot above the noise"),
        (spot((64, 64), (2, 30), (2, 2), 9e4) + 10, "isolated bead .* 1 cut off by the border"),
        (np.zeros((2, 3, 64, 64)), r"axes YX or ZYX, got shape \(2, 3, 64, 64\)"),
        (np.full((64, 64), np.nan), "finite numbers"),
    ],
)
def test_an_image_without_a_bead_is_refused_in_one_sentence(image, sentence):
    with pytest.raises(ValueError, match=sentence):
        psf_from_beads(image)


def test_a_smaller_window_leaves_out_fewer_beads():
    image = slide(2, [((100.0, 85.0), 1.0)])
    wide, narrow = psf_from_beads(image), psf_from_beads(image, shape=(15, 15))
    assert len(narrow.used) > len(wide.used)
    assert max(narrow.kernel.shape) <= 17  # moving the origin to the centroid may add 2
    with pytest.raises(ValueError, match=r"a side of at least 7 for each of 2 axes, got \(5, 5\)"):
        psf_from_beads(image, shape=(5, 5))
