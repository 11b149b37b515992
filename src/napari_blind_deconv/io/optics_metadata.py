"""The optics that metadata state: OME-XML, OMERO's channels, and lists of properties."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import tifffile

from napari_blind_deconv.optics import MicroscopeKind, Optics
from napari_blind_deconv.units import convert

__all__ = [
    "REFRACTIVE_INDICES",
    "elements",
    "ome_mode",
    "optics_of_ome",
    "optics_of_omero",
    "optics_of_properties",
    "optics_of_text",
    "properties_in",
    "refractive_index_of",
    "xml_as_dict",
]

REFRACTIVE_INDICES = {
    "air": 1.0,
    "dry": 1.0,
    "water": 1.33,
    "waterdipping": 1.33,
    "silicone": 1.406,
    "glycerol": 1.47,
    "glycerin": 1.47,
    "oil": 1.515,
}
"""Refractive indices of the immersion media that OME and manufacturers name."""

# Other modes, such as TIRF or structured illumination, have a PSF of another kind.
_ACQUISITION_MODES = {
    "WideField": MicroscopeKind.WIDEFIELD,
    "LaserScanningConfocalMicroscopy": MicroscopeKind.CONFOCAL,
    "SpinningDiskConfocal": MicroscopeKind.CONFOCAL,
    "SlitScanConfocal": MicroscopeKind.CONFOCAL,
    "MultiPhotonMicroscopy": MicroscopeKind.TWO_PHOTON,
    "SPIM": MicroscopeKind.LIGHT_SHEET,
}


@lru_cache(maxsize=8)
def xml_as_dict(text: str) -> Mapping[str, Any]:
    """Return XML as nested dictionaries, which nobody may change: the last texts are remembered."""
    return dict(tifffile.xml2dict(text))


def elements(value: Any, key: str | None = None) -> list[Any]:
    """Return elements of XML as a list of dictionaries; `xml2dict` makes lists of two or more only.

    With a key, return the elements of that name inside the elements.
    """
    found = value if isinstance(value, list) else [value]
    found = [element for element in found if isinstance(element, dict)]
    if key is None:
        return found
    return [child for element in found for child in elements(element.get(key))]


# OME


def optics_of_ome(ome: Mapping[str, Any], image: Mapping[str, Any]) -> Optics:
    """Return the optics of an image of OME-XML.

    Parameters
    ----------
    ome : mapping
        The element OME, as `tifffile.xml2dict` returns it.
    image : mapping
        One of its elements Image. Its ObjectiveSettings name one of the objectives. Without them,
        the objective is known only if there is just one.
    """
    settings: Mapping[str, Any] = next(iter(elements(image.get("ObjectiveSettings"))), {})
    objective = _objective(ome, settings)
    index = settings.get("RefractiveIndex")
    channels = elements(elements(image.get("Pixels"))[:1], "Channel")
    wavelengths = [
        convert(
            channel.get("EmissionWavelength"),
            str(channel.get("EmissionWavelengthUnit", "nm")),  # the default of the schema
            "µm",
        )
        for channel in channels
    ]
    if Optics.stated(None, index).refractive_index is None:
        index = refractive_index_of(objective.get("Immersion"))
    return Optics.stated(objective.get("LensNA"), index, wavelengths, _kind_of_microscope(channels))


def ome_mode(kind: MicroscopeKind) -> str:
    """Return the acquisition mode that states a kind of microscope in OME-XML."""
    return next(mode for mode, named in _ACQUISITION_MODES.items() if named is kind)


def _kind_of_microscope(channels: Iterable[Mapping[str, Any]]) -> MicroscopeKind | None:
    """Return the kind of microscope on which all channels agree that state their mode."""
    modes = {
        str(channel["AcquisitionMode"]) for channel in channels if "AcquisitionMode" in channel
    }
    kinds = {_ACQUISITION_MODES.get(mode) for mode in modes}
    return kinds.pop() if len(kinds) == 1 else None


def _objective(ome: Mapping[str, Any], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    objectives = elements(elements(ome.get("Instrument")), "Objective")
    if "ID" in settings:
        objectives = [o for o in objectives if str(o.get("ID")) == str(settings["ID"])]
    return objectives[0] if len(objectives) == 1 else {}


def optics_of_omero(channels: Iterable[Any]) -> Optics:
    """Return the wavelengths in the channels of OMERO's metadata, which are in nm."""
    stated = [channel if isinstance(channel, Mapping) else {} for channel in channels]
    return Optics.stated(
        emission_wavelengths=[convert(c.get("emissionWave"), "nm", "µm") for c in stated]
    )


