"""The run that the panel would start, as text: for a script, and for the command line."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_blind_deconv.plugin.kernel_form import KernelSelection

__all__ = ["Script"]


@dataclass(frozen=True)
class Script:
    """All choices of a run, in words.

    Attributes
    ----------
    name : str
        Of the layer.
    path : str or None
        File the layer was read from.
    index : tuple of str
        Part of the array in the file that is sharpened, an item an axis; empty for all.
    axes : str
        Of what is sharpened.
    preset, changes
        The settings.
    kernel : KernelSelection
    """

    name: str
    path: str | None
    index: tuple[str, ...]
    axes: str
    preset: str
    changes: dict[str, Any]
    kernel: KernelSelection

    @property
    def is_stack(self) -> bool:
        """Whether it has more than one plane."""
        return self.axes.removesuffix("S") != "YX"

    @property
    def file(self) -> str:
        """File with the pixels; for a layer that has none, the one to save it as."""
        return self.path or f"{self.name}.tif"

    @property
    def output(self) -> str:
        """File for the result, in the working folder."""
        return f"{Path(self.file).name.split('.')[0]}_deblurred.tif"

    def as_python(self) -> str:
        """A script that makes the result."""
        # Else tifffile takes three planes for the three colours of one.
        photometric = "rgb" if self.axes.endswith("S") else "minisblack"
        return "\n".join(
            [
                *self._imports(),
                "",
                *self._notes("#"),
                f"image = tifffile.imread({self.file!r}){self._subscript()}",
                f"settings = Settings.preset({self.preset!r}){self._changed()}",
                *(self._stack_call() if self.is_stack else self._plane_call()),
                f"tifffile.imwrite({self.output!r}, result.image, photometric={photometric!r})",
                "",
            ]
        )

    def as_command(self) -> str:
        """A command line that makes the result."""
        words = ["blind-deconv", "run", self.file, self.output, "--preset", self.preset]
        for name, value in self.changes.items():
            words += ["--set", f"{name}={_command_value(value)}"]
        choice = self.kernel.choice
        if self.is_stack:
            words += ["--axes", self.axes, "--kernel", choice.scope.value]
        if any(item != ":" for item in self.index):
            words += ["--select", ",".join(self.index)]
        if not choice.is_found:
            words += ["--psf" if choice.is_held else "--psf-guess", self.kernel.file]
        return "\n".join([*self._notes("#"), shlex.join(words), ""])

    def _imports(self) -> list[str]:
        function = "deconvolve_stack" if self.is_stack else "deconvolve"
        names = ["Settings", function]
        if self._starts_from_guess:
            names.insert(0, "KernelChoice")
        lines = ["import tifffile", f"from napari_blind_deconv import {', '.join(names)}"]
        for maker in ("gaussian_kernel", "widefield_psf"):
            if self.kernel.code.startswith(maker):
                lines.append(f"from napari_blind_deconv.numerics.optics import {maker}")
        return lines

    @property
    def _starts_from_guess(self) -> bool:
        choice = self.kernel.choice
        return not choice.is_found and not choice.is_held

    def _notes(self, mark: str) -> list[str]:
        notes = []
        if self.path is None:
            notes.append(f"{mark} Save the layer {self.name!r} as {self.file!r} before.")
        if self.kernel.file and not Path(self.kernel.file).is_file():
            notes.append(f"{mark} Save the kernel as {self.kernel.file!r} before.")
        return notes

    def _subscript(self) -> str:
        if all(item == ":" for item in self.index):
            return ""
        return f"[{', '.join(self.index)}]"

    def _changed(self) -> str:
        if not self.changes:
            return ""
        return f".with_changes({', '.join(f'{name}={v!r}' for name, v in self.changes.items())})"

    def _plane_call(self) -> list[str]:
        options = [] if self.axes == "YX" else [f"axes={self.axes!r}"]
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
        call = f"deconvolve_stack(image, settings, axes={self.axes!r}, kernel={kernel})"
        return [f"result = {call}.result()"]


def _command_value(value: Any) -> str:
    """As `Settings.with_texts` reads it back."""
    return value if isinstance(value, str) else "None" if value is None else json.dumps(value)
