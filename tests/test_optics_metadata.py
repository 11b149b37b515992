"""Optics and pixel size: read from files, corrected by the user, and written to results."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile
import zarr
from tests.command import as_options, blind_deconv
from tests.test_metadata import MICROMETRES, write_zarr

from napari_blind_deconv import Image, Optics, Settings
from napari_blind_deconv.io.images import write_plane
from napari_blind_deconv.io.optics_metadata import optics_of_properties, optics_of_text
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.jobs import Job, run_job, sidecar_of
from napari_blind_deconv.optics import MicroscopeKind

QUICK = Settings(solver="wiener", kernel_start=1.5)
PIXELS = np.random.default_rng(0).integers(0, 4000, (2, 24, 28), dtype=np.uint16)
KNOWN = Optics(1.4, 1.515, (0.525, 0.607))
CHANNEL_AXES = [{"name": "c", "type": "channel"}, *MICROMETRES]

OBJECTIVES = (
    '<Instrument ID="Instrument:0">'
    '<Objective ID="Objective:0:0" LensNA="0.75" Immersion="Air"/>'
    '<Objective ID="Objective:0:1" LensNA="1.4" Immersion="Oil"/>'
    "</Instrument>"
)
SETTINGS = '<ObjectiveSettings ID="Objective:0:1"/>'


def optics_in(path: Path, **options: Any) -> Optics:
    with open_image(path, **options) as opened:
        return opened.image.optics


def ome_xml(instrument: str, settings: str, channels: str) -> str:
    """OME-XML of two channels, the way Bio-Formats writes it."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'{instrument}<Image ID="Image:0">{settings}<Pixels ID="Pixels:0" DimensionOrder="XYZTC" '
        f'Type="uint16" SizeX="28" SizeY="24" SizeZ="1" SizeT="1" SizeC="2">{channels}'
        '<TiffData IFD="0" PlaneCount="2"/></Pixels></Image></OME>'
    )


def channels(*attributes: str) -> str:
    return "".join(
        f'<Channel ID="Channel:0:{n}" SamplesPerPixel="1" {text}/>'
        for n, text in enumerate(attributes)
    )


WAVES = channels('EmissionWavelength="525"', 'EmissionWavelength="607.0"')


STATED = Optics(1.2, microscope=MicroscopeKind.CONFOCAL)


def write_ome(
    path: Path, instrument: str = OBJECTIVES, settings: str = SETTINGS, waves: str = WAVES
) -> Path:
    xml = ome_xml(instrument, settings, waves)
    tifffile.imwrite(path, PIXELS, description=xml.encode(), metadata=None)
    return path


def write_imagej(path: Path, info: str) -> Path:
    tifffile.imwrite(path, PIXELS, imagej=True, metadata={"axes": "CYX", "Info": info})
    return path


