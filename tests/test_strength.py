"""The strength: the kernel that is used is wider or narrower than the one that is reported."""

import json

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from tests.command import blind_deconv

from napari_blind_deconv import Kernel, KernelChoice, Settings, deconvolve, deconvolve_stack
from napari_blind_deconv.engine.deconvolve import iterate
from napari_blind_deconv.engine.expected_error import expected_error
from napari_blind_deconv.engine.planes import deconvolve_plane, find_kernel
from napari_blind_deconv.engine.preview import StrengthPreview
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.runtime import RuntimeModel
from napari_blind_deconv.engine.sampling import judge_block
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.image import Image
from napari_blind_deconv.jobs import sidecar_of
from napari_blind_deconv.kernel import KernelSource
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.reasons import SkipReason
from napari_blind_deconv.report import Report
from napari_blind_deconv.results import Result, Stage
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.synthetic import fluorescence_scene
from napari_blind_deconv.task import Task
from napari_blind_deconv.verdict import verdict

STRONG = Settings(strength=1.2)
SCENE = fluorescence_scene((96, 96))
PSF = Kernel(SCENE.kernel)


@pytest.fixture(scope="module")
def plain() -> Result:
    return deconvolve(SCENE.observed)


@pytest.fixture(scope="module")
def strong() -> Result:
    return deconvolve(SCENE.observed, STRONG)


def with_psf(psf: Kernel, **changes) -> Result:
    """Return the log-gaussian estimate, which needs no networks, with a PSF."""
    return deconvolve(SCENE.observed, Settings(solver="log-gaussian"), kernel=psf, **changes)


class TestKernel:
    def test_the_kernel_that_is_reported_stays(self, plain, strong):
        assert strong.kernel.source is plain.kernel.source
        np.testing.assert_array_equal(strong.kernel.weights, plain.kernel.weights)
        assert strong.trust.kernel_fwhm == plain.trust.kernel_fwhm
        assert strong.trust.kernel_border == plain.trust.kernel_border
        assert plain.kernel_used is plain.kernel
        np.testing.assert_array_equal(strong.kernel_used.weights, plain.kernel.scaled(1.2).weights)

    def test_every_snapshot_shows_it(self, plain):
        shown = [s.kernel for s in iterate(SCENE.observed, STRONG, preview_seconds=0)]
        kernels = [kernel for kernel in shown if kernel is not None]
        assert kernels
        for kernel in kernels:
            np.testing.assert_array_equal(kernel, plain.kernel.weights)

    @pytest.mark.parametrize("solver", ["wiener", "log-gaussian", "richardson-lucy"])
    def test_every_solver_uses_the_scaled_kernel(self, solver):
        settings = Settings(solver=solver, max_iterations=5)
        result = deconvolve(SCENE.observed, settings, kernel=PSF, strength=1.3)
        other = deconvolve(SCENE.observed, settings, kernel=PSF.scaled(1.3))
        np.testing.assert_array_equal(result.image, other.image)
        np.testing.assert_array_equal(result.kernel.weights, PSF.weights)

    @pytest.mark.parametrize(
        ("choice", "changes"),
        [
            (KernelChoice.start_from(PSF), {}),
            (KernelChoice.start_from(PSF), {"location": "centre"}),
            (KernelChoice.find(), {"kernel_start": 1.5}),
            (KernelChoice.find(), {"kernel_start": 1.5, "kernel_size": 13}),
        ],
    )
    def test_a_guess_and_a_kernel_that_is_set_are_scaled(self, choice, changes):
        settings = Settings(solver="wiener", **changes)
        plain = deconvolve(SCENE.observed, settings, kernel=choice)
        strong = deconvolve(SCENE.observed, settings, kernel=choice, strength=1.3)
        np.testing.assert_array_equal(strong.kernel.weights, plain.kernel.weights)
        held = deconvolve(SCENE.observed, settings, kernel=plain.kernel, strength=1.3)
        np.testing.assert_allclose(strong.image, held.image, rtol=1e-3, atol=0.1)
        assert np.abs(strong.image - plain.image).max() > 10

    @pytest.mark.parametrize("strength", [0.7, 1.5])
    def test_the_estimate_of_a_kernel_off_its_centre_does_not_move(self, strength):
        moved = Kernel.of(0.6 * SCENE.kernel + 0.4 * np.roll(SCENE.kernel, 1, axis=0))
        settings = Settings(solver="wiener")
        found = deconvolve(SCENE.observed, settings, kernel=moved, strength=strength).image
        expected = deconvolve(SCENE.observed, settings, kernel=moved.scaled(strength)).image
        shifted = ndimage.shift(expected, (0.1, 0), mode="nearest")
        error, of_a_shift = (np.abs(expected - other).max() for other in (found, shifted))
        assert error < 0.5 * of_a_shift

    def test_a_window_that_grows_stays_within_the_image(self):
        """The noise is compared with the transfer function on the grid of the image."""
        small = SCENE.observed[:40, :40]
        settings = Settings(solver="wiener", strength=1.5)
        narrow = Kernel(gaussian_kernel((17, 17), 2.0))
        wide = KernelChoice.hold(narrow.with_weights(np.pad(narrow.weights, 11)))
        assert Problem.of(Task(Image(small), settings, wide)).window == (39, 39)
        results = [deconvolve(small, settings, kernel=kernel) for kernel in (wide, narrow)]
        np.testing.assert_allclose(*(result.image for result in results), rtol=0.01, atol=2)


