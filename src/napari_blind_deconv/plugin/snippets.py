"""The run that the panel would start, as text: for a script, and for the command line."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_blind_deconv.plugin.kernel_source import KernelChoice

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
        Of a stack, as `deconvolve_stack` wants them; empty for a plane.
    preset, changes
        The settings.
    kernel : KernelChoice
    stack_kernel : str
        Of a stack, where the kernel is found.
    """

    name: str
    path: str | None
    index: tuple[str, ...]
    axes: str
    rgb: bool
    preset: str
    changes: dict[str, Any]
    kernel: KernelChoice
    stack_kernel: str
    device: str
    seed: int

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
        return "\n".join(
            [
                *self._imports(),
                "",
                *self._notes("#"),
                f"image = tifffile.imread({self.file!r}){self._subscript()}",
                f"settings = Settings.preset({self.preset!r}){self._changed()}",
                *(self._stack_call() if self.axes else self._plane_call()),
                f"tifffile.imwrite({self.output!r}, result.image)",
                "",
            ]
        )

    def as_command(self) -> str:
        """A command line that makes the result."""
        words = ["blind-deconv", "run", self.file, self.output, "--preset", self.preset]
        for name, value in self.changes.items():
            words += ["--set", f"{name}={_command_value(value)}"]
        if self.axes:
            words += ["--axes", self.axes, "--kernel", self.stack_kernel]
        if any(item != ":" for item in self.index):
            words += ["--select", ",".join(self.index)]
        if self.kernel.kernel is not None:
            words += ["--psf" if self.kernel.held else "--psf-guess", self.kernel.file]
        words += ["--device", self.device, "--seed", str(self.seed)]
        return "\n".join([*self._notes("#"), shlex.join(words), ""])

    def _imports(self) -> list[str]:
        function = "deconvolve_stack" if self.axes else "deconvolve"
        lines = ["import tifffile", f"from napari_blind_deconv import Settings, {function}"]
        if self.kernel.code.startswith("widefield_psf"):
            lines.append("from napari_blind_deconv.numerics.optics import widefield_psf")
        if self.kernel.code.startswith("gaussian_kernel"):
            lines.append("from napari_blind_deconv.numerics.kernel_prior import gaussian_kernel")
        if self.axes:
            lines.append("from napari_blind_deconv.steps import run_to_end")
        return lines

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

    def _common(self) -> list[str]:
        return [f"device={self.device!r}", f"seed={self.seed}"]

    def _plane_call(self) -> list[str]:
        options = self._common()
        if self.rgb:
            options.append("rgb=True")
        if self.kernel.kernel is not None:
            options.append(f"{'psf' if self.kernel.held else 'psf_guess'}={self.kernel.code}")
        return [f"result = deconvolve(image, settings, {', '.join(options)})"]

    def _stack_call(self) -> list[str]:
        kernel = repr(self.stack_kernel) if self.kernel.kernel is None else self.kernel.code
        options = [f"axes={self.axes!r}", f"kernel={kernel}", *self._common()]
        return [f"result = run_to_end(deconvolve_stack(image, settings, {', '.join(options)}))"]


def _command_value(value: Any) -> str:
    """As `Settings.with_texts` reads it back."""
    return value if isinstance(value, str) else "None" if value is None else json.dumps(value)