class TestOptics:
    @pytest.mark.parametrize("aperture", [0, -1.4, float("nan"), float("inf"), 140, "", None, True])
    def test_impossible_apertures_are_not_believed(self, aperture):
        assert Optics.stated(aperture, 1.515).numerical_aperture is None

    @pytest.mark.parametrize("index", [0, 0.9, -1.5, float("nan"), 15.15, "oil"])
    def test_impossible_indices_are_not_believed(self, index):
        assert Optics.stated(1.4, index) == Optics(1.4)

    @pytest.mark.parametrize("wavelength", [0, 525, -0.5, float("nan"), 0.1, 2.1, None])
    def test_impossible_wavelengths_are_not_believed(self, wavelength):
        assert Optics.stated(None, None, [wavelength, 0.6]).emission_wavelengths == (None, 0.6)
        assert Optics.stated(None, None, [wavelength]) == Optics()

    def test_an_aperture_above_the_index_makes_both_doubtful(self):
        assert Optics.stated(1.4, 1.0, [0.5]) == Optics(emission_wavelengths=(0.5,))

    def test_a_record_is_read_back(self):
        for optics in (Optics(), KNOWN, Optics(None, 1.33, (None, 0.6)), STATED):
            assert Optics.of_record(json.loads(json.dumps(optics.as_record()))) == optics
        assert Optics.of_record("nonsense") == Optics()
        assert Optics.of_record({"emission_wavelengths": 3, "numerical_aperture": []}) == Optics()

    def test_a_given_value_is_believed_before_one_that_contradicts_it(self):
        assert Optics(0.75, 1.0).corrected(Optics(1.4)) == Optics(1.4)
        assert Optics(1.4, 1.515).corrected(Optics(None, 1.33)) == Optics(None, 1.33)
        assert KNOWN.corrected(Optics(0.9)) == replace(KNOWN, numerical_aperture=0.9)
        assert KNOWN.corrected(Optics()) == KNOWN

    def test_an_image_has_one_wavelength_per_channel(self):
        image = Image(PIXELS, "CYX", optics=KNOWN)
        with pytest.raises(ValueError, match="one emission wavelength for each channel"):
            Image(PIXELS[0], "YX", optics=KNOWN)
        assert image.read((1,)).optics == Optics(1.4, 1.515, (0.607,))
        assert image.read((1,)).part(np.s_[2:5, 3:9]).optics == Optics(1.4, 1.515, (0.607,))
        stack = Image(np.zeros((3, 2, 4, 5)), "TCYX", optics=KNOWN)
        assert stack.read((2, 0)).optics == Optics(1.4, 1.515, (0.525,))
        assert stack.read((2,)).optics == KNOWN


