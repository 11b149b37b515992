"""Pixel sizes in the tags of Zeiss (LSM) and MetaMorph (STK)."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tests.test_metadata import PLANE, read

SIZES = {"VoxelSizeX": 1e-7, "VoxelSizeY": 2e-7, "VoxelSizeZ": 5e-7, "TimeIntervall": 1.5}


def write_lsm(path: Path, pixels: np.ndarray, names: list[str], **values: float) -> None:
    """Write planes ``(Z, C, Y, X)`` with thumbnails between them, as LSM files have them."""
    depth, channels, rows, columns = pixels.shape
    structure = np.zeros(1, tifffile.TIFF.CZ_LSMINFO).astype(tifffile.TIFF.CZ_LSMINFO)
    values |= {"DimensionX": columns, "DimensionY": rows, "DimensionZ": depth, "DimensionTime": 1}
    values |= {"MagicNumber": 67127628, "StructureSize": structure.itemsize}
    for name, value in (values | {"DimensionChannels": channels}).items():
        structure[name] = value

    def write() -> None:
        tags = [(34412, "B", structure.nbytes, structure.tobytes(), True)]
        with tifffile.TiffWriter(path, byteorder="<") as file:
            for number, plane in enumerate(pixels):
                options: dict[str, Any] = {"metadata": None, "photometric": "minisblack"}
                options["planarconfig"] = "separate"
                file.write(plane, **options, extratags=tags if number == 0 else ())
                file.write(plane[:, :5, :6], **options, subfiletype=1)

    write()
    end = path.stat().st_size
    structure["OffsetChannelColors"] = end
    write()
    stored = b"".join(struct.pack("<I", len(n) + 1) + n.encode() + b"\0" for n in names)
    header = (24 + 4 * len(names) + len(stored), len(names), len(names), 24, 24 + 4 * len(names), 0)
    with path.open("ab") as file:
        file.write(struct.pack("<6I", *header) + bytes(4 * len(names)) + stored)


def write_stk(path: Path, pixels: np.ndarray, step: float, unit: str, is_on: bool = True) -> None:
    """Write planes ``(Z, Y, X)`` with the tags of MetaMorph, which are counted in planes."""
    planes, name = len(pixels), unit.encode() + b"\0"
    of_planes = np.zeros((planes, 6), "<u4")
    of_planes[:] = round(step * 1000), 1000, 2451545, 1000, 2451545, 1000
    values = {
        33628: (4, struct.pack("<4I", 0, 1, 1, 0), 2),  # of no interest, but the mark of an STK
        33629: (5, of_planes.tobytes(), planes),
        33631: (4, _calibration(name, is_on), planes),
    }
    extratags = [
        (code, kind, len(data) // {4: 4, 5: 8}[kind], data, True)
        for code, (kind, data, _) in values.items()
    ]
    options: dict[str, Any] = {"photometric": "minisblack", "byteorder": "<", "metadata": None}
    tifffile.imwrite(path, pixels, **options, extratags=extratags)
    content = bytearray(path.read_bytes())
    for code, (kind, _, count) in values.items():
        written = struct.pack("<HH", code, kind)
        struct.pack_into("<I", content, content.index(written) + 4, count)
    path.write_bytes(content)


def _calibration(unit: bytes, is_on: bool) -> bytes:
    tags = [
        struct.pack("<HI", 3, is_on),
        struct.pack("<HII", 4, 161, 1000),
        struct.pack("<HII", 5, 162, 1000),
        struct.pack("<HI", 6, len(unit)) + unit,
        struct.pack("<H", 0),
    ]
    data = b"".join(tags)
    return data + bytes(-len(data) % 4)


class TestLsm:
    @pytest.fixture
    def pixels(self) -> np.ndarray:
        channels = np.stack([PLANE, PLANE // 2, PLANE // 3])
        return np.stack([channels, channels + 5])

    def test_sizes_and_names_are_read_beside_thumbnails(self, tmp_path, pixels):
        write_lsm(tmp_path / "f.lsm", pixels, ["Ch1", "Ch2-T2", "ChD"], **SIZES)
        image, read_pixels, notes = read(tmp_path / "f.lsm")
        assert (image.axes, image.unit) == ("CZYX", "µm")
        assert image.spacing == pytest.approx({"X": 0.1, "Y": 0.2, "Z": 0.5, "T": 1.5})
        assert image.channel_names == ("Ch1", "Ch2-T2", "ChD")
        np.testing.assert_array_equal(read_pixels, pixels.transpose(1, 0, 2, 3))
        assert not notes

    def test_unknown_sizes_are_left_out(self, tmp_path, pixels):
        write_lsm(tmp_path / "f.lsm", pixels, [], VoxelSizeX=0, VoxelSizeY=-1, VoxelSizeZ=np.nan)
        image, _, _ = read(tmp_path / "f.lsm")
        assert (image.spacing, image.unit, image.channel_names) == ({}, "pixel", ())


class TestStk:
    STACK = np.stack([PLANE, PLANE + 1, PLANE + 2])

    @pytest.mark.parametrize(("unit", "factor"), [("um", 1), ("nm", 1e-3), ("mm", 1e3)])
    def test_sizes_are_read(self, tmp_path, unit, factor):
        write_stk(tmp_path / "f.stk", self.STACK, 0.3, unit)
        image, pixels, _ = read(tmp_path / "f.stk")
        assert (image.axes, image.unit) == ("ZYX", "µm")
        sizes = {"X": 0.161 * factor, "Y": 0.162 * factor, "Z": 0.3}
        assert image.spacing == pytest.approx(sizes)
        np.testing.assert_array_equal(pixels, self.STACK)

    @pytest.mark.parametrize(("unit", "is_on"), [("um", False), ("pixel", True), ("", True)])
    def test_a_calibration_that_is_off_or_in_pixels_is_left_out(self, tmp_path, unit, is_on):
        write_stk(tmp_path / "f.stk", self.STACK, 0.3, unit, is_on)
        image, _, _ = read(tmp_path / "f.stk")
        assert (image.spacing, image.unit) == ({"Z": 0.3}, "µm")
