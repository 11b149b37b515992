"""The PSF computed from the optics: known values of theory, and the refusals."""

import numpy as np
import pytest
from scipy import signal

from napari_blind_deconv import Optics, microscope_psf
from napari_blind_deconv.kernel import KernelWidths
from napari_blind_deconv.numerics.microscope import Microscope, voxel_psf
from napari_blind_deconv.numerics.pupil import Layers, Pupil

WAVELENGTH = 0.52
OIL = Optics(1.4, 1.515, (WAVELENGTH,))
VOXEL = (0.2, 0.065, 0.065)
MISMATCH = {"sample_index": 1.33, "depth": 8.0}


def first_minimum(values: np.ndarray) -> int:
    return int(np.flatnonzero(np.diff(values) > 0)[0])


@pytest.fixture(scope="module")
def paraxial() -> Pupil:
    return Pupil(0.2, WAVELENGTH, Layers(1.0))


class TestPupil:
    def test_the_airy_pattern_has_its_zero_and_its_width(self, paraxial):
        radii = np.linspace(0, 3, 3001)
        profile = paraxial.intensity(radii, [0.0])[:, 0]
        unit = WAVELENGTH / 0.2
        assert radii[first_minimum(profile)] == pytest.approx(0.61 * unit, rel=0.002)
        half = radii[np.flatnonzero(profile < profile[0] / 2)[0]]
        assert 2 * half == pytest.approx(0.514 * unit, rel=0.002)

    def test_the_axis_is_dark_where_theory_says(self, paraxial):
        heights = np.linspace(0, 40, 4001)
        axis = paraxial.intensity([0.0], heights)[0]
        assert heights[first_minimum(axis)] == pytest.approx(2 * WAVELENGTH / 0.2**2, rel=0.02)

    def test_every_plane_has_the_same_light(self):
        pupil = Pupil(0.8, WAVELENGTH, Layers(1.0))
        radii = np.linspace(0, 60, 12001)
        light = 2 * np.pi * radii[:, None] * pupil.intensity(radii, [0.0, 1.5, 4.0])
        np.testing.assert_allclose(light.sum(axis=0) * radii[1], 1, atol=0.01)

    @pytest.mark.parametrize(
        "layers",
        [
            Layers(1.515, 1.33, 100.0),  # with light beyond the critical angle
            Layers(1.515, 1.46, 20.0),
            Layers(1.515, glass_thickness=190.0, glass_index=1.6),
            Layers(1.52, design_immersion_index=1.515),
        ],
    )
    def test_more_nodes_change_nothing(self, layers, monkeypatch):
        pupil = Pupil(1.4, WAVELENGTH, layers)
        grid = np.linspace(0, 6, 50), pupil.brightest_height() + np.linspace(-3, 3, 25)
        few = pupil.intensity(*grid)
        monkeypatch.setattr("napari_blind_deconv.numerics.pupil._NODES_PER_RADIAN", 3.0)
        np.testing.assert_allclose(few, pupil.intensity(*grid), atol=1e-8 * few.max())

    def test_the_brightest_height_is_the_brightest(self):
        pupil = Pupil(1.4, WAVELENGTH, Layers(1.515, 1.33, 20.0))
        best = pupil.brightest_height()
        heights = np.linspace(-20, 40, 6001)
        axis = pupil.intensity([0.0], heights)[0]
        assert best == pytest.approx(heights[axis.argmax()], abs=0.02)
        assert axis.max() < 0.5 * Pupil(1.4, WAVELENGTH).intensity([0.0], [0.0])[0, 0]

    def test_rays_are_in_focus_where_snells_law_says(self):
        layers, depth = Layers(1.515, 1.33, 20.0), 20.0
        sines = np.array([0.2, 0.7, 1.1])
        steepness = [np.tan(np.arcsin(sines / index)) for index in (1.33, 1.515)]
        expected = depth * (steepness[0] / steepness[1] - 1.515 / 1.33)
        np.testing.assert_allclose(layers.focus(sines), expected, rtol=1e-3)
        pupil = Pupil(1.2, WAVELENGTH, layers)
        assert 0 < pupil.brightest_height() < layers.focus(np.array([1.2]))[0]

    def test_layers_as_designed_change_nothing(self):
        plain, matched = Pupil(1.4, WAVELENGTH), Pupil(1.4, WAVELENGTH, Layers(1.515, 1.515, 30.0))
        grid = [0.0, 0.2, 0.5], [-1.0, 0.0, 0.7]
        np.testing.assert_allclose(plain.intensity(*grid), matched.intensity(*grid), rtol=1e-6)