class TestOme:
    def test_the_objective_of_the_image_and_its_channels_are_read(self, tmp_path):
        path = write_ome(tmp_path / "in.ome.tif")
        assert optics_in(path) == KNOWN
        with open_image(path) as opened:
            assert "NA 1.4, refractive index 1.515, emission 525, 607 nm" in opened.described

    @pytest.mark.parametrize(
        ("select", "wavelengths"),
        [
            ("1,:,:", (0.607,)),
            ("-1,:,:", (0.607,)),
            ("0:1,:,:", (0.525,)),
            ("0:2,2:20,3:9", (0.525, 0.607)),
        ],
    )
    def test_a_selected_channel_keeps_its_wavelength(self, tmp_path, select, wavelengths):
        path = write_ome(tmp_path / "in.ome.tif")
        assert optics_in(path, select=select).emission_wavelengths == wavelengths

    @pytest.mark.parametrize(
        ("instrument", "settings", "expected"),
        [
            (OBJECTIVES, "", Optics()),  # one of two
            (OBJECTIVES, '<ObjectiveSettings ID="Objective:7"/>', Optics()),
            (OBJECTIVES, '<ObjectiveSettings ID="Objective:0:0"/>', Optics(0.75, 1.0)),
            (OBJECTIVES, SETTINGS.replace("/", ' RefractiveIndex="1.52"/'), Optics(1.4, 1.52)),
            (OBJECTIVES, SETTINGS.replace("/", ' RefractiveIndex="0"/'), Optics(1.4, 1.515)),
            ("<Instrument><Objective LensNA='1.2'/></Instrument>", "", Optics(1.2)),
            ("<Instrument><Objective LensNA='0'/></Instrument>", "", Optics()),
            ("<Instrument><Objective LensNA='NaN' Immersion='Water'/></Instrument>", "",
             Optics(None, 1.33)),
            ("<Instrument><Objective LensNA='1.4' Immersion='Air'/></Instrument>", "", Optics()),
            ("<Instrument><Objective Immersion='Multi'/></Instrument>", "", Optics()),
            ("", "", Optics()),
        ],
    )  # fmt: skip
    def test_the_objective_is_found_or_unknown(self, tmp_path, instrument, settings, expected):
        path = write_ome(tmp_path / "in.ome.tif", instrument, settings, channels("", ""))
        assert optics_in(path) == expected

    def test_each_image_of_a_file_has_its_own_optics(self, tmp_path):
        path = tmp_path / "in.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as tiff:
            for wave in (525, 607):
                metadata = {"axes": "YX", "Channel": {"EmissionWavelength": [wave]}}
                tiff.write(PIXELS[0], metadata=metadata)
        first, *images = str(tifffile.tiffcomment(path)).split("<Pixels ")
        settings = (f'<ObjectiveSettings ID="Objective:0:{n}"/><Pixels ' for n in range(2))
        parts = (f"{start}{rest}" for start, rest in zip(settings, images, strict=True))
        xml = first.replace("<Image ", f"{OBJECTIVES}<Image ", 1) + "".join(parts)
        tifffile.tiffcomment(path, xml.encode())
        assert optics_in(path, series="0") == Optics(0.75, 1.0, (0.525,))
        assert optics_in(path, series="1") == Optics(1.4, 1.515, (0.607,))

    @pytest.mark.parametrize(
        ("attributes", "expected"),
        [
            ('EmissionWavelength="525" EmissionWavelengthUnit="nm"', 0.525),
            ('EmissionWavelength="0.525" EmissionWavelengthUnit="µm"', 0.525),
            ('EmissionWavelength="5250" EmissionWavelengthUnit="Å"', 0.525),
            ('EmissionWavelength="525" EmissionWavelengthUnit="µm"', None),
            ('EmissionWavelength="525" EmissionWavelengthUnit="pixel"', None),
            ('EmissionWavelength="0"', None),
            ('ExcitationWavelength="488"', None),
        ],
    )
    def test_wavelengths_have_a_unit(self, tmp_path, attributes, expected):
        waves = channels(attributes, 'EmissionWavelength="607"')
        path = write_ome(tmp_path / "in.ome.tif", waves=waves)
        found = optics_in(path).emission_wavelengths
        assert found == (None if expected is None else pytest.approx(expected), 0.607)

    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        [
            ("WideField", "WideField", MicroscopeKind.WIDEFIELD),
            ("LaserScanningConfocalMicroscopy", "SpinningDiskConfocal", MicroscopeKind.CONFOCAL),
            ("SPIM", None, MicroscopeKind.LIGHT_SHEET),
            ("MultiPhotonMicroscopy", None, MicroscopeKind.TWO_PHOTON),
            ("WideField", "SPIM", None),
            ("WideField", "TIRF", None),
            ("TIRF", None, None),
            ("Other", None, None),
        ],
    )
    def test_the_acquisition_mode_is_the_kind_of_microscope(
        self, tmp_path, first, second, expected
    ):
        modes = (f'AcquisitionMode="{mode}"' if mode else "" for mode in (first, second))
        assert optics_in(write_ome(tmp_path / "in.ome.tif", waves=channels(*modes))) == replace(
            Optics(1.4, 1.515), microscope=expected
        )


