"""The search for the kernel of an image."""

import numpy as np
import pytest
import torch
from skimage import data

from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.numerics import kernel_search, shape_search
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.kernel_search import search_kernel
from napari_blind_deconv.numerics.location import crop_or_pad
from napari_blind_deconv.numerics.metrics import kernel_similarity, kernel_width
from napari_blind_deconv.numerics.optics import elliptic_gaussian, gaussian_kernel, line_kernel
from napari_blind_deconv.numerics.shape_search import ShapeSearch, search_shape
from napari_blind_deconv.numerics.sparsity_ratio import sparsity_ratio
from napari_blind_deconv.numerics.width_posterior import LEVELS, WidthPosterior
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.synthetic import astigmatic_kernel, cell_crop, fluorescence_scene


def find_kernel(image: np.ndarray, largest: int) -> Kernel:
    return run_to_end(search_kernel(image, largest))


def hook() -> np.ndarray:
    """Return the kernel of a camera shake: an arc and a straight line, no parametric shape."""
    kernel = np.zeros((19, 19), np.float32)
    angles = np.linspace(0, np.pi, 200)
    np.add.at(
        kernel,
        (np.rint(9 + 5 * np.sin(angles)).astype(int), np.rint(9 + 5 * np.cos(angles)).astype(int)),
        1,
    )
    kernel[3:10, 4] += 12
    return kernel / kernel.sum()


SMALL = np.s_[80:220, 150:290]
MIDDLE = np.s_[100:260, 150:310]
LARGE = np.s_[100:330, 120:380]


def exposure(kernel: np.ndarray, noise: float, part: tuple[slice, slice] = SMALL) -> np.ndarray:
    """Return a blurred and noisy photograph."""
    scene = torch.from_numpy(data.camera()[part] / 255).float()
    recorded = Convolution(torch.from_numpy(kernel)).forward(scene).numpy()
    random = np.random.default_rng(0)
    return recorded + noise * random.standard_normal(recorded.shape).astype(np.float32)


@pytest.fixture(scope="module")
def shaken() -> np.ndarray:
    """An exposure with camera shake, whose kernel has no parametric shape."""
    return exposure(hook(), 0.001, MIDDLE)


@pytest.mark.parametrize(
    ("kind", "kernel", "noise"),
    [
        ("Gaussian", gaussian_kernel((21, 21), 2.5), 0.01),
        ("linear motion", line_kernel(9, 30), 0.01),
        ("elliptic Gaussian", elliptic_gaussian(21, (3.0, 1.5), 20.0), 0.01),
        ("free", hook(), 0.001),
    ],
)
def test_blurs_are_distinguished_and_found_at_any_intensity_scale(kind, kernel, noise):
    recorded = exposure(kernel, noise, MIDDLE if kind == "free" else SMALL)
    found = find_kernel(300 * recorded.astype(float) + 1000, 61)
    assert found.source == kind
    assert kernel_similarity(kernel, found.weights) > 0.85
    assert found.weights.sum() == pytest.approx(1, abs=1e-5)
    assert found.weights.min() >= 0
    assert found.weights.shape[0] == found.weights.shape[1] <= 61


def test_a_sharp_noisy_image_has_no_blur():
    recorded = exposure(np.ones((1, 1), np.float32), 0.1)
    found = find_kernel(recorded, 61)
    assert found.source == "none"
    assert kernel_width(found.weights) < 1.5


@pytest.mark.parametrize(
    ("kernel", "source", "width"),
    [
        (np.ones((1, 1), np.float32), "narrowest", 4.0),  # a point without the optics
        (gaussian_kernel((11, 11), 1.2), "narrowest", 4.0),
        (gaussian_kernel((21, 21), 2.5), "Gaussian", None),  # wider than the optics make it
    ],
)
def test_no_kernel_is_narrower_than_the_optics_allow(kernel, source, width):
    recorded = exposure(kernel, 0.01)
    alone = find_kernel(recorded, 61)
    found = run_to_end(search_kernel(recorded, 61, narrowest=4.0))
    assert found.source == source
    expected = kernel_width(alone.weights) if width is None else width
    assert kernel_width(found.weights) == pytest.approx(expected, rel=0.03)


def test_an_ellipse_is_no_narrower_than_the_optics_allow():
    recorded = exposure(elliptic_gaussian(21, (3.0, 1.5), 20.0), 0.01)
    found = run_to_end(search_kernel(recorded, 61, narrowest=5.0))
    assert found.source == "elliptic Gaussian"
    assert found.widths.principal[1] == pytest.approx(5.0, rel=0.03)
    assert found.widths.principal[0] == pytest.approx(7.1, rel=0.2)