class TestQuality:
    def test_the_residual_is_that_of_the_kernel_used(self):
        strong, other = with_psf(PSF, strength=1.2), with_psf(PSF.scaled(1.2))
        np.testing.assert_array_equal(strong.trust.residual, other.trust.residual)
        assert strong.trust.kernel_fwhm == pytest.approx(PSF.widths.principal)

    @pytest.mark.parametrize("repeats", [1, 2])
    def test_a_result_is_judged_again_alike(self, repeats):
        pixels = SCENE.observed[:64, :64].repeat(repeats, axis=0).repeat(repeats, axis=1)
        result = deconvolve(pixels, STRONG)
        again = judge_block(
            Image(pixels), result.image, result.kernel, strength=1.2, reason=result.stop_reason
        )
        np.testing.assert_array_equal(again.trust.residual, result.trust.residual)

    def test_the_expected_error_is_that_of_the_kernel_used(self):
        strong, other = with_psf(PSF, strength=1.2), with_psf(PSF.scaled(1.2))
        np.testing.assert_array_equal(
            expected_error(SCENE.observed, strong), expected_error(SCENE.observed, other)
        )

    def test_it_is_said_in_plain_words(self, plain, strong):
        assert verdict(plain).sentence.endswith(" px wide.")
        assert verdict(strong).sentence.endswith(" px wide; 1.2 times that was used.")
        assert strong.provenance()["strength"] == 1.2


class TestPlanes:
    """The kernel of a channel or a plane is found without a strength, and scaled once."""

    def test_a_stack_equals_its_planes_with_the_kernel_held(self):
        stack = np.stack([fluorescence_scene((64, 64), seed=seed).observed for seed in range(2)])
        run = deconvolve_stack(stack, STRONG, axes="ZYX")
        blocks, plan = list(run), run.result().plan
        plain = deconvolve_stack(stack, axes="ZYX").result().plan
        assert plan is not None
        assert plain is not None
        np.testing.assert_array_equal(plan.kernels[0].weights, plain.kernels[0].weights)
        for block, plane in zip(blocks, stack, strict=True):
            alone = deconvolve(
                plane, STRONG, kernel=plan.kernels[0], intensity_range=plan.intensity_ranges[0]
            )
            np.testing.assert_array_equal(block.image, alone.image)
            assert block.result.kernel.widths == plan.kernels[0].widths

    def test_a_plane_in_tiles_uses_the_kernel_held(self):
        image = Image(fluorescence_scene((160, 160)).observed)

        def run(choice: KernelChoice, strength: float) -> Result:
            settings = Settings(solver="wiener", strength=strength)
            task = Task(image, settings, choice, tile_side=64)
            return run_to_end(deconvolve_plane(task, RunControl()))

        found = run(KernelChoice.find(), 1.2)
        assert found.tiles > 1
        held = run(KernelChoice.hold(found.kernel), 1.2)
        np.testing.assert_array_equal(found.image, held.image)
        np.testing.assert_array_equal(found.trust.residual, held.trust.residual)
        scaled = run(KernelChoice.hold(found.kernel.scaled(1.2)), 1.0)
        np.testing.assert_array_equal(found.image, scaled.image)
        np.testing.assert_array_equal(found.trust.residual, scaled.trust.residual)
        np.testing.assert_array_equal(
            found.kernel.weights, run(KernelChoice.find(), 1.0).kernel.weights
        )

    def test_networks_correct_the_kernel_that_planes_share(self):
        settings = Settings(
            channels=(8,), kernel_features=16, max_iterations=2, stop_at_noise=False, strength=1.2
        )
        kernels = [
            run_to_end(find_kernel(Task(Image(SCENE.observed[:48, :48]), s), RunControl()))
            for s in (settings, settings.with_changes(strength=1.0))
        ]
        np.testing.assert_array_equal(*(kernel.weights for kernel in kernels))


class TestNetworks:
    def test_networks_are_left_out(self):
        """Of a kernel that is much too wide, more than noise is left, which networks would fit."""
        result = deconvolve(SCENE.observed, Settings(strength=1.5), kernel=PSF)
        assert result.skipped[Stage.DOUBLE_DIP] is SkipReason.STRENGTH
        assert "double-dip (the strength is not 1)" in result.stages

    @pytest.mark.parametrize(
        "changes", [{"kernel_start": "flat"}, {"image_start": "random"}], ids=str
    )
    def test_a_run_that_has_only_networks_is_refused(self, changes):
        (name, value), settings = *changes.items(), STRONG.with_changes(**changes)
        sentence = f"Expected strength 1 with {name} '{value}', .* got strength 1.2"
        with pytest.raises(ValueError, match=sentence):
            iterate(SCENE.observed, settings)
        run = deconvolve_stack(np.stack([SCENE.observed] * 2), settings, axes="ZYX")
        with pytest.raises(ValueError, match=sentence):
            next(run)
        deconvolve(SCENE.observed, settings, kernel=PSF, solver="wiener")

    def test_their_time_is_not_expected(self):
        model = RuntimeModel(start=1.0, search=10.0, step=100.0, network=1000.0)
        alone = model.seconds(STRONG, planes=1, pixels=1, kernels=1)
        assert alone == (10.0, 10.0)
        # A kernel that planes share is found without a strength.
        _, longest = model.seconds(STRONG, planes=5, pixels=1, kernels=1)
        assert longest == 5 * 1 + 10 + 1000 + 150 * 100


