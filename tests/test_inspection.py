"""What is found in a block besides the image, and that a result does not depend on it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.restoration import denoise_nl_means

from napari_blind_deconv import KernelChoice, Settings, deconvolve
from napari_blind_deconv.engine.expected_error import expected_error
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.objective import Objective
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.quality import judge
from napari_blind_deconv.image import Image
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.pixel_faults import PixelFault
from napari_blind_deconv.reasons import Finding, QualityFlag, SkipReason, StopReason
from napari_blind_deconv.results import Stage
from napari_blind_deconv.synthetic import fluorescence_scene
from napari_blind_deconv.task import Task

KERNEL = gaussian_kernel((13, 13), 1.6)
LINEAR = Settings(solver="wiener", kernel_start=1.6)
RICHARDSON_LUCY = Settings(solver="richardson-lucy", max_iterations=3)
DOUBLE_DIP = Settings(
    max_iterations=2, kernel_start=1.6, kernel_size=9, stop_at_noise=False, image_start="random"
)


@pytest.fixture(scope="module")
def scene():
    return fluorescence_scene((64, 72), kernel=KERNEL)


@pytest.fixture(scope="module")
def exposure(scene) -> np.ndarray:
    return scene.observed.astype(np.float64)


@pytest.fixture(scope="module")
def masked() -> np.ndarray:
    mask = np.zeros((64, 72), bool)
    mask[20:30, 30:44] = mask[:, 70:] = mask[50, 10] = True
    return mask


def inspected(pixels, mask=None, axes="YX", space="YX") -> Inspection:
    return Inspection.of(Image(pixels, axes, space=space, masked=mask))


class TestFindings:
    def test_an_exposure_is_all_valid(self, exposure):
        inspection = inspected(exposure)
        assert inspection.findings == {}
        assert inspection.valid.all()
        assert inspection.valid_share == 1
        np.testing.assert_array_equal(inspection.channels, exposure[None])
        estimate = np.ones((1, *exposure.shape), np.float32)
        np.testing.assert_array_equal(inspection.with_kept_pixels(estimate), estimate)

    def test_pixels_are_counted(self, exposure, masked):
        image = exposure.copy()
        image[:3] = np.nan
        image[40, 60] = 60_000
        inspection = inspected(image, masked)
        assert inspection.findings == {
            Finding.NOT_FINITE: np.count_nonzero(~masked[:3]),
            Finding.MASKED: np.count_nonzero(masked),
            Finding.HOT: 1,
        }
        assert inspection.valid_share == pytest.approx((inspection.faults == 0).mean())
        assert np.isfinite(inspection.channels).all()

    def test_offsets_of_lines_are_subtracted(self, exposure):
        offsets = np.random.default_rng(0).normal(0, 20, 64)
        inspection = inspected(exposure + offsets[:, None])
        assert inspection.findings == {Finding.ROW_OFFSETS: 64}
        rows = (inspection.luminance - exposure).mean(axis=1)
        fine = rows - ndimage.gaussian_filter1d(rows, 3)
        assert fine.std() < 0.2 * 20
        columns = inspected((exposure + offsets[:, None]).T)
        assert columns.findings == {Finding.COLUMN_OFFSETS: 64}
        np.testing.assert_allclose(columns.luminance.T, inspection.luminance)

    def test_offsets_are_measured_in_valid_pixels(self, exposure):
        offsets = np.random.default_rng(0).normal(0, 20, 64)
        masked = np.zeros(exposure.shape, bool)
        masked[:, :36] = masked[50:54] = True
        inspection = inspected(exposure + offsets[:, None], masked)
        assert inspection.findings == {Finding.MASKED: masked.sum(), Finding.ROW_OFFSETS: 60}
        json.dumps(inspection.findings)
        left = (inspection.luminance - exposure)[:50, 36:].mean(axis=1)
        assert (left - ndimage.gaussian_filter1d(left, 3)).std() < 0.3 * 20

    @pytest.mark.parametrize(
        "area", [np.s_[:, :52], np.s_[:46], np.s_[5:60, 5:60]], ids=["columns", "rows", "block"]
    )
    @pytest.mark.parametrize("is_drawn", [False, True])
    def test_nothing_else_is_found_if_most_of_the_image_is_missing(self, exposure, area, is_drawn):
        masked = np.zeros(exposure.shape, bool)
        masked[area] = True
        image = np.where(masked, 0, exposure)
        inspection = inspected(image) if is_drawn else inspected(exposure, masked)
        assert set(inspection.findings) == {Finding.FLAT if is_drawn else Finding.MASKED}

    def test_filtered_noise_is_named(self):
        kernel = gaussian_kernel((17, 17), 2.6)
        image = fluorescence_scene((192, 192), kernel=kernel).observed.astype(float)
        filtered = inspected(ndimage.gaussian_filter(image, 0.7))
        assert set(filtered.findings) == {Finding.FILTERED}
        assert not filtered.noise.is_white

    def test_an_image_whose_noise_was_removed_has_no_noise_by_pixel(self, exposure):
        exposure = fluorescence_scene((192, 192)).observed.astype(float)
        denoised = denoise_nl_means(exposure, h=4.0, sigma=4.0, patch_size=5, patch_distance=6)
        inspection = inspected(denoised)
        assert Finding.PROCESSED in inspection.findings
        result = deconvolve(denoised, Settings(max_iterations=1))
        assert result.skipped[Stage.LOG_GAUSSIAN] is SkipReason.PROCESSED_NOISE

    def test_every_finding_has_a_sentence(self):
        for finding in Finding:
            assert finding.sentence.endswith(".")
            assert finding.text(2).endswith(".")


class TestColour:
    @pytest.fixture(scope="class")
    @staticmethod
    def colour(exposure) -> np.ndarray:
        pixels = np.repeat(exposure[..., None], 4, axis=2)
        pixels[..., 3] = 255  # alpha, which is no light
        pixels[10, 12, 1] = 60_000
        pixels[:, :3, 2] = 0
        return pixels

    def test_a_fault_in_one_channel(self, colour, masked):
        inspection = inspected(colour, masked, "YXS")
        assert inspection.faults.shape == (3, 64, 72)
        assert inspection.faults[:, 10, 12].tolist() == [0, PixelFault.HOT, 0]
        assert not inspection.valid_luminance[:, :3].any()
        assert (inspection.faults[:, masked] == PixelFault.MASKED).all()
        estimate = inspection.with_kept_pixels(np.ones((3, 64, 72), np.float32))
        assert estimate[0, 10, 12] == estimate[1, 10, 12] == 1
        assert (estimate[2, :, :3] == 0).all()
        assert (estimate[:2, 40, :3] == 1).all()

    def test_the_result_keeps_alpha_and_the_pixels_that_are_no_image(self, colour, masked):
        image = deconvolve(Image(colour, "YXS", masked=masked), LINEAR).image
        np.testing.assert_array_equal(image[..., 3], colour[..., 3])
        np.testing.assert_array_equal(image[masked], colour[masked].astype(np.float32))
        assert (image[:, :3, 2] == 0).all()


class TestVolumes:
    def test_planes_are_inspected_one_by_one(self):
        light = ndimage.gaussian_filter(np.random.default_rng(0).random((16, 40, 48)), 2)
        volume = np.random.default_rng(1).poisson(2000 * (light - light.min())).astype(float)
        volume[3, 10, 20] = 50_000
        volume[:, :, :2] = np.nan
        masked = np.zeros(volume.shape, bool)
        masked[5] = True
        inspection = inspected(volume, masked, "ZYX", "ZYX")
        faults = inspection.faults[0]
        assert faults.shape == volume.shape
        assert faults[3, 10, 20] == PixelFault.HOT
        assert (faults[5] == PixelFault.MASKED).all()
        assert (faults[6, :, :2] == PixelFault.NOT_FINITE).all()
        assert inspection.noise.is_white
        assert np.isfinite(inspection.channels).all()


SOLVERS = pytest.mark.parametrize(
    ("settings", "kernel"),
    [
        (LINEAR, None),
        (RICHARDSON_LUCY, KernelChoice.hold(KERNEL)),
        (DOUBLE_DIP, None),
    ],
    ids=["wiener", "richardson-lucy", "double-dip"],
)


class TestResults:
    @SOLVERS
    def test_values_under_a_mask_do_not_matter(self, exposure, masked, settings, kernel):
        results = [
            deconvolve(
                Image(np.where(masked, value, exposure), masked=masked), settings, kernel=kernel
            )
            for value in (0.0, 1e5, np.nan)
        ]
        first, *others = (result.image for result in results)
        assert np.isfinite(first).all()
        for other in others:
            np.testing.assert_array_equal(other[~masked], first[~masked])
        assert len({result.noise for result in results}) == 1
        assert len({result.trust.signal_to_noise for result in results}) == 1

    def test_pixels_that_are_not_finite_are_like_masked_ones(self, exposure, masked):
        known = deconvolve(Image(exposure, masked=masked), LINEAR)
        for value in (np.nan, np.inf, -np.inf):
            image = np.where(masked, value, exposure)
            result = deconvolve(image, LINEAR)
            np.testing.assert_array_equal(result.image[~masked], known.image[~masked])
            np.testing.assert_array_equal(result.image[masked], image[masked].astype(np.float32))
            assert result.findings == {Finding.NOT_FINITE: masked.sum()}

    def test_the_data_term_leaves_them_out(self, exposure, masked):
        image = Image(exposure, masked=masked)
        problem = Problem.of(
            Task.of(image, DOUBLE_DIP.with_changes(device="cpu"), {}, axes=None, kernel=KERNEL)
        )
        other = np.where(masked, 0.5, problem.observed).astype(np.float32)
        canvas = torch.rand((1, *problem.canvas_shape), generator=torch.Generator().manual_seed(0))
        convolution = Convolution(torch.from_numpy(problem.kernel.weights))
        one, same = (
            Objective(replace(problem, observed=a)).of(canvas, convolution).data
            for a in (problem.observed, other)
        )
        assert one == same

    @SOLVERS
    def test_kept_pixels_are_those_of_the_input(self, exposure, masked, settings, kernel):
        image = np.floor(np.where(masked, 3 * exposure, exposure))
        result = deconvolve(Image(image, masked=masked), settings, kernel=kernel)
        np.testing.assert_array_equal(result.image[masked], image[masked])

    def test_the_search_for_the_kernel_leaves_them_out(self, exposure, masked):
        """The kernel found hardly changes, whatever is drawn into the image."""
        widths = []
        for value in (100.0, 60_000.0):
            image = Image(np.where(masked, value, exposure), masked=masked)
            widths.append(deconvolve(image, solver="wiener").kernel.widths.principal)
        assert widths[0] == widths[1]
        plain = deconvolve(exposure, solver="wiener").kernel.widths.principal
        assert widths[0] == pytest.approx(plain, rel=0.1)

    def test_a_saturated_pixel_is_at_least_as_bright_as_in_the_input(self, exposure):
        limit = np.percentile(exposure, 97)
        image = np.minimum(exposure, limit)
        result = deconvolve(image, LINEAR)
        assert result.findings == {Finding.SATURATED: np.count_nonzero(image == limit)}
        assert (result.image[image == limit] >= np.float32(limit)).all()

    def test_a_hot_pixel_is_replaced(self, exposure):
        image = exposure.copy()
        image[40, 60] = 60_000
        result = deconvolve(image, LINEAR)
        known = deconvolve(exposure, LINEAR)
        assert result.image[40, 60] == pytest.approx(known.image[40, 60], abs=40)
        assert result.trust.signal_to_noise == pytest.approx(known.trust.signal_to_noise, rel=0.05)
        assert QualityFlag.MISFIT not in result.flags

    @pytest.mark.parametrize("value", [0.0, 60_000.0])
    @pytest.mark.parametrize("column", [0, 1, 40])
    def test_a_dead_column_costs_nothing_elsewhere(self, scene, exposure, value, column):
        image = exposure.copy()
        image[:, column] = value
        away = np.abs(np.arange(72) - column) > 3
        result, known = deconvolve(image, LINEAR), deconvolve(exposure, LINEAR)
        truth = scene.truth[:, away]
        error, expected = (np.abs(r.image[:, away] - truth).mean() for r in (result, known))
        assert error < 1.1 * expected
        assert (result.image[:, column] == value).all()

    def test_the_flux_of_the_valid_pixels_is_kept(self, exposure):
        image = exposure.copy()
        image[:, :20] = 0
        result = deconvolve(image, LINEAR)
        assert result.image[:, 24:].sum() == pytest.approx(exposure[:, 24:].sum(), rel=0.02)
        assert result.trust.flux_ratio == pytest.approx(1, abs=0.02)


class TestJudgement:
    def test_only_valid_pixels_are_judged(self, exposure, masked):
        kernel = Kernel(KERNEL)
        estimate = deconvolve(exposure, kernel=KERNEL).image
        wrong = np.where(masked, 1e6, estimate)
        image = Image(np.where(masked, -1e6, exposure), masked=masked)
        trust, flags, findings = judge(Inspection.of(image), wrong, kernel, reason=StopReason.NOISE)
        assert QualityFlag.MISFIT not in flags
        assert findings == {Finding.MASKED: masked.sum()}
        assert np.isnan(trust.residual[masked]).all()
        assert trust.flux_ratio == pytest.approx(1, abs=0.02)
        plain = judge(inspected(exposure), estimate, kernel, reason=StopReason.NOISE).trust
        assert trust.noise == pytest.approx(plain.noise, rel=0.1)

    @pytest.mark.parametrize("every", [2, 3])
    def test_pixels_that_all_are_beside_masked_ones(self, exposure, every):
        """There is hardly a place left to measure noise and correlation in."""
        masked = np.zeros(exposure.shape, bool)
        masked[::every] = True
        trust = deconvolve(Image(exposure, masked=masked), LINEAR).trust
        plain = deconvolve(exposure, LINEAR).trust
        assert trust.noise == pytest.approx(plain.noise, rel=0.5)
        assert np.isfinite(trust.residual_correlation)

    def test_the_map_of_expected_errors_leaves_them_out(self, exposure, masked):
        image = Image(np.where(masked, 1e6, exposure), masked=masked)
        result = deconvolve(image, LINEAR)
        error = expected_error(image, result)
        np.testing.assert_array_equal(np.isnan(error), masked)
        assert np.nanmax(error) < 500


class TestRefusals:
    def test_too_few_valid_pixels(self, exposure):
        pieces = np.ones(exposure.shape, bool)
        pieces[::20, :] = False
        sentence = r"at least half valid, got \d+ valid pixels of 4608"
        with pytest.raises(ValueError, match=sentence) as refusal:
            inspected(exposure, pieces)
        assert f"{pieces.sum()} masked" in str(refusal.value)
        assert "\n" not in str(refusal.value)

    def test_no_valid_pixel(self, exposure):
        with pytest.raises(ValueError, match="got 0 valid pixels"):
            inspected(exposure, np.ones(exposure.shape, bool))
        with pytest.raises(ValueError, match="NaN or infinity in every pixel"):
            inspected(np.full(exposure.shape, np.nan))

    def test_no_contrast_in_the_valid_pixels(self, exposure):
        image = np.full(exposure.shape, 7.0)
        image[:, 40:] = exposure[:, 40:]
        masked = np.zeros(exposure.shape, bool)
        masked[:, 40:] = True
        with pytest.raises(ValueError, match="got none in its valid pixels"):
            inspected(image, masked)

    def test_a_mask_of_another_shape(self, exposure, masked):
        with pytest.raises(ValueError, match=r"mask of shape \(64, 72\).*got \(64, 71\)"):
            replace(Image(exposure), masked=masked[:, 1:])


def test_a_drawing_on_white_is_an_image():
    """If nothing would be left without the areas of one value, they are part of the image."""
    drawing = np.full((64, 64), 255, np.uint8)
    drawing[20:30, 22:34] = np.random.default_rng(0).integers(0, 200, (10, 12))
    inspection = Inspection.of(Image(drawing))
    assert inspection.valid.all()
