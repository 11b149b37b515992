"""The kernel of a volume, found in the volume alone."""

import math
from functools import cache
from itertools import chain, combinations, product

import numpy as np
import pytest
import tifffile
from scipy import fft, ndimage
from scipy.signal import fftconvolve
from tests.command import LINEAR, blind_deconv

from napari_blind_deconv import (
    Image,
    Kernel,
    KernelChoice,
    Optics,
    Settings,
    deconvolve,
    deconvolve_stack,
    iterate,
    microscope_psf,
)
from napari_blind_deconv.engine import kernel_stage
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.solver import RunControl
from napari_blind_deconv.engine.stack_plan import make_plan
from napari_blind_deconv.engine.stacks import run_stack
from napari_blind_deconv.errors import OutOfMemoryError
from napari_blind_deconv.kernel import KernelSource
from napari_blind_deconv.kernel_widths import KernelWidths
from napari_blind_deconv.numerics.cylinders import CylinderMeans
from napari_blind_deconv.numerics.microscope_transfer import RadialGrid, pupil_of
from napari_blind_deconv.numerics.regions import regions_with_contrast
from napari_blind_deconv.numerics.spectrum import Spectrum, windowed
from napari_blind_deconv.numerics.volume_evidence import VolumeEvidence
from napari_blind_deconv.numerics.volume_kernels import FWHM, KernelFamily, PupilShape
from napari_blind_deconv.numerics.volume_search import ProbableKernel, search_volume_kernels
from napari_blind_deconv.numerics.volume_spectrum import continued, fading, volume_spectra
from napari_blind_deconv.optics import MicroscopeKind
from napari_blind_deconv.reasons import Finding, QualityFlag
from napari_blind_deconv.results import BlockResult, Notice
from napari_blind_deconv.steps import run_to_end
from napari_blind_deconv.task import Task
from napari_blind_deconv.verdict import verdict

SIZE = (0.2, 0.1, 0.1)  # µm
SAMPLING = (2.0, 1.0, 1.0)
SHAPE = (32, 64, 64)
OBJECTIVE = Optics(1.2, 1.33, (0.525,))
POINT = np.zeros((21, 21, 21))
POINT[10, 10, 10] = 1
PUPIL = PupilShape(0.525 / 2.4 / 0.1, 1.2 / 1.33)


@cache
def scene(seed: int = 0) -> np.ndarray:
    """Balls and points without a preferred direction, wider than the volume."""
    random, shape = np.random.default_rng(seed), (48, 96, 96)
    balls = np.zeros(shape)
    grid = np.indices(shape) * np.reshape(SAMPLING, (3, 1, 1, 1))
    for _ in range(120):
        centre = random.uniform(0, 1, 3) * np.array(shape) * SAMPLING
        distance = np.linalg.norm(grid - centre[:, None, None, None], axis=0)
        balls = np.maximum(balls, (distance < random.uniform(2, 7)) * random.uniform(0.3, 1))
    points = (random.random(shape) > 0.999) * random.uniform(0.5, 2, shape)
    return ndimage.gaussian_filter(balls + points, [0.3, 0.6, 0.6])