class TestCommandLine:
    def test_it_is_a_setting_that_the_files_record(self, tmp_path):
        tifffile.imwrite(tmp_path / "in.tif", SCENE.observed)
        out = tmp_path / "out.tif"
        done = blind_deconv("run", tmp_path / "in.tif", out, "--set", "strength=1.2")
        assert done.returncode == 0, done.stderr
        assert "1.2 times that was used." in done.stderr
        record = json.loads(sidecar_of(out).read_text(encoding="utf-8"))
        assert record["job"]["settings"]["strength"] == 1.2
        assert record["planes"][0]["strength"] == 1.2
        report = Report.of(out)
        stored = record["planes"][0]["trust"]["residual_level"]
        assert report.trust.residual_level == pytest.approx(stored)
        assert report.notes[-1].startswith("The kernel that was used was 1.2 times as wide")
        assert report.as_record()["strength"] == 1.2
        plain = blind_deconv("run", tmp_path / "in.tif", tmp_path / "plain.tif")
        assert "times" not in plain.stderr
        assert not any("times as wide" in note for note in Report.of(tmp_path / "plain.tif").notes)

    def test_it_is_told_of_a_stack(self, tmp_path):
        tifffile.imwrite(
            tmp_path / "in.tif",
            np.stack([SCENE.observed] * 2),
            imagej=True,
            metadata={"axes": "ZYX"},
        )
        options = ("--set", "strength=0.8", "--set", "solver=wiener")
        done = blind_deconv("run", tmp_path / "in.tif", tmp_path / "out.tif", *options)
        assert "note: The kernel that was used was 0.8 times as wide" in done.stderr

    def test_a_strength_out_of_bounds_is_refused(self):
        with pytest.raises(ValueError, match="The setting 'strength' got 2; "):
            Settings(strength=2)


def test_a_point_has_no_width_to_scale():
    result = deconvolve(SCENE.observed, Settings(solver="wiener", strength=1.5), kernel=[[1.0]])
    assert result.kernel_used is result.kernel
    assert result.kernel.source is KernelSource.GIVEN


class TestPreview:
    def test_it_ends_with_the_estimate_of_a_run(self, plain):
        preview = StrengthPreview(Image(SCENE.observed), plain)
        for strength in (0.8, 1.3):
            quick, exact = preview.estimates(strength, lambda: False)
            again = deconvolve(SCENE.observed, kernel=plain.kernel, strength=strength)
            np.testing.assert_array_equal(exact, again.image)
            assert quick.shape == exact.shape

    @pytest.mark.parametrize("psf", [PSF, Kernel.of(SCENE.kernel[:, 2:])], ids=["centred", "not"])
    def test_it_begins_with_nearly_the_linear_estimate(self, psf):
        linear = deconvolve(SCENE.observed, Settings(solver="wiener"), kernel=psf)
        preview = StrengthPreview(Image(SCENE.observed), linear)
        quick, exact = preview.estimates(1.2, lambda: False)
        inner = np.s_[16:-16, 16:-16]
        assert np.abs(quick - exact)[inner].max() < 0.02 * np.ptp(exact)

    def test_it_can_be_stopped_after_the_first_estimate(self, plain):
        preview = StrengthPreview(Image(SCENE.observed), plain)
        assert len(list(preview.estimates(1.2, lambda: True))) == 1

    def test_it_fits_no_networks(self, monkeypatch):
        endless = Settings(stop_at_noise=False)
        strong = deconvolve(SCENE.observed, endless, kernel=PSF, strength=1.2)
        monkeypatch.setattr("napari_blind_deconv.engine.stages.DoubleDip", None)
        with pytest.raises(TypeError, match="not callable"):
            deconvolve(SCENE.observed, endless, kernel=PSF)
        _, exact = StrengthPreview(Image(SCENE.observed), strong).estimates(1.0, lambda: False)
        np.testing.assert_array_equal(exact, with_psf(PSF).image)

    def test_repeated_pixels_and_colours_stay(self):
        pixels = np.stack([SCENE.observed.repeat(2, axis=0).repeat(2, axis=1)] * 3, axis=-1)
        result = deconvolve(pixels, Settings(solver="wiener"), axes="YXS")
        preview = StrengthPreview(Image(pixels, "YXS"), result)
        for estimate in preview.estimates(1.2, lambda: False):
            assert estimate.shape == pixels.shape
            np.testing.assert_array_equal(estimate[::2, ::2], estimate[1::2, 1::2])