class TestProperties:
    def test_the_info_of_an_import_by_bio_formats_is_read(self, tmp_path):
        info = (
            " Information|Image|Channel|EmissionWavelength #1 = 525.0\n"
            "Information|Image|Channel|EmissionWavelength #2 = 607.0\n"
            "Information|Image|Channel|ExcitationWavelength #1 = 488.0\n"
            "Information|Image|ObjectiveSettings|RefractiveIndex #1 = 1.515\n"
            "Information|Instrument|Objective|LensNA #1 = 1.4\n"
            "Information|Instrument|Objective|Immersion #1 = Oil\n"
            "Condenser|NumericalAperture = 0.55\n"
        )
        assert optics_in(write_imagej(tmp_path / "in.tif", info)) == KNOWN

    @pytest.mark.parametrize(
        ("info", "expected"),
        [
            ("NumericalAperture = 1.4\nImmersion = OIL", Optics(1.4, 1.515)),
            ("dObjectiveNA = 1.4\nRefractive Index = 1.515", Optics(1.4, 1.515)),
            ("Numerical Aperture: 0.8", Optics(0.8)),
            ("LensNA #1 = 0.75\nLensNA #2 = 1.4", Optics()),  # which of them is not stated
            ("LensNA #1 = 1.4\nObjective NA = 1.40", Optics(1.4)),
            ("LensNA = unknown\nSample RefractiveIndex = 1.38", Optics()),
            (
                "Channel 0 EmissionWavelength = 525 nm\nChannel 1 EmissionWavelength = 0.607 µm",
                Optics(None, None, (0.525, 0.607)),
            ),
            ("EmissionWavelength #1 = 525", Optics()),  # of one of two channels
            ("EmissionWavelength #1 = 525\nEmissionWavelength #3 = 607", Optics()),
            ("Channel 1 Wavelength = 525\nChannel 2 Wavelength = 607", Optics()),
            ("no properties = here\n===\n:", Optics()),
            ("", Optics()),
        ],
    )
    def test_only_what_is_unambiguous_is_believed(self, tmp_path, info, expected):
        assert optics_in(write_imagej(tmp_path / "in.tif", info)) == expected

    def test_lists_of_wavelengths_that_disagree_are_unknown(self):
        one = [("A|EmissionWavelength #1", 525), ("A|EmissionWavelength #2", 607)]
        other = [("B|EmissionWavelength #1", 700), ("B|EmissionWavelength #2", 607)]
        assert optics_of_properties(one, 2) == Optics(None, None, (0.525, 0.607))
        assert optics_of_properties([*one, *other], 2) == Optics()
        assert optics_of_properties([("EmissionWavelength", 525)], 1).emission_wavelengths

    @pytest.mark.parametrize("text", ["{", "{" * 100_000, '{"optics": 3}', None, b"NA = 1.4"])
    def test_any_text_is_harmless(self, text):
        assert optics_of_text(text, 1) == Optics()

    def test_micro_manager(self, tmp_path, monkeypatch):
        summary = {"PixelSize_um": 0.1, "ChNames": ["A", "B"], "NumericalAperture": 1.4}
        tifffile.imwrite(tmp_path / "in.tif", PIXELS[0])
        monkeypatch.setattr(
            tifffile.TiffFile, "micromanager_metadata", {"Summary": summary, "IndexMap": {}}
        )
        assert optics_in(tmp_path / "in.tif") == Optics(1.4)


class TestZarr:
    def test_omero_channels(self, tmp_path):
        path = tmp_path / "in.ome.zarr"
        write_zarr(path, PIXELS, CHANNEL_AXES)
        group = zarr.open_group(path, mode="r+")
        group.attrs["omero"] = {"channels": [{"emissionWave": 525}, {"label": "B"}]}
        assert optics_in(path) == Optics(None, None, (0.525, None))

    @pytest.mark.parametrize("listed", [True, False])
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_the_ome_xml_of_bioformats2raw(self, tmp_path, listed, version):
        root = tmp_path / "plate.zarr"
        series = "A/1/0" if listed else "0"
        write_zarr(root / series, PIXELS, CHANNEL_AXES, version=version)
        (root / "OME").mkdir(exist_ok=True)
        if listed:
            group = zarr.open_group(root / "OME", mode="w", zarr_format=2)
            group.attrs["series"] = [series]
        xml = root / "OME" / "METADATA.ome.xml"
        xml.write_text(ome_xml(OBJECTIVES, SETTINGS, WAVES), encoding="utf-8")
        assert optics_in(root / series) == KNOWN
        for broken in ("<OME", "<OME/>", ""):
            xml.write_text(broken)
            assert optics_in(root / series) == Optics()