# Properties: names and values, such as those that Bio-Formats keeps of the format it imported

_NOT_OF_THE_OBJECTIVE = re.compile("condenser|illumination|excitation")
_NOT_OF_THE_IMMERSION = re.compile("sample|specimen|embedding|mounting|medium$")
# The number of a channel, as in "EmissionWavelength #1" or "Channel 0 EmissionWavelength".
_NUMBER = re.compile(r"[#:]\s*(\d+)\s*$|channel[ _:|#]*(\d+)|\bch(\d+)\b", re.IGNORECASE)
_WAVELENGTH = re.compile(r"([-+.\deE]+)\s*(nm|µm|μm|um)?", re.IGNORECASE)


def optics_of_text(text: Any, channels: int) -> Optics:
    """Return the optics in a text: the provenance of a result, or lines such as ``name = value``.

    Parameters
    ----------
    text : object
        Nothing is known from anything but text.
    channels : int
        Number of channels of the image.
    """
    if not isinstance(text, str):
        return Optics()
    if text.lstrip().startswith("{"):
        try:
            return Optics.of_record(json.loads(text).get("optics"))
        except (ValueError, RecursionError):
            return Optics()
    pairs = (line.rpartition("=" if "=" in line else ":") for line in text.splitlines())
    return optics_of_properties([(name, value) for name, _, value in pairs], channels)


def optics_of_properties(properties: Sequence[tuple[str, Any]], channels: int) -> Optics:
    """Return the optics in a list of names and values, where they are unambiguous.

    Manufacturers use many names, and a file may list several objectives. A value is known only if
    all properties of its kind agree.
    """
    apertures, indices, media = [], [], []
    for name, value in properties:
        kind = _kind(name)
        if kind == "na" or kind.endswith(("numericalaperture", "lensna", "objectivena")):
            if not _NOT_OF_THE_OBJECTIVE.search(kind):
                apertures.append(Optics.stated(value).numerical_aperture)
        elif kind.endswith(("refractiveindex", "refractionindex")):
            if not _NOT_OF_THE_IMMERSION.search(kind):
                indices.append(Optics.stated(None, value).refractive_index)
        elif kind.endswith("immersion"):
            media.append(refractive_index_of(value))
    index = _only(indices) or _only(media)
    return Optics.stated(_only(apertures), index, _wavelengths(properties, channels))


def properties_in(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Return the names and values in nested dictionaries, but not in lists.

    Micro-Manager writes some values as ``{"PropVal": value}``.
    """
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from properties_in(value, name if key == "PropVal" else str(key))
    elif not isinstance(tree, list | tuple):
        yield name, tree


def _kind(name: str) -> str:
    """Return the letters of a name in lower case."""
    return re.sub("[^a-z]", "", name.lower())


def _only(values: Iterable[float | None]) -> float | None:
    known = {value for value in values if value is not None}
    return known.pop() if len(known) == 1 else None


def _wavelengths(properties: Sequence[tuple[str, Any]], channels: int) -> Sequence[float | None]:
    """Return the emission wavelengths of all channels; none unless each has just one."""
    groups: defaultdict[str, dict[int, set[float | None]]] = defaultdict(dict)
    for name, value in properties:
        if not _kind(name).endswith(("emissionwavelength", "emissionwavelengthnm")):
            continue
        match = _NUMBER.search(name)
        number = int(next(filter(None, match.groups()))) if match else 0
        prefix = name if match is None else name[: match.start()] + name[match.end() :]
        wavelength = _in_micrometres(value)
        groups[prefix.strip()].setdefault(number, set()).add(wavelength)
    # A list for other channels, such as those of another track, has another length.
    complete = {
        tuple(_only(group[number]) for number in sorted(group))
        for group in groups.values()
        if len(group) == channels and max(group) - min(group) == channels - 1
    }
    return complete.pop() if len(complete) == 1 else ()


def _in_micrometres(value: Any) -> float | None:
    """Return a wavelength with or without a unit in µm; without, its size tells µm from nm."""
    match = _WAVELENGTH.fullmatch(str(value).strip())
    if match is None:
        return None
    units = [match[2].lower()] if match[2] else ["nm", "µm"]
    lengths = [convert(match[1], unit, "µm") for unit in units]
    return _only(Optics.stated(emission_wavelengths=lengths).emission_wavelengths)


def refractive_index_of(medium: Any) -> float | None:
    """Return the refractive index of an immersion medium by its name; None for other names."""
    return REFRACTIVE_INDICES.get(re.sub("[^a-z]", "", str(medium).lower()))
