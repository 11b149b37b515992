"""The run that the panel would start, as a Python script and as a command line."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.optics import Optics, format_wavelengths
from napari_blind_deconv.plugin.kernel_selection import KernelSelection, format_sides
from napari_blind_deconv.plugin.layers import file_name
from napari_blind_deconv.plugin.masks import MaskFile

__all__ = ["Script", "settings_options", "with_own_outputs"]


@dataclass(frozen=True)
class Script:
    """All choices of a run, from which scripts are made.

    Attributes
    ----------
    name : str
        Name of the layer.
    path : str or None
        File that the layer was read from; None if it does not contain the layer.
    index : tuple of str
        Part of the array in the file to deconvolve, as one Python index or slice per axis.
    axes : str
        Axes of that part.
    preset : str
        Preset of the settings.
    changes : dict
        Settings that differ from the preset.
    kernel : KernelSelection
        The kernel, or how it is estimated.
    pixel_size : tuple of float
        Pixel size of the layer in µm along Y and X, or Z, Y and X; empty if it is unknown.
    mask : MaskFile or None
        File with the mask of the pixels to leave out.
    optics : Optics
        Optics that the command line has to state, because the file does not.
    known_optics : Optics
        All that is known about the optics, which arrays do not state.
    layer_axes : str
        Axes of the layer, if planes of a stack or volumes are taken; else empty.
    block : BlockKind
        What is deconvolved at once.
    ending : str
        End of the name of the result's file.
    """

    name: str
    path: str | None
    index: tuple[str, ...]
    axes: str
    preset: str
    changes: dict[str, Any]
    kernel: KernelSelection
    pixel_size: tuple[float, ...] = ()
    mask: MaskFile | None = None
    optics: Optics = field(default_factory=Optics)
    known_optics: Optics = field(default_factory=Optics)
    layer_axes: str = ""
    block: BlockKind = BlockKind.PLANE
    ending: str = "_deblurred"

    @property
    def is_stack(self) -> bool:
        """Whether the part has axes besides those of a block."""
        return self.axes.removesuffix("S") != ("ZYX" if self.is_volume else "YX")

    @property
    def is_volume(self) -> bool:
        """Whether volumes are deconvolved, in place of planes."""
        return self.block is BlockKind.VOLUME

    @property
    def file(self) -> str:
        """File with the pixels; for a layer without a file, the name to save it as."""
        return self.path or file_name(self.name)

    @property
    def output(self) -> str:
        """File for the result, in the working directory."""
        name = re.sub(r"(\.ome)?\.tiff?$", "", Path(self.file).name, flags=re.IGNORECASE)
        return f"{name}{self.ending}.tif"

    def as_python(self) -> str:
        """Return a Python script that computes and saves the result."""
        # Without it, tifffile would save a stack of three planes as one RGB image.
        photometric = "rgb" if self.axes.endswith("S") else "minisblack"
        return "\n".join(
            [
                *self._imports(),
                "",
                *self._notes(),
                f"image = tifffile.imread({self.file!r}){_subscript(self.index)}",
                *self._mask(),
                *self._with_optics(),
                f"settings = Settings.preset({self.preset!r}){self._changes_call()}",
                *(self._stack_call() if self.is_stack else self._plane_call()),
                f"tifffile.imwrite({self.output!r}, result.image, photometric={photometric!r})",
                "",
            ]
        )

    def as_command(self) -> str:
        """Return a command line that computes and saves the result."""
        arguments = ["blind-deconv", "run", self.file, self.output]
        arguments += settings_options(self.preset, self.changes)
        choice = self.kernel.choice
        if self.layer_axes:
            arguments += ["--axes", self.layer_axes]
        if self.is_volume:
            arguments.append("--volume")
        if self.is_stack and (choice.is_found or not self.is_volume):
            arguments += ["--kernel", choice.scope.value]
        if self.pixel_size:  # napari's TIFF files do not state it
            arguments += ["--pixel-size", ",".join(f"{side:.9g}" for side in self.pixel_size)]
        if self.optics.numerical_aperture:
            arguments += ["--na", f"{self.optics.numerical_aperture:g}"]
        if self.optics.refractive_index:
            arguments += ["--refractive-index", f"{self.optics.refractive_index:g}"]
        if self.optics.emission_wavelengths:
            waves = format_wavelengths(self.optics.emission_wavelengths)
            arguments += ["--wavelength", waves.replace(" ", "")]
        if any(item != ":" for item in self.index):
            arguments += ["--select", ",".join(self.index)]
        if not choice.is_found:
            arguments += ["--psf" if choice.is_held else "--psf-guess", self.kernel.file]
        if self.mask is not None:
            arguments += ["--mask", self.mask.name]
        return "\n".join([*self._notes(), shlex.join(arguments), ""])

    def _imports(self) -> list[str]:
        function = "deconvolve_stack" if self.is_stack else "deconvolve"
        names = ["Settings", function]
        if self._starts_from_guess:
            names.insert(0, "KernelChoice")
        if self._states_optics:
            names += ["Image", "Optics"]
        if "prepare_psf" in self.kernel.code:
            names.append("prepare_psf")
        if self.kernel.code.startswith("microscope_psf"):
            names += ["Optics", "microscope_psf"]
        lines = ["import tifffile", f"from napari_blind_deconv import {', '.join(names)}"]
        if "read_psf" in self.kernel.code:
            lines.append("from napari_blind_deconv.io.images import read_psf")
        for model in ("gaussian_kernel", "widefield_psf"):
            if self.kernel.code.startswith(model):
                lines.append(f"from napari_blind_deconv.numerics.optics import {model}")
        return lines

    @property
    def _starts_from_guess(self) -> bool:
        choice = self.kernel.choice
        return not choice.is_found and not choice.is_held

    def _notes(self) -> list[str]:
        notes = []
        if self.path is None:
            notes.append(f"# Save the layer {self.name!r} as {self.file!r} first.")
        if self.kernel.file and not Path(self.kernel.file).is_file():
            notes.append(f"# Save the kernel as {self.kernel.file!r} first.")
        if self.mask is not None:
            notes.append(f"# {self.mask.note}")
        return notes

    def _mask(self) -> list[str]:
        if self.mask is None:
            return []
        part = _subscript(self.index[-self.mask.ndim :])
        return [f"mask = tifffile.imread({self.mask.name!r}){part}"]

    @property
    def _states_optics(self) -> bool:
        """Whether the search for the kernel uses the optics, as far as they are known."""
        return self.is_volume and self.kernel.choice.is_found and self.known_optics != Optics()

    def _with_optics(self) -> list[str]:
        if not self._states_optics:
            return []
        optics = self.known_optics
        values = (
            f"{optics.numerical_aperture}, {optics.refractive_index}, {optics.emission_wavelengths}"
        )
        return [f"image = Image(image, {self.axes!r}, optics=Optics({values}))"]

    @property
    def _mask_options(self) -> list[str]:
        return [] if self.mask is None else ["mask=mask"]

    @property
    def _volume_options(self) -> list[str]:
        """The voxel size, which volumes need."""
        if not self.is_volume or not self.pixel_size:
            return []
        return [f"pixel_size={format_sides(self.pixel_size)}"]

    def _changes_call(self) -> str:
        if not self.changes:
            return ""
        return f".with_changes({', '.join(f'{name}={v!r}' for name, v in self.changes.items())})"

    def _plane_call(self) -> list[str]:
        options = [] if self.axes == "YX" else [f"axes={self.axes!r}"]
        options += [*self._volume_options, *self._mask_options]
        if self._starts_from_guess:
            options.append(f"kernel=KernelChoice.start_from({self.kernel.code})")
        elif self.kernel.code:
            options.append(f"kernel={self.kernel.code}")
        return [f"result = deconvolve({', '.join(['image', 'settings', *options])})"]

    def _stack_call(self) -> list[str]:
        choice = self.kernel.choice
        kernel = self.kernel.code or repr(choice.scope.value)
        if self._starts_from_guess:
            kernel = f"KernelChoice.start_from({self.kernel.code}, {choice.scope.value!r})"
        options = [f"axes={self.axes!r}", f"kernel={kernel}"]
        options += ["block='volume'"] if self.is_volume else []
        options += [*self._volume_options, *self._mask_options]
        call = f"deconvolve_stack({', '.join(['image', 'settings', *options])})"
        return [f"result = {call}.result()"]


def with_own_outputs(scripts: Iterable[Script]) -> list[Script]:
    """Return scripts that write to different files, with a number where names would be equal."""
    found: dict[str, Script] = {}
    for script in scripts:
        own, number = script, 1
        while own.output in found:
            number += 1
            own = replace(script, ending=f"{script.ending}_{number}")
        found[own.output] = own
    return list(found.values())


def _subscript(index: tuple[str, ...]) -> str:
    return "" if all(item == ":" for item in index) else f"[{', '.join(index)}]"


def settings_options(preset: str, changes: Mapping[str, Any]) -> list[str]:
    """Return a preset and the settings that differ from it as options of the command line."""
    options = ["--preset", preset]
    for name, value in changes.items():
        options += ["--set", f"{name}={_command_value(value)}"]
    return options


def _command_value(value: Any) -> str:
    """Return a value as text that `Settings.with_texts` reads."""
    return value if isinstance(value, str) else "None" if value is None else json.dumps(value)