class TestResults:
    @pytest.mark.parametrize("name", ["o.ome.tif", "o.tif", "o.ome.zarr"])
    @pytest.mark.parametrize("select", [None, "1,:,:"])
    def test_optics_reach_the_result_and_its_sidecar(self, tmp_path, name, select):
        waves = WAVES.replace("EmissionWavelength=", 'AcquisitionMode="SPIM" EmissionWavelength=')
        source = write_ome(tmp_path / "in.ome.tif", waves=waves)
        job = Job(input=source, output=tmp_path / name, settings=QUICK, select=select)
        run_job(job).result()
        expected = replace(KNOWN, microscope=MicroscopeKind.LIGHT_SHEET)
        if select is not None:
            expected = replace(expected, emission_wavelengths=(0.607,))
        assert optics_in(job.output) == expected
        assert json.loads(sidecar_of(job.output).read_text())["optics"] == expected.as_record()

    @pytest.mark.parametrize(
        "optics", [KNOWN, Optics(1.4), Optics(None, 1.33, (None, 0.607)), STATED]
    )
    def test_other_software_reads_the_optics_of_an_ome_tiff(self, tmp_path, optics):
        image = Image(PIXELS, "CYX", {"Y": 0.1, "X": 0.1}, "µm", ("a", 'b <Image "'), optics=optics)
        write_plane(tmp_path / "o.ome.tif", image, {"note": "<Pixels <Image µ"})
        ome = ome_types.from_tiff(tmp_path / "o.ome.tif", validate=True)
        [objective], [stored] = ome.instruments[0].objectives, ome.images
        assert stored.objective_settings.id == objective.id
        assert stored.instrument_ref.id == ome.instruments[0].id
        assert objective.lens_na == optics.numerical_aperture
        assert stored.objective_settings.refractive_index == optics.refractive_index
        waves = [channel.emission_wavelength for channel in stored.pixels.channels]
        assert waves == [1000 * w if w else None for w in optics.emission_wavelengths or (0, 0)]
        assert optics_in(tmp_path / "o.ome.tif") == optics
        assert [channel.name for channel in stored.pixels.channels] == ["a", 'b <Image "']
        assert json.loads(stored.description) == {"note": "<Pixels <Image µ"}
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "o.ome.tif"), PIXELS)

    def test_a_result_without_optics_states_none(self, tmp_path):
        write_plane(tmp_path / "o.ome.tif", Image(PIXELS, "CYX"), {})
        assert "Instrument" not in tifffile.tiffcomment(tmp_path / "o.ome.tif")
        assert optics_in(tmp_path / "o.ome.tif") == Optics()