def recorded(blurred: np.ndarray, photons: float = 1000.0, seed: int = 1) -> np.ndarray:
    """The middle of a blurred scene, in counts above an offset."""
    random = np.random.default_rng(seed)
    middle = tuple(
        slice((a - b) // 2, (a + b) // 2) for a, b in zip(blurred.shape, SHAPE, strict=True)
    )
    light = blurred[middle].clip(0) / blurred.max()
    return (random.poisson(photons * (light + 0.02)) + random.normal(100, 1.5, SHAPE)).astype(
        np.float32
    )


def blurred_by(weights: np.ndarray) -> np.ndarray:
    sharp = scene()
    drawn = np.zeros(sharp.shape)
    drawn[tuple(slice(side) for side in weights.shape)] = weights
    drawn = np.roll(drawn, [-(side // 2) for side in weights.shape], range(3))
    return fft.irfftn(fft.rfftn(sharp) * fft.rfftn(drawn), sharp.shape)


def search(*volumes: np.ndarray, **options):
    """Return the search for the kernel of volumes."""
    spectra = chain(*(volume_spectra(volume, SAMPLING) for volume in volumes))
    return search_volume_kernels(spectra, volumes[0].shape, **options)


def found_in(*volumes: np.ndarray, **options):
    """Return the most probable kernel by the spectra of volumes, or None."""
    probable = run_to_end(search(*volumes, **options))
    return probable[0].kernel if probable else None


def image_of(volume: np.ndarray, **optics) -> Image:
    spacing = dict(zip("ZYX", SIZE, strict=True))
    return Image(volume, "ZYX", spacing, "µm", optics=Optics(**optics), space="ZYX")


@pytest.fixture(scope="module")
def confocal() -> tuple[np.ndarray, np.ndarray]:
    """A volume and its PSF."""
    psf = microscope_psf(
        OBJECTIVE, SIZE, microscope="confocal", excitation_wavelength=0.488, within=(31, 33, 33)
    ).weights
    return recorded(blurred_by(psf)), psf


@pytest.fixture(scope="module")
def found_in_confocal(confocal):
    """The kernel that is found in it."""
    return found_in(confocal[0])


@pytest.fixture(scope="module")
def widefield() -> tuple[np.ndarray, np.ndarray]:
    psf = microscope_psf(OBJECTIVE, SIZE, within=(31, 79, 79)).weights
    return recorded(blurred_by(psf), 100), psf


class TestWidths:
    """The widths that are found."""

    @pytest.mark.parametrize("sigmas", [(1.2, 1.0, 1.0), (2.5, 1.5, 1.5)])
    def test_of_a_gaussian(self, sigmas):
        found = found_in(recorded(ndimage.gaussian_filter(scene(), sigmas)))
        across, along = (2.355 * sigmas[axis] for axis in (1, 0))
        depth, _, width = found.widths.along_axes
        limit = 2.5 * found.width_deviation
        assert abs(math.log(width / across)) < limit
        assert abs(math.log(depth / along)) < limit

    def test_of_a_confocal_microscope(self, confocal, found_in_confocal):
        found = found_in_confocal
        true = KernelWidths.of(confocal[1]).along_axes
        for one, other in zip(found.widths.along_axes, true, strict=True):
            assert abs(math.log(one / other)) < 2.5 * found.width_deviation
        assert found.widths.along_axes[0] * SAMPLING[0] > found.widths.along_axes[1]

    def test_more_photons_tell_more(self):
        blurred = ndimage.gaussian_filter(scene(), (1.5, 1.2, 1.2))
        few, many = (found_in(recorded(blurred, photons)) for photons in (10, 1000))
        assert many.width_deviation < few.width_deviation


class TestSeveralVolumes:
    """Volumes with one kernel add up."""

    SIGMAS = (1.0, 1.5, 1.5)

    @pytest.fixture
    def dim(self) -> list[np.ndarray]:
        blurred = ndimage.gaussian_filter(scene(), self.SIGMAS)
        return [recorded(blurred, 10, seed) for seed in range(1, 5)]

    def error(self, kernel: Kernel) -> float:
        sigmas = np.array(kernel.widths.along_axes) / FWHM
        return float(np.abs(np.log(sigmas / self.SIGMAS)).max())

    def test_dim_ones_tell_more_than_one(self, dim):
        assert self.error(found_in(*dim)) < self.error(found_in(dim[0])) / 2

    def test_a_volume_that_is_given_twice_tells_no_more(self, confocal):
        [spectrum] = volume_spectra(confocal[0], SAMPLING)
        evidence = []
        for spectra in ([spectrum], [spectrum, spectrum]):
            means = CylinderMeans.of(spectra)
            transfers = KernelFamily(means, SAMPLING, spectrum.shape[0]).gaussian_transfers
            evidence.append(VolumeEvidence.of(means, transfers).of_transfers(transfers))
        np.testing.assert_allclose(*evidence, rtol=0.05)

    @pytest.mark.parametrize(
        ("axes", "scope", "reference", "searched"),
        [
            ("TZYX", "per-channel", None, [4]),
            ("TZYX", "per-channel", (2,), [1]),
            ("TZYX", "shared", None, [4]),
            ("CZYX", "per-channel", None, [1, 1, 1, 1]),
            ("CZYX", "shared", None, [4]),
        ],
    )
    def test_those_of_a_stack_that_share_a_kernel_do(
        self, dim, monkeypatch, axes, scope, reference, searched
    ):
        counts = []

        def counting(spectra, shape, **options):
            counts.append(len(list(spectra)))
            yield Kernel.point(3)
            return [ProbableKernel(Kernel.point(3), 0.0)]

        monkeypatch.setattr(kernel_stage, "search_volume_kernels", counting)
        stack = Image(np.array(dim), axes, dict(zip("ZYX", SIZE, strict=True)), "µm", space="ZYX")
        task = Task(stack, Settings(), KernelChoice.find(scope))
        run_to_end(make_plan(task, RunControl(), reference=reference))
        assert counts == searched


class TestRegions:
    """Parts of a large volume add up like volumes."""

    @pytest.fixture
    def spots(self) -> np.ndarray:
        """Noise with spots, which are brighter on one side."""
        random = np.random.default_rng(0)
        points = random.random((12, 256, 256)) > 0.999
        light = 100.0 * ndimage.gaussian_filter(points.astype(float), 1.2)
        light[:, :, 128:] *= 2
        return random.normal(light, 1.0)

    def test_the_one_with_most_contrast_is_first_and_none_overlap(self, spots):
        regions = regions_with_contrast(spots, 96, 10)
        assert 2 <= len(regions) < 10
        deviations = [spots[region].std() for region in regions]
        assert deviations[0] == max(deviations)
        counts = np.zeros(spots.shape)
        for region in regions:
            assert spots[region].shape == (12, 96, 96)
            counts[region] += 1
        assert counts.max() == 1

    def test_those_with_nothing_but_noise_are_left_out(self, spots):
        several = len(volume_spectra(spots, SAMPLING))
        assert 2 <= several <= 4
        spots[:, :, :128] = np.random.default_rng(1).normal(size=spots[:, :, :128].shape)
        assert len(volume_spectra(spots, SAMPLING)) < several

    def test_a_small_volume_is_one(self, confocal):
        assert len(volume_spectra(confocal[0], SAMPLING)) == 1


class TestKinds:
    """The kinds of microscope."""

    def test_widefield_is_told_from_the_missing_cone(self, widefield):
        volume, _ = widefield
        found = found_in(volume)
        assert found.source is KernelSource.WIDEFIELD
        # All planes of the PSF have the same light, unlike those of a confocal microscope.
        light = found.weights.sum(axis=(1, 2))
        assert light.min() > 0.3 * light.max()

    def test_a_known_objective_gives_its_psf(self, widefield):
        volume, psf = widefield
        found = found_in(volume, pupil=PUPIL)
        assert found.source is KernelSource.WIDEFIELD
        np.testing.assert_allclose(
            found.widths.along_axes, KernelWidths.of(psf).along_axes, rtol=0.15
        )

    def test_confocal_is_not_taken_for_widefield(self, confocal, found_in_confocal):
        assert found_in_confocal.source is not KernelSource.WIDEFIELD
        assert found_in(confocal[0], pupil=PUPIL).source is not KernelSource.WIDEFIELD

    def test_few_points_in_few_photons_are_not_taken_for_widefield(self, confocal):
        # What speaks for widefield with a known objective grows with what the volume tells.
        random = np.random.default_rng(0)
        points = (random.random((48, 96, 96)) > 0.9997) * random.uniform(0.3, 1, (48, 96, 96))
        blurred = fftconvolve(ndimage.gaussian_filter(points, 0.6), confocal[1], mode="same")
        assert found_in(recorded(blurred, 25), pupil=PUPIL).source is not KernelSource.WIDEFIELD

    def test_the_common_pinhole_is_known_without_an_objective(self):
        psf = microscope_psf(
            OBJECTIVE, SIZE, microscope="confocal", excitation_wavelength=0.488, pinhole=1,
            within=(31, 33, 33),
        )  # fmt: skip
        found = found_in(recorded(blurred_by(psf.weights)))
        assert found.source is KernelSource.CONFOCAL
        np.testing.assert_allclose(found.widths.along_axes, psf.widths.along_axes, rtol=0.15)

    def test_kernels_differ_and_the_most_probable_is_first(self, confocal):
        probable = run_to_end(search(confocal[0]))
        probabilities = [each.probability for each in probable]
        assert probabilities == sorted(probabilities, reverse=True)
        for one, other in combinations([each.kernel for each in probable], 2):
            ratios = np.divide(one.widths.along_axes, other.widths.along_axes)
            assert one.source is not other.source or np.abs(np.log(ratios)).max() > 0.05

    def test_of_two_kernels_that_explain_as_much_the_narrow_one_is_more_probable(self):
        narrow, wide = (
            ProbableKernel.of(Kernel.of(ndimage.gaussian_filter(POINT, sigma)), -3.0)
            for sigma in (1.5, 3)
        )
        assert narrow.probability - wide.probability == pytest.approx(3 * math.log(2), rel=0.15)

    def test_no_kernel_is_narrower_than_a_known_objective_allows(self):
        sharp = recorded(ndimage.gaussian_filter(scene(), (0.5, 0.5, 0.5)))
        assert found_in(sharp).source is KernelSource.NO_BLUR
        found = found_in(sharp, pupil=PUPIL)
        assert found.source is KernelSource.NARROWEST
        narrowest = microscope_psf(
            OBJECTIVE, SIZE, microscope="confocal", excitation_wavelength=0.525, pinhole=0
        )
        np.testing.assert_allclose(found.widths.along_axes, narrowest.widths.along_axes, rtol=0.05)


OIL = Optics(1.4, 1.515, (0.6,))


@pytest.fixture(scope="module")
def aberrated() -> tuple[list[ProbableKernel], np.ndarray, np.ndarray]:
    """The kernels that are probable with a known objective, the PSF and the volume."""
    options = {"sample_index": 1.33, "depth": 5.0, "within": (31, 33, 33)}
    psf = microscope_psf(OIL, SIZE, **options).weights
    volume = recorded(blurred_by(psf), 2000)
    pupil = PupilShape(0.6 / 2.8 / SIZE[-1], 1.4 / 1.515)
    return run_to_end(search(volume, pupil=pupil)), psf, volume


class TestAberration:
    """A sample in water, seen with oil immersion."""

    def test_kernels_are_as_deep_as_the_psf(self, aberrated):
        probable, psf, _ = aberrated
        best = probable[0].kernel
        assert best.source is KernelSource.WIDEFIELD
        in_focus = microscope_psf(OIL, SIZE, within=(31, 33, 33)).weights
        depth, true, sharp = (
            KernelWidths.of(each).along_axes[0] for each in (best.weights, psf, in_focus)
        )
        assert abs(math.log(depth / true)) < 0.5 * abs(math.log(sharp / true))

    def test_it_is_left_open_on_which_side_the_sample_begins(self, aberrated):
        probable, *_ = aberrated
        best = probable[0].kernel.weights
        assert np.abs(best - best[::-1]).max() > 0.01 * best.max()
        turned = [each for each in probable if np.array_equal(each.kernel.weights, best[::-1])]
        assert [each.probability for each in turned] == [probable[0].probability]

    @pytest.mark.parametrize("pupil", [None, PupilShape(4.0, 0.4)])
    def test_nothing_is_aberrated_with_a_small_or_unknown_aperture(self, aberrated, pupil):
        for each in run_to_end(search(aberrated[2], pupil=pupil)):
            weights = each.kernel.weights
            np.testing.assert_allclose(weights, weights[::-1], atol=1e-6)


class TestStatedKind:
    """The kind of microscope that the user or the file states."""

    KINDS = (KernelSource.WIDEFIELD, KernelSource.CONFOCAL, KernelSource.LIGHT_SHEET)

    @pytest.mark.parametrize("kind", KINDS)
    def test_only_this_kind_is_found(self, confocal, kind):
        assert found_in(confocal[0], kind=kind).source is kind

    @pytest.mark.parametrize("kind", KINDS)
    def test_only_this_kind_is_found_with_a_known_objective(self, widefield, kind):
        assert found_in(widefield[0], pupil=PUPIL, kind=kind).source is kind

    def test_the_file_is_believed_and_its_kind_not_called_a_guess(self, widefield):
        image = image_of(widefield[0], microscope=MicroscopeKind.LIGHT_SHEET)
        result = deconvolve(image, solver="wiener")
        assert result.kernel.source is KernelSource.LIGHT_SHEET
        assert Finding.MICROSCOPE not in result.findings

    def test_the_setting_comes_before_the_file(self, widefield):
        image = image_of(widefield[0], microscope=MicroscopeKind.LIGHT_SHEET)
        result = deconvolve(image, solver="wiener", microscope="confocal")
        assert result.kernel.source is KernelSource.CONFOCAL
        assert Finding.MICROSCOPE not in result.findings

    def test_other_names_are_refused_in_one_sentence(self):
        with pytest.raises(ValueError, match=r"'microscope' got 'electron'.*'light-sheet'") as told:
            Settings(microscope="electron")
        assert str(told.value).count(". ") == 0
        assert Settings().with_texts(["microscope=widefield"]).microscope == "widefield"

    @pytest.mark.parametrize("pinhole", [0.5, 2.0])
    def test_an_open_pinhole_is_found(self, pinhole):
        psf = microscope_psf(
            OBJECTIVE, SIZE, microscope="confocal", excitation_wavelength=0.488,
            pinhole=pinhole, within=(31, 33, 33),
        ).weights  # fmt: skip
        found = found_in(recorded(blurred_by(psf)), pupil=PUPIL, kind=KernelSource.CONFOCAL)
        np.testing.assert_allclose(
            found.widths.along_axes, KernelWidths.of(psf).along_axes, rtol=0.15
        )


class TestInvariance:
    """What does not change the kernel."""

    def test_scale_and_offset(self, confocal, found_in_confocal):
        found, other = found_in_confocal, found_in(3.5 * confocal[0] + 1000)
        assert found.source is other.source
        np.testing.assert_allclose(found.weights, other.weights, atol=1e-6)

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_flipping(self, confocal, found_in_confocal, axis):
        found = found_in(np.flip(confocal[0], axis))
        np.testing.assert_allclose(found.weights, found_in_confocal.weights, atol=1e-6)

    def test_turning_about_the_axis(self, confocal, found_in_confocal):
        found = found_in(confocal[0].swapaxes(1, 2))
        np.testing.assert_allclose(found.weights, found_in_confocal.weights, atol=1e-6)


class TestTooLittle:
    """Volumes that do not tell their kernel."""

    NOISE = np.random.default_rng(0).normal(100, 5, SHAPE).astype(np.float32)

    def test_noise_tells_nothing(self):
        assert found_in(self.NOISE) is None

    def test_it_is_said_in_one_sentence(self):
        with pytest.raises(
            ValueError, match=r"shows how it is blurred.*numerical aperture"
        ) as told:
            deconvolve(self.NOISE, axes="ZYX", pixel_size=SIZE)
        assert str(told.value).count(". ") == 0

    def test_a_known_objective_helps(self):
        result = deconvolve(image_of(self.NOISE, **vars(OBJECTIVE)), solver="wiener")
        assert result.kernel.source is KernelSource.NARROWEST
        assert Finding.NARROWEST in result.findings

    def test_a_volume_that_fails_leaves_the_others(self, confocal):
        stack = np.stack([confocal[0], self.NOISE])
        run = deconvolve_stack(
            stack, axes="TZYX", block="volume", pixel_size=SIZE, kernel="per-slice", solver="wiener"
        )
        done, failed = sorted(run, key=lambda block: block.index)
        assert done.failure is None
        assert "shows how it is blurred" in failed.failure

    def test_a_channel_that_tells_too_little_leaves_the_others(self, confocal):
        stack = Image(
            np.stack([confocal[0], self.NOISE]),
            "CZYX",
            dict(zip("ZYX", SIZE, strict=True)),
            "µm",
            channel_names=("GFP", "DAPI"),
            space="ZYX",
        )
        plain = Settings(solver="wiener")
        steps = list(run_stack(Task(stack, plain), RunControl()))
        blocks = [step for step in steps if isinstance(step, BlockResult)]
        assert [block.failure is None for block in blocks] == [True, False]
        assert "32 × 64 × 64 voxels" in blocks[1].failure
        (notice,) = (step.text for step in steps if isinstance(step, Notice))
        assert "channel 2 (DAPI)" in notice

    def test_channels_that_all_tell_too_little_are_refused(self):
        stack = np.stack([self.NOISE, self.NOISE[::-1]])
        options = {"axes": "CZYX", "block": "volume", "pixel_size": SIZE}
        with pytest.raises(ValueError, match="shows how it is blurred"):
            deconvolve_stack(stack, **options).result()


@pytest.fixture(scope="module")
def spots() -> np.ndarray:
    """Bright and dim balls of light, blurred by a Gaussian."""
    return recorded(ndimage.gaussian_filter(scene(), (1.5, 2.0, 2.0)), 2000)


class TestFaults:
    """Voxels that are no image."""

    def test_a_hole_is_no_detail(self, spots):
        hole = np.zeros(SHAPE, bool)
        hole[10:24, 20:44, 20:44] = True
        volume = image_of(np.where(hole, np.nan, spots))
        self._is_as_wide(volume, spots)

    def test_saturated_tops_are_no_detail(self, spots):
        clipped = np.minimum(spots, np.quantile(spots, 0.99)).round()
        self._is_as_wide(image_of(clipped), spots)

    @pytest.mark.parametrize(("share", "is_told"), [(0.01, False), (0.1, True)])
    def test_too_many_saturated_voxels_are_told(self, spots, share, is_told):
        clipped = np.minimum(spots, np.quantile(spots, 1 - share)).round()
        result = deconvolve(clipped, axes="ZYX", pixel_size=SIZE, solver="wiener")
        assert Finding.SATURATED in result.findings
        assert (Finding.MOSTLY_SATURATED in result.findings) == is_told

    @staticmethod
    def _is_as_wide(volume: Image, spots: np.ndarray) -> None:
        widths = []
        for each in (volume, image_of(spots)):
            problem = Problem.of(Task(each, Settings(), KernelChoice.find()))
            valid = problem.inspection.valid_luminance
            spectra = volume_spectra(problem.luminance, each.sampling, valid)
            found = run_to_end(search_volume_kernels(spectra, each.block_shape))
            widths.append(found[0].kernel.widths.along_axes)
        np.testing.assert_allclose(*widths, rtol=0.25)

    def test_a_gap_goes_on_with_its_slope(self):
        ramp = np.indices((12, 16, 16)).sum(axis=0).astype(float)
        valid = np.ones(ramp.shape, bool)
        valid[4:7, 5:9, 5:9] = False
        assert np.abs(continued(np.where(valid, ramp, 20.0), valid) - ramp).max() < 0.05

    def test_only_deep_gaps_are_faded_to(self):
        valid = np.ones((30, 40, 40), bool)
        valid[3, :, :] = valid[10:13, 5:8, 5:8] = False
        assert (fading(valid) == 1).all()
        valid[8:22, 10:26, 10:26] = False
        weights = fading(valid)
        assert weights[15, 18, 18] == 0
        assert weights[15, 18, 9] < 0.1 < 0.5 < weights[15, 18, 3]
        assert weights[29, 39, 39] == 1


class TestRuns:
    """Runs on volumes without a PSF."""

    def test_it_gains_most_of_what_the_psf_gains(self, confocal):
        volume, psf = confocal
        options = {"axes": "ZYX", "pixel_size": SIZE, "solver": "wiener"}
        found = deconvolve(volume, **options)
        given = deconvolve(volume, kernel=psf, **options)
        assert not found.kernel_is_held
        assert found.kernel.pixel_size == SIZE
        assert Finding.MICROSCOPE in found.findings
        assert f"Kernel ({found.kernel.source}) " in verdict(found).sentence
        assert "along Z, Y and X (± " in verdict(found).sentence
        assert QualityFlag.KERNEL_FILLS_WINDOW not in found.flags
        change = np.linalg.norm(given.image - volume)
        assert np.linalg.norm(found.image - given.image) < 0.5 * change

    def test_a_sharp_volume_is_not_called_too_small(self):
        sharp = recorded(ndimage.gaussian_filter(scene(), 0.5))
        result = deconvolve(sharp, axes="ZYX", pixel_size=SIZE, solver="wiener")
        assert result.kernel.source is KernelSource.NO_BLUR
        assert QualityFlag.NO_BLUR in result.flags
        assert QualityFlag.TOO_SMALL not in result.flags

    def test_a_stack_shares_the_kernel(self, confocal):
        stack = np.stack([confocal[0], confocal[0][::-1]])
        options = {"axes": "TZYX", "block": "volume", "pixel_size": SIZE, "solver": "wiener"}
        first, second = (block.result.kernel for block in deconvolve_stack(stack, **options))
        np.testing.assert_array_equal(first.weights, second.weights)
        assert first.source.is_found

    @pytest.mark.parametrize("start", ["flat", 2.0])
    def test_another_start_is_refused(self, confocal, start):
        with pytest.raises(ValueError, match="Expected kernel_start 'auto' or a PSF"):
            deconvolve(confocal[0], Settings(kernel_start=start), axes="ZYX", pixel_size=SIZE)

    def test_a_guess_is_refused(self, confocal):
        volume, psf = confocal
        with pytest.raises(ValueError, match="got a guess"):
            deconvolve(volume, kernel=KernelChoice.start_from(psf), axes="ZYX", pixel_size=SIZE)

    def test_it_can_be_stopped(self, confocal):
        result = deconvolve(confocal[0], axes="ZYX", pixel_size=SIZE, should_stop=lambda: True)
        assert result.image.shape == SHAPE
        assert QualityFlag.KERNEL_FILLS_WINDOW not in result.flags
        # Nothing is said of a blur that was not searched to the end.
        assert verdict(result).sentence == (
            "Nothing sharpened: the run was stopped before the blur was found."
        )

    def test_a_search_that_is_stopped_hands_over_its_best_kernel(self, confocal):
        kernels = list(search(confocal[0]))
        assert kernels[0].source is KernelSource.NO_BLUR
        assert all(kernel.source is not KernelSource.NO_BLUR for kernel in kernels[2:])

    def test_without_a_voxel_size_it_is_refused_before_the_search(self, confocal):
        with pytest.raises(ValueError, match="Expected the voxel size"):
            iterate(confocal[0], axes="ZYX")

    def test_repeated_voxels_are_no_blur_of_a_series(self, confocal):
        size = (SIZE[0], SIZE[1] / 2, SIZE[2] / 2)
        repeated = confocal[0].repeat(2, axis=1).repeat(2, axis=2)
        options = {"block": "volume", "solver": "wiener"}
        kernels = [
            deconvolve_stack(np.stack([each] * 2), axes="TZYX", pixel_size=side, **options)
            .result()
            .plan.kernels[0]
            for each, side in ((confocal[0], SIZE), (repeated, size))
        ]
        np.testing.assert_array_equal(kernels[0].weights, kernels[1].weights)
        assert kernels[0].pixel_size == kernels[1].pixel_size == SIZE

    def test_the_plan_of_a_series_sets_how_its_volumes_are_cut(self, confocal):
        stack = np.stack([confocal[0], confocal[0][::-1]])
        options = {"axes": "TZYX", "block": "volume", "pixel_size": SIZE, "solver": "wiener"}
        plan = deconvolve_stack(stack, **options).result().plan
        assert plan.tile_side == max(SHAPE)

    def test_a_search_that_fails_says_what_to_try(self, confocal, monkeypatch):
        def fails(*args, **options):
            raise MemoryError

        monkeypatch.setattr(kernel_stage, "search_volume_kernels", fails)
        with pytest.raises(OutOfMemoryError, match="voxels; try a smaller region"):
            deconvolve(confocal[0], axes="ZYX", pixel_size=SIZE)


def test_the_command_needs_no_psf(widefield, tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", widefield[0], imagej=True, metadata={"axes": "ZYX"})
    optics = ("--na", "1.2", "--refractive-index", "water", "--wavelength", "525")
    size = ("--pixel-size", "0.2,0.1,0.1")
    done = blind_deconv(
        "run", "in.tif", "out.tif", "--volume", *size, *optics, *LINEAR, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Kernel (widefield)" in done.stdout + done.stderr
    assert Finding.MICROSCOPE.sentence in done.stdout + done.stderr


class TestSpectrum:
    """The spectrum around the axis, and the transfer functions that it is compared with."""

    def test_means_keep_the_total_power(self):
        volume = np.random.default_rng(2).normal(size=SHAPE)
        spectrum = Spectrum.of(volume, sampling=SAMPLING)
        means = CylinderMeans.of([spectrum])
        total = (spectrum.power / spectrum.noise_power)[means.used].sum()
        assert (means.power * means.count).sum() == pytest.approx(total)

    def test_a_window_keeps_the_power_of_noise(self):
        noise = np.random.default_rng(3).normal(5, 2, (24, 40, 40))
        assert np.square(windowed(noise)).mean() == pytest.approx(4, rel=0.05)

    @pytest.mark.parametrize(
        ("kind", "ratio"),
        list(product(["widefield", "confocal", "pinhole", "aberrated"], [0.5, 0.85])),
    )
    def test_transfer_of_a_microscope_is_that_of_its_voxels(self, kind, ratio):
        step, planes, period = 0.5, 41, 6.0
        optics = Optics(1.515 * ratio, 1.515, (1.515,))
        size = 1.0 / (2 * ratio) / period  # µm, so that the finest period is that many pixels
        pinhole = 1.0 if kind == "pinhole" else 0.0
        depth = 8.0 if kind == "aberrated" else 0.0
        scanned = {
            "microscope": "confocal",
            "excitation_wavelength": 0.93 * 1.515,
            "pinhole": pinhole,
        }
        below_glass = {"sample_index": 1.33, "depth": depth}
        options = {"widefield": {}, "aberrated": below_glass}.get(kind, scanned)
        psf = microscope_psf(
            optics,
            (step * size, size, size),
            shape=(planes, 81, 81),
            **options,
        )
        across = np.array([0.1, 0.3, 0.5])
        along = np.array([0.0, 0.05, 0.1])
        grid = RadialGrid(across, along, step, planes, period)
        radial = grid.widefield(pupil_of(period, ratio, depth))
        if options is scanned:
            (radial,) = grid.confocal(radial, [pinhole])
        z, x = step * (np.arange(planes) - planes // 2), np.arange(81) - 40
        waves = np.exp(-1j * (along[:, None, None] * z[:, None] + across[:, None, None] * x))
        expected = np.abs((psf.weights.sum(axis=1) * waves).sum(axis=(1, 2))) ** 2
        np.testing.assert_allclose(radial.transfer, expected, atol=0.04)
