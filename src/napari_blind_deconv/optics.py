"""What is known about the optics that made an image: objective, immersion, emission and kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

__all__ = ["MicroscopeKind", "Optics", "format_wavelengths", "is_wavelength", "parse_wavelengths"]

# An objective's aperture is below the refractive index of its immersion, which is below 1.8 for
# every liquid in use. Fluorescence is emitted between the ultraviolet and the near infrared.
_APERTURES = (0.0, 1.8)
_INDICES = (1.0, 1.8)
_WAVELENGTHS = (0.2, 2.0)  # µm
# FWHM of the narrowest PSF in units of wavelength / NA: that of a confocal microscope with a closed
# pinhole, whose PSF is the square of the Airy pattern. Widefield has 0.51.
_NARROWEST = 0.37


class MicroscopeKind(StrEnum):
    """Kind of a microscope, which decides what light it collects from where."""

    WIDEFIELD = "widefield"  # a camera, and light on all of the sample
    CONFOCAL = "confocal"  # a scanned focus, and a pinhole before the detector
    TWO_PHOTON = "two-photon"  # a scanned focus that excites by two photons, without a pinhole
    LIGHT_SHEET = "light-sheet"  # a camera, and light only on a sheet in the focal plane

    @classmethod
    def named(cls, name: str) -> MicroscopeKind:
        """Return a kind by its name; raise `ValueError` for an unknown one."""
        if name not in list(cls):
            names = ", ".join(repr(str(known)) for known in cls)
            raise ValueError(
                f"Expected the kind of the microscope as one of {names}, got {name!r}."
            )
        return cls(name)


@dataclass(frozen=True)
class Optics:
    """The optics of an image, as far as they are known.

    Attributes
    ----------
    numerical_aperture : float or None
        Numerical aperture of the objective, below the refractive index.
    refractive_index : float or None
        Refractive index of the immersion medium.
    emission_wavelengths : tuple of float or None
        Emission wavelength of each channel in µm, None where it is unknown; empty if all of them
        are unknown.
    microscope : MicroscopeKind or None
        Kind of the microscope, which is used where the kernel of a volume is found.

    Raises
    ------
    ValueError
        If a value is impossible. :meth:`stated` leaves out such values instead.
    """

    numerical_aperture: float | None = None
    refractive_index: float | None = None
    emission_wavelengths: tuple[float | None, ...] = ()
    microscope: MicroscopeKind | None = None

    def __post_init__(self) -> None:
        aperture, index = self.numerical_aperture, self.refractive_index
        if aperture is not None and not _is_aperture(aperture):
            raise ValueError(
                f"Expected a numerical aperture above 0 and below {_APERTURES[1]}, such as 1.4, "
                f"got {aperture:g}."
            )
        if index is not None and not _is_index(index):
            raise ValueError(
                f"Expected a refractive index of the immersion from {_INDICES[0]:g} (air) to "
                f"{_INDICES[1]}, such as 1.515 for oil, got {index:g}."
            )
        if not _fit(aperture, index):
            raise ValueError(
                f"Expected a numerical aperture below the refractive index {index:g} of the "
                f"immersion, got {aperture:g}; correct one of the two."
            )
        for wavelength in self.emission_wavelengths:
            if wavelength is not None and not is_wavelength(wavelength):
                low, high = (1000 * limit for limit in _WAVELENGTHS)
                raise ValueError(
                    f"Expected an emission wavelength from {low:g} to {high:g} nm, got "
                    f"{1000 * wavelength:g} nm."
                )

    @property
    def finest_period(self) -> float | None:
        """Finest period in µm that the objective resolves in any channel; None if unknown."""
        return None if self._scale is None else self._scale / 2

    @property
    def narrowest_width(self) -> float | None:
        """FWHM in µm of the narrowest PSF that is possible in any channel; None if unknown."""
        return None if self._scale is None else _NARROWEST * self._scale

    @property
    def _scale(self) -> float | None:
        """Shortest wavelength divided by the numerical aperture, in µm."""
        known = [wavelength for wavelength in self.emission_wavelengths if wavelength is not None]
        if self.numerical_aperture is None or not known:
            return None
        return min(known) / self.numerical_aperture

    @classmethod
    def stated(
        cls,
        numerical_aperture: Any = None,
        refractive_index: Any = None,
        emission_wavelengths: Iterable[Any] = (),
        microscope: Any = None,
    ) -> Self:
        """Return the optics that metadata state, without the values that cannot be true.

        Parameters
        ----------
        numerical_aperture, refractive_index : object
            Numbers, or what stands in their place. If the aperture is not below the index, one of
            them is wrong, and neither is believed.
        emission_wavelengths : iterable
            In µm, one for each channel. They are rounded to 1 pm, because they were converted.
        microscope : object
            Name of the kind of microscope, or what stands in its place.
        """
        aperture, index = _number(numerical_aperture), _number(refractive_index)
        aperture = aperture if aperture is not None and _is_aperture(aperture) else None
        index = index if index is not None and _is_index(index) else None
        if not _fit(aperture, index):
            aperture = index = None
        numbers = map(_number, emission_wavelengths)
        wavelengths = [round(n, 6) if n is not None and is_wavelength(n) else None for n in numbers]
        kind = MicroscopeKind(microscope) if microscope in list(MicroscopeKind) else None
        return cls(aperture, index, _known(wavelengths), kind)

    @classmethod
    def of_record(cls, record: Any) -> Self:
        """Return the optics in a record of :meth:`as_record`; nothing is known of other values."""
        if not isinstance(record, Mapping):
            return cls()
        wavelengths = record.get("emission_wavelengths")
        return cls.stated(
            record.get("numerical_aperture"),
            record.get("refractive_index"),
            wavelengths if isinstance(wavelengths, list | tuple) else (),
            record.get("microscope"),
        )

    def as_record(self) -> dict[str, Any]:
        """Return the optics as a dictionary that can be written as JSON."""
        return {**asdict(self), "emission_wavelengths": list(self.emission_wavelengths)}

    def corrected(self, given: Optics) -> Self:
        """Return the optics with the values that a user gave in place of these.

        A value of these that contradicts a given one is left out.
        """
        aperture = given.numerical_aperture or self.numerical_aperture
        index = given.refractive_index or self.refractive_index
        if not _fit(aperture, index):
            aperture, index = given.numerical_aperture, given.refractive_index
        wavelengths = given.emission_wavelengths or self.emission_wavelengths
        return replace(
            self,
            numerical_aperture=aperture,
            refractive_index=index,
            emission_wavelengths=wavelengths,
            microscope=given.microscope or self.microscope,
        )

    def of_channels(self, item: int | slice, channels: int) -> Self:
        """Return the optics of one channel or some channels of an image with `channels` channels.

        Wavelengths of another number of channels do not belong to this image, and are left out.
        """
        wavelengths = self.emission_wavelengths
        if len(wavelengths) != channels:
            wavelengths = ()
        elif isinstance(item, int):
            wavelengths = (wavelengths[item],)
        else:
            wavelengths = wavelengths[item]
        return replace(self, emission_wavelengths=_known(wavelengths))

    @property
    def described(self) -> str:
        """What is known, in words, with wavelengths in nm; empty if nothing is known."""
        aperture, index = self.numerical_aperture, self.refractive_index
        texts = [] if self.microscope is None else [str(self.microscope)]
        if aperture is not None:
            texts.append(f"NA {aperture:g}")
        if index is not None:
            texts.append(f"refractive index {index:g}")
        if self.emission_wavelengths:
            texts.append(f"emission {format_wavelengths(self.emission_wavelengths)} nm")
        return ", ".join(texts)


def _number(value: Any) -> float | None:
    """Return a value of metadata as a number; None for any other value."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _is_aperture(value: float) -> bool:
    return _APERTURES[0] < value < _APERTURES[1]  # false for NaN


