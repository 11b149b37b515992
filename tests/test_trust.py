"""Trust reports and quality flags, on results of known quality."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.data import camera
from typer.testing import CliRunner

from napari_blind_deconv import Settings, deconvolve
from napari_blind_deconv.cli import app
from napari_blind_deconv.engine.expected_error import expected_error
from napari_blind_deconv.engine.inspection import Inspection
from napari_blind_deconv.engine.quality import judge, quality_flags
from napari_blind_deconv.figures import write_report
from napari_blind_deconv.image import Image
from napari_blind_deconv.io.images import write_json
from napari_blind_deconv.jobs import Job, run_job, sidecar_of
from napari_blind_deconv.kernel import Kernel, KernelSource
from napari_blind_deconv.numerics.camera import CameraNoise
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.numerics.resolution import resolution
from napari_blind_deconv.optics import Optics
from napari_blind_deconv.reasons import QualityFlag, StopReason
from napari_blind_deconv.report import Report
from napari_blind_deconv.results import TrustReport
from napari_blind_deconv.synthetic import fluorescence_scene

KERNEL = gaussian_kernel((15, 15), 2.0)


@pytest.fixture(scope="module")
def scene():
    return fluorescence_scene((96, 96), kernel=KERNEL)


@pytest.fixture(scope="module")
def known(scene):
    """The estimate with the true kernel."""
    return deconvolve(scene.observed, kernel=KERNEL)


def inspected(image: np.ndarray) -> Inspection:
    return Inspection.of(Image(image))


def smooth_light(seed: int = 0) -> np.ndarray:
    light = ndimage.gaussian_filter(np.random.default_rng(seed).random((200, 200)), 6)
    return 1000 * (light - light.min()) / np.ptp(light)


class TestLimits:
    """Each limit of the quality flags is tested from both sides."""

    SOUND = TrustReport(
        residual=np.zeros((1, 1), np.float32),
        residual_level=1.0,
        residual_correlation=0.0,
        noise=1.0,
        gain=1.0,
        offset=0.0,
        signal_to_noise=10.0,
        flux_ratio=1.0,
        resolution_before=6.0,
        resolution_after=4.0,
        kernel_fwhm=(4.0, 4.0),
        kernel_border=0.0,
    )

    def flags(self, source: KernelSource = KernelSource.GAUSSIAN, **changes):
        return quality_flags(replace(self.SOUND, **changes), source, StopReason.NOISE)

    @pytest.mark.parametrize(
        ("flag", "name", "allowed", "flagged"),
        [
            (QualityFlag.MISFIT, "residual_level", 1.4, 1.6),
            (QualityFlag.MISFIT, "residual_correlation", 0.35, 0.45),
            (QualityFlag.LOW_SIGNAL, "signal_to_noise", 1.1, 0.9),
            (QualityFlag.KERNEL_FILLS_WINDOW, "kernel_border", 0.015, 0.025),
            (QualityFlag.NOT_SHARPER, "resolution_after", 5.8, 5.95),
        ],
    )
    def test_a_value_beyond_its_limit_raises_its_flag_alone(self, flag, name, allowed, flagged):
        assert self.flags(**{name: allowed}) == ()
        assert self.flags(**{name: flagged}) == (flag,)

    def test_a_given_kernel_may_fill_its_window(self):
        assert self.flags(KernelSource.GIVEN, kernel_border=0.5) == ()
        assert self.flags(KernelSource.NO_BLUR) == (QualityFlag.NO_BLUR,)


class TestNoBlur:
    """Each reason why no blur is found has its own flag."""

    def flags(self, image, **options):
        plane = Inspection.of(Image(image, **options))
        point = Kernel.point(source=KernelSource.NO_BLUR)
        return judge(plane, image, point, reason=StopReason.COMPLETED).flags

    @staticmethod
    def sharp(side):
        return camera()[100 : 100 + side, 180 : 180 + side].astype(np.float32)

    def test_sharp(self):
        assert QualityFlag.NO_BLUR in self.flags(self.sharp(128))

    def test_too_small(self):
        assert QualityFlag.TOO_SMALL in self.flags(self.sharp(48))

    def test_noise(self):
        scene = ndimage.gaussian_filter(np.random.default_rng(1).random((128, 128)), 4)
        noisy = scene + np.random.default_rng(2).normal(0, scene.std(), scene.shape)
        assert QualityFlag.TOO_NOISY in self.flags(noisy.astype(np.float32))

    @pytest.mark.parametrize(("side", "is_coarse"), [(0.3, True), (0.05, False)])
    def test_pixels_that_the_optics_know_to_be_coarse(self, side, is_coarse):
        optics = Optics(numerical_aperture=1.2, emission_wavelengths=(0.52,))
        options = {"spacing": {"Y": side, "X": side}, "unit": "µm", "optics": optics}
        flags = self.flags(self.sharp(128), **options)
        assert (QualityFlag.TOO_COARSE in flags) == is_coarse
        assert (QualityFlag.NO_BLUR in flags) != is_coarse


class TestCameraNoise:
    @pytest.mark.parametrize(("gain", "offset"), [(0.5, 0.0), (1.0, 100.0), (4.0, 500.0)])
    def test_photon_noise_gives_gain_and_offset(self, gain, offset):
        image = gain * np.random.default_rng(1).poisson(smooth_light() / gain) + offset
        noise = CameraNoise.of(image)
        assert noise.gain == pytest.approx(gain, rel=0.15)
        assert noise.offset == pytest.approx(offset, abs=40)
        light = smooth_light()
        expected = np.sqrt(gain * light)
        bright = light > 300
        found = noise.deviation(light + offset)
        error = np.abs(found[bright] / expected[bright] - 1)
        assert np.percentile(error, 95) < 0.15  # the brightest pixels are too few to be precise

    def test_noise_independent_of_brightness_has_no_gain(self):
        noise = CameraNoise.of(smooth_light() + np.random.default_rng(1).normal(0, 5, (200, 200)))
        assert noise.gain == 0
        assert noise.offset is None
        assert noise.deviation(np.zeros(1))[0] == pytest.approx(5, rel=0.05)

    def test_units_do_not_matter(self):
        image = np.random.default_rng(1).poisson(smooth_light()) + 100.0
        one, other = CameraNoise.of(image), CameraNoise.of(3 * image + 7)
        assert other.gain == pytest.approx(3 * one.gain, rel=1e-6)
        assert other.offset == pytest.approx(3 * one.offset + 7, rel=1e-6)


class TestResolution:
    @pytest.mark.parametrize("period", [3.0, 5.0, 8.0])
    @pytest.mark.parametrize("noise", [0.01, 0.3])
    def test_a_cut_off_frequency_is_found(self, period, noise):
        random = np.random.default_rng(0)
        frequencies = np.fft.fftfreq(256)
        radius = np.hypot(frequencies[:, None], frequencies[None, :])
        spectrum = np.fft.fft2(random.normal(size=(256, 256))) * (radius < 1 / period)
        image = np.fft.ifft2(spectrum).real
        image += noise * image.std() * random.normal(size=image.shape)
        assert resolution(image) == pytest.approx(period, rel=0.1)

    def test_blur_reduces_the_resolution(self, scene):
        sharp, blurred = resolution(scene.truth), resolution(scene.observed.astype(float))
        assert 2 <= sharp < blurred

    def test_noise_has_no_resolution(self):
        assert resolution(np.random.default_rng(0).normal(size=(128, 128))) is None


class TestTrustReport:
    def test_a_good_result_leaves_only_noise(self, scene, known):
        trust = known.trust
        assert trust.residual_level == pytest.approx(1, abs=0.35)
        assert abs(trust.residual_correlation) < 0.2
        assert trust.flux_ratio == pytest.approx(1, abs=0.02)
        assert trust.resolution_after < trust.resolution_before
        assert trust.gain == pytest.approx(1, abs=0.4)
        assert trust.kernel_fwhm == pytest.approx((2 * 2.355, 2 * 2.355), rel=0.07)
        assert trust.kernel_roundness == pytest.approx(1, abs=0.01)
        assert known.flags == ()

    def test_the_record_is_json_without_the_map(self, known):
        record = json.loads(json.dumps(known.provenance()))["trust"]
        assert "residual" not in record
        assert record["noise"] == known.trust.noise

    def test_a_wrong_kernel_does_not_explain_the_image(self, scene, known):
        wide = gaussian_kernel((31, 31), 4.0)
        inspection = inspected(scene.observed)
        judged = judge(inspection, known.image, Kernel(wide), reason=StopReason.NOISE)
        assert judged.flags[0] is QualityFlag.MISFIT

    def test_invented_detail_shows_in_the_residual(self, scene, known):
        invented = known.image.astype(float)
        invented[40:44, 40:44] += 2000
        image, kernel = inspected(scene.observed), Kernel(KERNEL)
        trust = judge(image, invented, kernel, reason=StopReason.NOISE).trust
        at_detail = np.abs(trust.residual[38:46, 38:46])
        assert np.nanmax(at_detail) > 5
        assert np.nanmedian(np.abs(trust.residual)) < 1.2

    def test_a_result_that_is_not_sharper_is_flagged(self, scene):
        point = np.zeros((3, 3), np.float32)
        point[1, 1] = 1
        kernel = Kernel(point, KernelSource.GAUSSIAN)
        judged = judge(inspected(scene.observed), scene.observed, kernel, reason=StopReason.NOISE)
        assert QualityFlag.NOT_SHARPER in judged.flags

    @pytest.mark.parametrize(
        ("source", "deviation", "is_flagged"),
        [
            (KernelSource.CONFOCAL, 0.35, True),
            (KernelSource.CONFOCAL, 0.3, False),
            (KernelSource.GIVEN, 0.35, False),
        ],
    )
    def test_a_volume_whose_kernel_is_uncertain_by_a_third_is_flagged(
        self, source, deviation, is_flagged
    ):
        volume = np.random.default_rng(0).normal(size=(16, 20, 20)).astype(np.float32)
        inspection = Inspection.of(Image(volume, "ZYX", dict.fromkeys("ZYX", 1.0), space="ZYX"))
        kernel = Kernel(gaussian_kernel((5, 5, 5), 1.0), source, width_deviation=deviation)
        flags = judge(inspection, volume, kernel, reason=StopReason.NOISE).flags
        assert (QualityFlag.KERNEL_UNCERTAIN in flags) == is_flagged

    def test_the_kernel_of_a_plane_may_be_uncertain(self, scene, known):
        kernel = Kernel(KERNEL, KernelSource.GAUSSIAN, width_deviation=0.5)
        judged = judge(inspected(scene.observed), known.image, kernel, reason=StopReason.NOISE)
        assert QualityFlag.KERNEL_UNCERTAIN not in judged.flags

    def test_a_kernel_as_wide_as_the_image_leaves_no_interior(self, scene):
        image = scene.observed.astype(float)[:32, :32]
        wide = np.full((31, 31), 1 / 961, np.float32)
        trust, flags, _ = judge(inspected(image), image, Kernel(wide), reason=StopReason.NOISE)
        assert trust.residual_level is None
        assert np.isnan(trust.residual).all()
        assert QualityFlag.MISFIT not in flags

    def test_colour_is_judged_by_its_mean(self, scene):
        colour = np.repeat(scene.observed[:48, :48, None], 3, axis=2)
        trust = deconvolve(colour, Settings(max_iterations=1), axes="YXS").trust
        assert trust.residual.shape == (48, 48)

    def test_every_flag_has_a_sentence(self):
        for flag in QualityFlag:
            assert flag.sentence.endswith(".")


class TestExpectedError:
    def test_the_map_has_the_magnitude_of_the_true_error(self, scene, known):
        expected = expected_error(scene.observed, known)
        error = known.image - scene.truth
        assert expected.shape == scene.observed.shape
        inner = np.s_[8:-8, 8:-8]
        sizes = [np.sqrt(np.mean(np.square(each[inner]))) for each in (expected, error)]
        assert 0.7 < sizes[0] / sizes[1] < 1.5
        assert 0.5 < (np.abs(error) < expected)[inner].mean() < 0.9

    def test_an_uncertain_kernel_makes_the_edges_uncertain(self, scene, known):
        unsure = replace(
            known,
            kernel=replace(known.kernel, source=KernelSource.GAUSSIAN, width_deviation=0.3),
            kernel_is_held=False,
        )
        certain, uncertain = (expected_error(scene.observed, each) for each in (known, unsure))
        assert (uncertain >= 0.999 * certain).all()
        assert uncertain.max() > certain.max()

    def test_the_map_of_a_colour_image_is_grey(self, scene):
        colour = np.repeat(scene.observed[:48, :48, None], 3, axis=2)
        result = deconvolve(colour, Settings(solver="log-gaussian"), axes="YXS")
        assert expected_error(colour, result, axes="YXS").shape == (48, 48)

    def test_repeated_pixels_have_one_error(self, scene):
        coarse = np.repeat(np.repeat(scene.observed, 3, axis=0), 3, axis=1)
        result = deconvolve(coarse, Settings(solver="log-gaussian"))
        error = expected_error(coarse, result)
        np.testing.assert_array_equal(error[::3, ::3], error[1::3, 2::3])


class TestReport:
    @pytest.fixture
    def written(self, tmp_path, scene):
        stack = np.stack([scene.observed[:64, :64], scene.observed[32:, 32:]])
        tifffile.imwrite(tmp_path / "in.tif", stack, imagej=True, metadata={"axes": "ZYX"})
        job = Job(input=tmp_path / "in.tif", output=tmp_path / "out.tif", settings=Settings())
        run_job(job).result()
        return tmp_path / "out.tif"

    def test_a_plane_of_a_stack_is_judged_from_its_files(self, written):
        found = Report.of(written, (1,))
        assert found.image.shape == (64, 64)
        assert "plane (1,)" in found.title
        assert found.trust.residual_level == pytest.approx(1, abs=0.5)
        assert json.loads(json.dumps(found.as_record()))["verdict"] == found.verdict
        record = json.loads(sidecar_of(written).read_text(encoding="utf-8"))
        assert record["planes"][1]["trust"]["gain"] >= 0

    def test_the_report_is_written(self, written, tmp_path):
        write_report(tmp_path / "page.png", Report.of(written))
        assert (tmp_path / "page.png").stat().st_size > 10_000

    def test_the_map_of_expected_errors_is_written(self, written, tmp_path):
        out = tmp_path / "error.tif"
        arguments = ["report", str(written), "--plane", "1", "--error-out", str(out)]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        error = tifffile.imread(out)
        assert error.shape == (64, 64)
        assert (error > 0).all()
        np.testing.assert_array_equal(error, Report.of(written, (1,)).expected_error)
        again = CliRunner().invoke(app, arguments)
        assert again.exit_code == 2
        assert "replaced only with --overwrite" in again.output

    def test_the_judged_files_are_not_replaced(self, written):
        for path in (written, sidecar_of(written)):
            before = path.read_bytes()
            arguments = ["report", str(written), "--error-out", str(path), "--overwrite"]
            done = CliRunner().invoke(app, arguments)
            assert done.exit_code == 2
            assert "more than once" in done.output.replace("\n", " ")
            assert path.read_bytes() == before

    def test_numbers_are_ascii(self, written):
        """The code page of a Windows console has few other characters."""
        named = written.with_name("кривая.tif")
        written.rename(named)
        sidecar_of(written).rename(sidecar_of(named))
        done = CliRunner().invoke(app, ["report", str(named)])
        assert done.stdout.isascii()
        assert json.loads(done.stdout)["result"].startswith("кривая.tif")

    def test_inputs_that_do_not_match_are_refused(self, written, tmp_path):
        with pytest.raises(ValueError, match="Expected the index of a plane"):
            Report.of(written, (7,))
        with pytest.raises(ValueError, match="sidecar"):
            Report.of(tmp_path / "in.tif")
        tifffile.imwrite(tmp_path / "in.tif", np.zeros((32, 32), np.uint8))
        with pytest.raises(ValueError, match=r"Expected the image that .* was made from"):
            Report.of(written)
        record = json.loads(sidecar_of(written).read_text(encoding="utf-8"))
        record["job"]["settings"]["seed"] = "many"
        write_json(sidecar_of(written), record)
        with pytest.raises(ValueError, match="is not the sidecar"):
            Report.of(written)


def test_an_infinite_signal_to_noise_ratio_is_no_error():
    image = smooth_light()
    trust = judge(inspected(image), image, Kernel.point(), reason=StopReason.NOISE).trust
    assert trust.signal_to_noise > 10 or math.isinf(trust.signal_to_noise)
