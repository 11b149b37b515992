"""The optics of an OME-Zarr image, from all places that programs use, as OME-Zarr has none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import tifffile
import zarr

from napari_blind_deconv.io.optics_metadata import elements, optics_of_ome, optics_of_omero
from napari_blind_deconv.io.provenance import ZARR_KEY
from napari_blind_deconv.optics import Optics

__all__ = ["optics_of_zarr"]

# bioformats2raw keeps the OME-XML of the imported file in the folder of all images, beside which
# the images of a plate lie three folders deeper.
_OME_XML = Path("OME") / "METADATA.ome.xml"
_MAX_DEPTH = 4
_MAX_BYTES = 2**26  # of a larger file, reading takes longer than the optics are worth


def optics_of_zarr(path: Path, group: zarr.Group, ome: Mapping[str, Any]) -> Optics:
    """Return the optics of an image.

    Parameters
    ----------
    path : Path
        Folder of the image.
    group : Group
        The open folder. The provenance of a result comes first.
    ome : mapping
        Its OME metadata. The OME-XML of bioformats2raw comes before the channels of OMERO.
    """
    channels = (ome.get("omero") or {}).get("channels") or []
    own = group.attrs.asdict().get(ZARR_KEY)
    recorded = Optics.of_record(own.get("optics") if isinstance(own, Mapping) else None)
    return optics_of_omero(channels).corrected(_of_ome_xml(path)).corrected(recorded)


def _of_ome_xml(path: Path) -> Optics:
    """Return the optics in the OME-XML that belongs to the folder of an image."""
    image = path.absolute()
    for folder in [image, *image.parents][:_MAX_DEPTH]:
        file = folder / _OME_XML
        if not file.is_file():
            continue
        try:
            if file.stat().st_size > _MAX_BYTES:
                return Optics()
            ome = tifffile.xml2dict(file.read_text(encoding="utf-8"))["OME"]
            images = elements(ome, "Image")
            return optics_of_ome(ome, images[_number(folder, image)])
        except (OSError, ParseError, ValueError, LookupError, TypeError):
            return Optics()  # without the optics, the image can still be deconvolved
    return Optics()


def _number(folder: Path, image: Path) -> int:
    """Return which image of the OME-XML the folder of an image is.

    Raises
    ------
    ValueError
        If it is none of the images in the list of bioformats2raw, or its name is no number.
    """
    name = image.relative_to(folder).as_posix()
    attributes: dict[str, Any] = {}
    with suppress(FileNotFoundError, ValueError):  # there is no such group
        attributes = zarr.open_group(folder / "OME", mode="r").attrs.asdict()
    listed = attributes.get("ome", attributes).get("series")
    number = listed.index(name) if listed else int(name)
    if number < 0:
        raise ValueError(f"Expected the number of an image, got {name!r}.")
    return number