class TestVoxels:
    def test_a_widefield_psf_is_centred_symmetric_and_has_a_missing_cone(self):
        kernel = microscope_psf(OIL, VOXEL)
        weights = kernel.weights.astype(float)
        assert weights.sum() == pytest.approx(1, abs=1e-5)
        assert weights.min() >= 0
        assert kernel.pixel_size == VOXEL
        centre = tuple(side // 2 for side in kernel.shape)
        assert np.unravel_index(weights.argmax(), kernel.shape) == centre
        for axes in ((0,), (1,), (2,)):
            np.testing.assert_allclose(weights, np.flip(weights, axes), atol=1e-7)
        # Every plane has the same light, so that the transfer function vanishes along the axis.
        along_axis = np.abs(np.fft.fft(weights.sum(axis=(1, 2))))
        assert along_axis[1:].max() < 0.03 * along_axis[0]

    def test_a_mismatch_makes_it_long_and_asymmetric_and_its_brightest_plane_stays_the_origin(self):
        plain, deep = (
            microscope_psf(OIL, VOXEL, shape=(61, 41, 41), **options) for options in ({}, MISMATCH)
        )
        axis = deep.weights[:, 20, 20]
        assert axis.argmax() == 30
        assert np.abs(axis - axis[::-1]).max() > 0.1 * axis.max()
        assert np.ptp(np.flatnonzero(axis > axis.max() / 10)) > np.ptp(
            np.flatnonzero(plain.weights[:, 20, 20] > plain.weights.max() / 10)
        )

    def test_pixels_collect_light_from_their_area(self):
        fine = microscope_psf(OIL, (0.02, 0.02), shape=(55, 55)).weights
        coarse = microscope_psf(OIL, (0.1, 0.1), shape=(11, 11)).weights
        binned = fine.reshape(11, 5, 11, 5).sum(axis=(1, 3))
        np.testing.assert_allclose(coarse, binned, atol=2e-4)

    def test_a_closed_pinhole_squares_and_an_open_one_passes_the_excitation(self):
        pupil = Pupil(1.2, WAVELENGTH, Layers(1.33))
        radii, heights = np.linspace(0, 1, 60), np.array([0.0, 0.4])
        wide = Microscope(pupil).profile(1.0, heights)(radii)
        closed, opened = (
            Microscope(pupil, pupil, pinhole).profile(1.0, heights)(radii) for pinhole in (0, 20)
        )
        np.testing.assert_allclose(closed / closed.max(), (wide / wide.max()) ** 2, atol=1e-3)
        np.testing.assert_allclose(opened / opened.max(), wide / wide.max(), atol=0.02)

    def test_a_pinhole_of_one_airy_unit_ends_at_the_first_zero(self):
        pupil = Pupil(0.5, WAVELENGTH, Layers(1.0))
        step = 0.02
        offsets = step * np.arange(-150, 151)
        distance = np.hypot(offsets[:, None], offsets)
        focus = Microscope(pupil).profile(distance.max(), [0.0])(distance)[..., 0]
        disc = (distance <= 0.61 * WAVELENGTH / 0.5).astype(float)
        seen = signal.fftconvolve(focus, disc / disc.sum(), mode="same")[150, 150:200]
        profile = Microscope(pupil, pinhole=1.0).profile(1.0, [0.0])(offsets[150:200])[:, 0]
        np.testing.assert_allclose(profile, seen, atol=0.01 * seen.max())

    def test_a_smaller_pinhole_makes_it_narrower(self):
        widths = [
            KernelWidths.of(
                microscope_psf(
                    OIL,
                    (0.05, 0.02, 0.02),
                    microscope="confocal",
                    excitation_wavelength=WAVELENGTH,
                    pinhole=pinhole,
                    shape=(41, 33, 33),
                )
            ).along_axes
            for pinhole in (0.0, 1.0, 3.0)
        ]
        wide = KernelWidths.of(microscope_psf(OIL, (0.05, 0.02, 0.02), shape=(41, 33, 33)))
        widths.append(wide.along_axes)
        assert widths == sorted(widths)
        assert widths[0][1] == pytest.approx(0.72 * widths[-1][1], rel=0.03)
        assert widths[0][0] == pytest.approx(0.72 * widths[-1][0], rel=0.05)

    def test_a_light_sheet_cuts_off_other_planes(self):
        water = Optics(0.3, 1.33, (WAVELENGTH,))
        sheet = microscope_psf(
            water, (0.5, 0.4, 0.4), microscope="light-sheet", sheet_thickness=4.0
        )
        along = sheet.weights.sum(axis=(1, 2))
        # Every plane of the objective's PSF has the same light, so the sheet alone is left.
        assert along[len(along) // 2 + 4] == pytest.approx(along.max() / 2, rel=0.05)

    def test_two_photons_square_the_excitation(self):
        options = {"microscope": "two-photon", "excitation_wavelength": 0.9, "shape": (41, 41)}
        squared = microscope_psf(Optics(1.0, 1.33), (0.02, 0.02), **options).weights
        single = microscope_psf(Optics(1.0, 1.33, (0.9,)), (0.02, 0.02), shape=(41, 41)).weights
        expected = np.square(single) / np.square(single).sum()
        np.testing.assert_allclose(squared, expected, atol=0.01 * expected.max())

    def test_the_sides_are_odd_and_never_more_than_asked(self):
        assert microscope_psf(OIL, VOXEL, shape=(20, 31, 16)).shape == (19, 31, 15)
        free = microscope_psf(OIL, VOXEL)
        assert all(side % 2 for side in free.shape)
        within = microscope_psf(OIL, VOXEL, within=(8, 500, 500))
        assert within.shape == (7, *free.shape[1:])
        confocal = {"microscope": "confocal", "excitation_wavelength": 0.488}
        small = microscope_psf(OIL, VOXEL, **confocal).shape
        assert max(small) < min(free.shape)

    def test_a_plane_is_the_focal_plane_in_any_unit(self):
        kernel = microscope_psf(OIL, (65, 65), "nm", shape=(31, 31))
        assert (kernel.pixel_size, kernel.unit) == ((65, 65), "nm")
        expected = voxel_psf(Microscope(Pupil(1.4, WAVELENGTH)), (31, 31), (0.065, 0.065))
        np.testing.assert_allclose(kernel, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("optics", "options", "sentence"),
    [
        (Optics(None, 1.515), {}, "Expected a numerical aperture .*, got none"),
        (Optics(1.4, 1.515), {}, "Expected an emission wavelength of channel 0 .*, got none"),
        (OIL, {"channel": 1}, "emission wavelength of channel 1"),
        (Optics(1.4, None, (0.5,)), {}, "Expected the refractive index of the immersion"),
        (OIL, {"microscope": "confocal"}, "excitation wavelength .* confocal microscope, got none"),
        (
            OIL,
            {"microscope": "confocal", "excitation_wavelength": 488.0},
            "in µm, such as 0.488, got 488",
        ),
        (OIL, {"microscope": "light-sheet"}, "thickness of the light sheet"),
        (OIL, {"microscope": "STED"}, "'widefield', 'confocal'.*got 'STED'"),
        (OIL, {"depth": -1.0}, "a depth below the cover glass of 0 or more, got -1"),
        (OIL, {"shape": (5, 5)}, r"a side of the PSF for each of 3 axes, got \(5, 5\)"),
        (OIL, {"pixel_size": (0.1,)}, "Expected a pixel size along planes, rows and columns"),
        (OIL, {"unit": "pixel"}, "Expected a pixel size along planes, rows and columns"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(optics, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        microscope_psf(optics, **{"pixel_size": VOXEL, **options})
