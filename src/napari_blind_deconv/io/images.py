"""One image plane from a file, and results to files that are either whole or not there."""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.io.units import in_unit, short_unit
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.results import TRACE_DTYPE

__all__ = [
    "TiffLayout",
    "check_output",
    "find_value",
    "pixel_calibration",
    "read_plane",
    "read_psf",
    "tiff_axes",
    "write_atomically",
    "write_json",
    "write_kernels",
    "write_plane",
    "write_tiff",
    "write_traces",
]

_TIFF_SUFFIXES = {".tif", ".tiff"}
_IMAGEJ_ORDER = "TZCYXS"
_TIFF_LIMIT = 4 * 2**30 - 2**20  # bytes of pixels that a TIFF with 32-bit offsets can have


def read_plane(path: Path) -> Image:
    """Read one plane from a TIFF file.

    Raises
    ------
    ValueError
        In one sentence, if the file is no TIFF or holds anything but one plane.
    OSError
        If it cannot be opened.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            count, shape, axes = len(tiff.series), tiff.series[0].shape, tiff.series[0].axes
            is_plane = count == 1 and _is_plane(shape, axes)
            pixels = tiff.series[0].asarray() if is_plane else None
            size, unit = pixel_calibration(tiff)
    except OSError:
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = first_line(error)
        raise ValueError(
            f"The file {path} cannot be read as TIFF ({reason}); accepted are TIFF files."
        ) from error
    if pixels is None:
        holds = f"{count} images, the first" if count > 1 else "an array"
        raise ValueError(
            f"The file {path} holds {holds} of shape {shape} (axes {axes}); "
            "accepted is one plane, grey or RGB."
        )
    rgb = "S" in axes and shape[axes.index("S")] > 1
    if rgb:
        pixels = np.moveaxis(pixels, axes.index("S"), -1)
    plane = pixels.reshape(pixels.shape[-3:] if rgb else pixels.shape[-2:])
    spacing = dict(zip("YX", size or (), strict=False))
    return Image(plane, "YXS" if rgb else "YX", spacing, unit)


def read_psf(path: Path) -> Kernel:
    """Read a PSF from a TIFF file of one grey plane; raises as :func:`read_plane`."""
    plane = read_plane(path)
    if plane.is_colour:
        raise ValueError(f"The PSF {path} is a colour image; accepted is one grey plane.")
    return Kernel.of(plane.array, pixel_size=plane.pixel_size, unit=plane.unit)


def _is_plane(shape: tuple[int, ...], axes: str) -> bool:
    """Whether all axes but rows and columns have length 1, or 3 or 4 for colour samples."""
    return {"Y", "X"} <= set(axes) and all(
        axis in "YX" or side == 1 or (axis == "S" and side in (3, 4))
        for side, axis in zip(shape, axes, strict=True)
    )


def pixel_calibration(tiff: tifffile.TiffFile) -> tuple[tuple[float, float] | None, str]:
    """Pixel height and width and their unit, from OME-XML, ImageJ's tags or plain TIFF's."""
    if tiff.ome_metadata:
        pixels = find_value(tifffile.xml2dict(tiff.ome_metadata), "Pixels") or {}
        unit = pixels.get("PhysicalSizeXUnit", "µm")
        size = tuple(
            in_unit(
                pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"), unit
            )
            or 0.0
            for axis in "YX"
        )
    else:
        page = tiff.pages.first
        unit = (tiff.imagej_metadata or {}).get("unit") or (
            "cm" if page.resolutionunit == tifffile.RESUNIT.CENTIMETER else "pixel"
        )
        per_unit = page.get_resolution()
        size = tuple(1 / value if value else 0.0 for value in reversed(per_unit))
    if unit in ("pixel", "inch") or not all(0 < side < np.inf for side in size):
        return None, "pixel"
    return (size[0], size[1]), short_unit(str(unit))


def find_value(tree: Any, key: str) -> Any:
    """First value of a key anywhere in nested dictionaries and lists; None if there is none."""
    if isinstance(tree, dict):
        if key in tree:
            return tree[key]
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            if (value := find_value(branch, key)) is not None:
                return value
    return None


def check_output(path: Path, *, overwrite: bool, suffixes: set[str] | None = None) -> None:
    """Refuse an output that cannot or may not be written, before minutes are spent on it."""
    accepted = _TIFF_SUFFIXES if suffixes is None else suffixes
    if path.suffix.lower() not in accepted:
        raise ValueError(
            f"The output {path} ends in {path.suffix!r}; "
            f"accepted are {', '.join(sorted(accepted))}."
        )
    if not path.parent.is_dir():
        raise ValueError(f"The folder {path.parent} of the output does not exist; create it first.")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"The folder {path.parent} of the output cannot be written to.")
    if path.is_dir() and path.suffix.lower() != ".zarr":
        raise ValueError(f"The output {path} is a folder; accepted is the name of a file.")
    if path.exists() and not overwrite:
        raise ValueError(f"The output {path} exists; it is replaced only with --overwrite.")


def write_plane(path: Path, plane: Image, provenance: dict[str, Any]) -> None:
    """Write a plane as float32 TIFF, the provenance in it as JSON; see :func:`write_tiff`."""
    pixels = plane.array.astype(np.float32)
    layout = TiffLayout(plane.axes, pixels.shape, plane.spacing, plane.unit)
    write_atomically(path, lambda part: write_tiff(part, path, pixels, layout, provenance))


def write_kernels(
    path: Path,
    kernels: NDArray[np.float32],
    axes: str,
    image: Image,
    provenance: dict[str, Any],
) -> None:
    """Write kernels of an image as TIFF, one page for each; `axes` are theirs, such as CYX."""
    order = tiff_axes(path, axes)
    pages = kernels.transpose([axes.index(axis) for axis in order])
    layout = TiffLayout(order, pages.shape, image.spacing, image.unit)
    write_atomically(path, lambda part: write_tiff(part, path, pages, layout, provenance))


def tiff_axes(path: Path, axes: str) -> str:
    """These axes in the order in which a TIFF of this name has them; ImageJ wants its own."""
    return axes if _is_ome(path) else "".join(axis for axis in _IMAGEJ_ORDER if axis in axes)


def _is_ome(path: Path) -> bool:
    return path.name.lower().endswith((".ome.tif", ".ome.tiff"))


@dataclass(frozen=True)
class TiffLayout:
    """What a TIFF is to say about its array; as in `Image`."""

    axes: str
    shape: tuple[int, ...]
    spacing: Mapping[str, float]
    unit: str
    channels: tuple[str, ...] = ()


def write_tiff(
    part: Path,
    path: Path,
    pixels: NDArray[np.float32] | Iterator[NDArray[np.float32]],
    layout: TiffLayout,
    provenance: dict[str, Any],
) -> None:
    """Write an array, or its planes one by one, as float32 TIFF to `part`, which becomes `path`.

    The name decides: OME-TIFF for ``.ome.tif``, else what ImageJ reads, plain TIFF for colour.
    """
    text = json.dumps(provenance)
    colour = "S" in layout.axes
    size = 4 * math.prod(layout.shape)
    options: dict[str, Any] = {"photometric": "rgb" if colour else "minisblack"}
    if _is_ome(path):
        options |= {"ome": True, "metadata": _ome(layout, text), "bigtiff": size > _TIFF_LIMIT}
    elif size > _TIFF_LIMIT:
        raise ValueError(
            f"The result has {size / 2**30:.1f} GiB and a TIFF for ImageJ holds 4 at most; "
            "name the output .ome.tif or .ome.zarr."
        )
    elif colour:
        options |= {"description": text, "metadata": None}
    else:
        options |= {"imagej": True, "metadata": _imagej(layout, text)}
    if {"Y", "X"} <= set(layout.spacing):
        options["resolution"] = tuple(1 / layout.spacing[axis] for axis in "XY")
        options["resolutionunit"] = "NONE"
    tifffile.imwrite(part, pixels, shape=layout.shape, dtype=np.float32, **options)


def _ome(layout: TiffLayout, text: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": layout.axes, "Description": text}
    if layout.unit != "pixel":
        for axis in (set("ZYX") & set(layout.spacing)) & set(layout.axes):
            metadata[f"PhysicalSize{axis}"] = layout.spacing[axis]
            metadata[f"PhysicalSize{axis}Unit"] = layout.unit
    if "T" in layout.axes and "T" in layout.spacing:
        metadata |= {"TimeIncrement": layout.spacing["T"], "TimeIncrementUnit": "s"}
    if layout.channels:
        metadata["Channel"] = {"Name": list(layout.channels)}
    return metadata


def _imagej(layout: TiffLayout, text: str) -> dict[str, Any]:
    # ImageJ's description is ASCII.
    unit = layout.unit.replace("µm", "um").encode("ascii", "backslashreplace").decode()
    metadata: dict[str, Any] = {"axes": layout.axes, "unit": unit, "Info": text}
    names = {"Z": "spacing", "T": "finterval"}
    return metadata | {
        name: layout.spacing[axis]
        for axis, name in names.items()
        if axis in layout.axes and axis in layout.spacing
    }


def write_traces(path: Path, axes: str, traces: Mapping[Index, Sequence[Sequence[float]]]) -> None:
    """Write early-stopping traces as CSV, one line an iteration.

    Of a stack, the position of the plane along its axes comes first.
    """

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*axes.lower(), *(TRACE_DTYPE.names or ())])
            for index, trace in sorted(traces.items()):
                writer.writerows([*index, *row] for row in trace)

    write_atomically(path, write)


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON."""

    def write(part: Path) -> None:
        part.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")

    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary neighbour of `path`, and name it `path` once it is whole."""
    try:
        with _temporary_neighbour(path) as part:
            write(part)
            with part.open("rb+") as written:
                os.fsync(written.fileno())  # a name must not outlive what it names
            part.replace(path)
    except OSError as error:
        reason = error.strerror or f"{error}; is the disk full?"
        raise OSError(error.errno, f"The output {path} could not be written ({reason}).") from error


@contextmanager
def _temporary_neighbour(path: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem}.", suffix=f".part{path.suffix}", dir=path.parent
    )
    os.close(handle)
    part = Path(name)
    part.chmod(0o666 & ~_umask())  # mkstemp's files are for the owner alone
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