class TestCorrections:
    @pytest.fixture
    def image(self, tmp_path) -> Path:
        return write_ome(tmp_path / "in.ome.tif")

    def run(self, image: Path, *options: str, command: str = "run") -> Any:
        files = [image, image.with_name("o.ome.tif")] if command == "run" else [
            image, "--out", image.parent, "--suffix", "_o.ome.tif"
        ]  # fmt: skip
        return blind_deconv(command, *files, *as_options(QUICK), *options)

    @pytest.mark.parametrize("command", ["run", "batch"])
    def test_given_values_take_the_place_of_those_in_the_file(self, image, command):
        options = ["--na", "1.3", "--immersion", "glycerol", "--wavelength", "460,700.5"]
        done = self.run(image, *options, "--pixel-size", "0.3,0.065,0.07", command=command)
        assert done.returncode == 0, done.stderr
        output = image.with_name("o.ome.tif" if command == "run" else "in_o.ome.tif")
        given = Optics(1.3, 1.47, (0.46, 0.7005))
        with open_image(output) as opened:
            assert opened.image.optics == given
            assert dict(opened.image.spacing) == {"Y": 0.065, "X": 0.07}
            assert opened.image.unit == "µm"
        sidecar = json.loads(sidecar_of(output).read_text())
        assert sidecar["optics"] == sidecar["job"]["optics"] == given.as_record()
        assert sidecar["pixel_size"] == {"Z": 0.3, "Y": 0.065, "X": 0.07, "unit": "µm"}
        if command == "run":
            shown = "pixel size 0.3 × 0.065 × 0.07 µm, NA 1.3, refractive index 1.47, emission 460"
            assert shown in done.stderr
            again = blind_deconv("run", "--from-sidecar", sidecar_of(output), "--overwrite")
            assert again.returncode == 0, again.stderr
            assert optics_in(output) == given
            other = ("--from-sidecar", sidecar_of(output), "--na", "1.2", "--overwrite")
            assert blind_deconv("run", *other).returncode == 0
            assert optics_in(output) == replace(given, numerical_aperture=1.2)
            self.run(image, *options, "--pixel-size", "0.3,0.065,0.07", "--overwrite")
            assert (
                "is complete already"
                in self.run(image, *options, "--pixel-size", "0.3,0.065,0.07", "--resume").stderr
            )

    def test_what_is_unknown_is_told(self, tmp_path):
        tifffile.imwrite(tmp_path / "in.tif", PIXELS[0])
        assert "pixel size unknown, optics unknown" in self.run(tmp_path / "in.tif").stderr

    def test_a_selected_channel_takes_one_wavelength(self, image):
        done = self.run(image, "--select", "1,:,:", "--wavelength", "610")
        assert done.returncode == 0, done.stderr
        assert optics_in(image.with_name("o.ome.tif")).emission_wavelengths == (0.61,)

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (["--wavelength", "525"], "for each channel of the image, 2 in all, got 1."),
            (["--wavelength", "0.525,0.607"], "from 200 to 2000 nm, got 0.525 nm."),
            (["--wavelength", "green"], "wavelengths in nm, such as 460, 520, or ? for one"),
            (["--na", "0"], "a numerical aperture above 0"),
            (["--na", "nan"], "a numerical aperture above 0"),
            (["--na", "1.4", "--immersion", "water"], "below the refractive index 1.33"),
            (["--na", "1.515", "--refractive-index", "1.515"], "below the refractive index 1.515"),
            (["--immersion", "beer"], "or one of air, dry, water"),
            (["--refractive-index", "0.5"], "a refractive index of the immersion from 1"),
            (["--pixel-size", "-0.1"], "pixel size in µm as positive numbers"),
            (["--pixel-size", "0.1,nan"], "pixel size in µm as positive numbers"),
            (["--pixel-size", "1,1,1,1"], "pixel size in µm as positive numbers"),
            (["--pixel-size", "65nm"], "pixel size in µm, such as 0.065"),
        ],
    )
    def test_impossible_values_are_one_sentence(self, image, options, sentence):
        done = self.run(image, *options)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert done.stderr.count("Expected") == 1
        assert not image.with_name("o.ome.tif").exists()

    def test_the_position_of_a_part_follows_the_given_pixel_size(self, tmp_path):
        metadata = {"axes": "YX", "PhysicalSizeX": 100, "PhysicalSizeXUnit": "nm"}
        metadata |= {"Plane": {"PositionX": [2000.0], "PositionXUnit": ["nm"]}}
        tifffile.imwrite(tmp_path / "in.ome.tif", PIXELS[0], ome=True, metadata=metadata)
        with open_image(tmp_path / "in.ome.tif", select=":,10:20", pixel_size=(0.2,)) as opened:
            assert dict(opened.image.spacing) == {"Y": 0.2, "X": 0.2}
            assert opened.image.origin["X"] == pytest.approx(2 + 10 * 0.2)

    def test_a_resume_with_other_optics_is_refused(self, image):
        assert self.run(image, "--na", "1.3").returncode == 0
        refused = self.run(image, "--na", "1.2", "--resume")
        assert refused.returncode == 2
        assert "already exists" in refused.stderr

    def test_a_sidecar_without_these_fields_is_still_read(self, image):
        record = Job(input=image, output=image, settings=QUICK).as_record()
        del record["optics"], record["pixel_size"]
        job = Job.from_record(record)
        assert (job.optics, job.pixel_size) == (Optics(), None)
        with pytest.raises(ValueError, match="numerical aperture"):
            Job.from_record({**record, "optics": {"numerical_aperture": -1}})