def test_pixels_too_coarse_for_the_optics_change_nothing():
    recorded = exposure(np.ones((1, 1), np.float32), 0.1)
    assert run_to_end(search_kernel(recorded, 61, narrowest=1.5)).source == "none"


def test_fine_texture_is_not_taken_for_linear_motion():
    bricks = data.brick()[:256, :256] / 255
    noisy = bricks + 0.1 * np.random.default_rng(0).standard_normal(bricks.shape)
    assert find_kernel(noisy, 61).source in ("none", "Gaussian")


@pytest.fixture
def short_search(monkeypatch) -> None:
    """Reduce the search for a shape to a quarter of its iterations."""
    monkeypatch.setattr(shape_search, "_ITERATIONS", 8)


def test_a_shake_larger_than_the_small_window_is_found(short_search):
    steps = np.linspace(0, 1, 500)
    path = np.rint([18 + 5 * np.sin(7 * steps), 2 + 35 * steps**1.5]).astype(int)
    long = np.zeros((39, 39), np.float32)
    np.add.at(long, tuple(path), 1 / 500)
    recorded = exposure(long, 0.001, LARGE)
    found = find_kernel(recorded, 81)
    assert found.source == "free"
    assert kernel_similarity(long, found.weights) > 0.8


def test_a_cell_with_soft_edges_is_not_taken_for_camera_shake():
    assert find_kernel(cell_crop() / 255, 81).source == "Gaussian"


def test_a_sharp_image_has_no_blur():
    assert find_kernel(data.camera()[100:330, 120:380] / 255, 61).source == "none"


def unit(image: np.ndarray) -> np.ndarray:
    return (image - image.min()) / np.ptp(image)


@pytest.mark.parametrize("side", [160, 192, 320])
def test_the_ellipse_of_the_sample_scene_is_found_at_every_size(side):
    found = find_kernel(unit(fluorescence_scene((side, side)).observed.astype(float)), 81)
    assert found.source == "elliptic Gaussian"
    assert kernel_similarity(astigmatic_kernel(), found.weights) > 0.97


def test_axes_and_angle_of_an_ellipse_are_found():
    found = []
    for seed, angle in enumerate((0.0, 35.0, 70.0, 105.0, 140.0)):
        kernel = elliptic_gaussian(21, (2.55, 1.61), angle)
        observed = fluorescence_scene((256, 256), kernel=kernel, seed=seed).observed
        found.append(find_kernel(unit(observed.astype(float)), 31))
        assert found[-1].source == "elliptic Gaussian"
        assert abs((found[-1].widths.angle - angle + 90) % 180 - 90) < 8
        assert 0 < found[-1].width_deviation < 0.5
    widths = np.median([kernel.widths.principal for kernel in found], axis=0)
    assert widths == pytest.approx((6.0, 3.8), rel=0.2)


def test_a_turned_image_has_the_turned_kernel():
    observed = unit(fluorescence_scene((128, 160)).observed.astype(float))
    kernel = find_kernel(observed, 31).weights
    for turned, expected in (
        (observed[::-1], kernel[::-1]),
        (observed[:, ::-1], kernel[:, ::-1]),
        (observed.T, kernel.T),
    ):
        found = find_kernel(np.ascontiguousarray(turned), 31).weights
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("angle", [0.0, 60.0])
def test_a_line_that_noise_makes_like_an_ellipse_is_drawn_as_the_mean_of_both(angle):
    recorded = exposure(line_kernel(9, angle), 0.03)
    found = find_kernel(recorded, 61)
    assert found.source in ("elongated", "linear motion")
    assert kernel_similarity(line_kernel(9, angle), found.weights) > 0.8