def _is_index(value: float) -> bool:
    return _INDICES[0] <= value <= _INDICES[1]


def is_wavelength(value: float) -> bool:
    """Whether a wavelength in µm is that of light in fluorescence microscopy."""
    return _WAVELENGTHS[0] <= value <= _WAVELENGTHS[1]


def parse_wavelengths(text: str) -> tuple[float | None, ...]:
    """Return emission wavelengths in µm from a text in nm, such as ``"460, 520"``.

    ``?`` stands for a channel whose wavelength is unknown. An empty text gives no wavelength.

    Raises
    ------
    ValueError
        If the text is no such list.
    """
    items = [item for item in re.split(r"[,;\s]+", text.strip()) if item]
    try:
        return tuple(None if item == "?" else float(item) / 1000 for item in items)
    except ValueError:
        raise ValueError(
            "Expected emission wavelengths in nm, such as 460, 520, or ? for one that is unknown, "
            f"got {text!r}."
        ) from None


def format_wavelengths(wavelengths: Iterable[float | None]) -> str:
    """Return wavelengths in µm as the text that :func:`parse_wavelengths` reads."""
    return ", ".join("?" if wave is None else f"{1000 * wave:.6g}" for wave in wavelengths)


def _fit(aperture: float | None, index: float | None) -> bool:
    return aperture is None or index is None or aperture < index


def _known(wavelengths: Iterable[float | None]) -> tuple[float | None, ...]:
    known = tuple(wavelengths)
    return known if any(wavelength is not None for wavelength in known) else ()