@pytest.mark.parametrize(
    "image",
    [
        np.add.outer(np.arange(40.0), np.arange(48.0)),
        np.add.outer(np.arange(64.0), np.arange(80.0)),
        np.tile(np.arange(128) // 4 % 2, (128, 1)),
        np.tile(np.sin(np.arange(128) * np.pi / 4), (128, 1)),
    ],
    ids=["small ramp", "ramp", "stripes", "waves"],
)
def test_ramps_and_stripes_have_no_blur(image):
    assert find_kernel(unit(image.astype(float)), 61).source == "none"


def test_the_intensity_scale_does_not_matter():
    recorded = exposure(gaussian_kernel((21, 21), 2.5), 0.01)
    found, again = (
        find_kernel(scale * recorded + offset, 61) for scale, offset in ((1, 0), (300, 1000))
    )
    assert again.source == found.source
    assert kernel_similarity(again.weights, found.weights) > 0.99


def test_volumes_are_refused():
    with pytest.raises(ValueError, match="Expected a 2D image"):
        find_kernel(np.zeros((20, 20, 20)), 9)


class TestShape:
    """Kernels of any shape are judged by the sparsity of the edges of the estimate."""

    def test_the_right_kernel_makes_edges_sparser_than_any_gaussian(self, shaken):
        point = np.ones((1, 1), np.float32)
        assert sparsity_ratio(shaken, hook(), point) < 0.95

    @pytest.mark.parametrize("wrong", [hook().T.copy(), hook()[::-1].copy()])
    def test_a_wrong_kernel_of_the_same_width_does_not(self, wrong):
        point = np.ones((1, 1), np.float32)
        assert sparsity_ratio(exposure(hook(), 0.001, LARGE), wrong, point) > 1

    def test_other_shapes_are_worse_than_the_true_gaussian(self):
        gaussian = gaussian_kernel((21, 21), 2.5)
        recorded = exposure(gaussian, 0.01)
        for shape in (hook(), line_kernel(9, 30)):
            assert sparsity_ratio(recorded, shape, gaussian) > 1
        assert sparsity_ratio(recorded, gaussian, gaussian) == pytest.approx(1, abs=0.01)

    def test_a_scene_without_a_shape_needs_only_first_looks(self):
        observed = unit(fluorescence_scene((256, 256)).observed.astype(float))
        search = run_to_end(search_shape(observed, astigmatic_kernel(), 61))
        assert search.kernel is None
        assert not search.ratios
        assert [look.side for look in search.looks] == [31, 61]
        assert min(look.scale for look in search.looks) < 1, "a first look ends at a coarse scale"

    def test_a_shape_is_found_in_several_mirror_images(self, shaken, short_search):
        search = run_to_end(search_shape(shaken, np.ones((1, 1), np.float32), 31))
        assert search.kernel is not None
        assert sum(ratio < 0.99 for ratio in search.ratios) >= 2
        assert kernel_similarity(hook(), search.kernel) > 0.7

    def test_a_small_image_is_not_searched(self):
        search = search_shape(np.eye(61), np.ones((1, 1), np.float32), 61)
        assert run_to_end(search).looks == ()


@pytest.mark.parametrize("shape", [(16, 16), (17, 90)])
def test_small_images_have_a_kernel(shape):
    found = find_kernel(np.random.default_rng(0).random(shape), 81)
    assert found.weights.sum() == pytest.approx(1, abs=1e-5)


def test_a_kernel_is_never_larger_than_allowed():
    recorded = exposure(gaussian_kernel((21, 21), 2.5), 0.01)
    assert find_kernel(recorded, 9).weights.shape == (9, 9)


def test_an_ellipse_that_the_posterior_widens_is_not_larger_either(monkeypatch):
    observed = unit(fluorescence_scene((160, 160)).observed.astype(float))
    side = max(find_kernel(observed, 61).weights.shape)
    wide = WidthPosterior(np.full(len(LEVELS), 2.0), np.full(len(LEVELS), 0.1), 0.5)
    monkeypatch.setattr(WidthPosterior, "of", lambda image, spectrum: wide)
    assert max(find_kernel(observed, 61).weights.shape) > side
    found = find_kernel(observed, side)
    assert found.source == "elliptic Gaussian"
    assert max(found.weights.shape) <= side


@pytest.mark.parametrize("window", [(5, 5), (21, 13), (31, 31)])
def test_a_kernel_put_into_another_window_stays_centred(window):
    moved = crop_or_pad(gaussian_kernel((13, 13), 2.0), window)
    assert moved.shape == window
    assert moved.sum() == pytest.approx(1, abs=1e-5)
    assert np.unravel_index(moved.argmax(), window) == (window[0] // 2, window[1] // 2)


def test_a_search_reports_the_best_kernel_so_far():
    """This way a search that is stopped keeps a kernel."""
    steps = list(search_kernel(exposure(line_kernel(9, 30), 0.001), 61))
    assert len(steps) > 50
    assert steps[0].source == "Gaussian"
    assert steps[-1].source == "elongated"


def test_a_shape_is_searched_for_only_if_no_ellipse_explains_the_angles(monkeypatch, shaken):
    searched = []

    def search(image, baseline, max_side):
        searched.append(image.shape)
        return ShapeSearch()
        yield

    monkeypatch.setattr(kernel_search, "search_shape", search)
    scene = unit(fluorescence_scene((192, 192)).observed.astype(float))
    assert find_kernel(scene, 61).source == "elliptic Gaussian"
    assert find_kernel(unit(cell_crop().astype(float)), 61).source == "Gaussian"
    assert not searched
    find_kernel(shaken, 61)
    assert searched == [shaken.shape]
