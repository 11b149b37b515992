"""A small live view of the kernel, and the kernel's widths as text."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QImage, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QWidget

from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.kernel_widths import KernelWidths
from napari_blind_deconv.plugin.kernel_selection import PixelGrid

if TYPE_CHECKING:
    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["KernelView", "describe_kernels", "orthogonal_sections"]

_SIDE = 84  # pixels
_LARGE_SIDE = 420  # pixels


class KernelView(QWidget):
    """A view of the square root of the kernel, scaled so that its maximum is white.

    A click opens a larger view in a window of its own, which follows this one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._view: QImage | None = None
        self._larger: KernelView | None = None
        self.clear()

    def clear(self) -> None:
        """Show an empty frame."""
        self._view = None
        self._show("The kernel appears here during a run.")

    def show_kernel(
        self, kernel: NDArray[np.float32], sides: tuple[float, ...] | None = None
    ) -> None:
        """Show a kernel ``(rows, columns)``, or three sections of ``(planes, rows, columns)``.

        Parameters
        ----------
        kernel : ndarray
            Weights.
        sides : tuple of float, optional
            Pixel size along each axis of the kernel, whose ratio counts for sections. Default: 1.
        """
        is_volume = kernel.ndim == 3
        shown = orthogonal_sections(kernel, sides or (1, 1, 1)) if is_volume else kernel
        # The square root makes the weak tails of a kernel visible.
        grey = np.ascontiguousarray(np.sqrt(shown / kernel.max()) * 255, dtype=np.uint8)
        rows, columns = grey.shape
        view = QImage(grey.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8)
        self._view = view.copy()  # a QImage does not own the buffer it was made from
        size = " × ".join(map(str, kernel.shape))
        self._show(
            f"Kernel of {size} {BlockKind.with_axes(kernel.ndim).element}s"
            f"{' (Z, Y, X): XY, at its right YZ, below XZ, through the centre' * is_volume}; its "
            "square root is shown. Click to enlarge it."
        )

    def sizeHint(self) -> QSize:  # noqa: N802 (Qt's name)
        """Return the size in a narrow dock."""
        return QSize(_SIDE, _SIDE)

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Enlarge the kernel."""
        super().mouseReleaseEvent(event)
        if self._view is not None and not self.isWindow():
            self.enlarge()

    def enlarge(self) -> None:
        """Open a larger view in a window of its own."""
        if self._larger is None:
            self._larger = KernelView()
            self._larger.setParent(self, Qt.WindowType.Tool)
            self._larger.setWindowTitle("Kernel")
            self._larger.resize(_LARGE_SIDE, _LARGE_SIDE)
        self._larger._view = self._view
        self._larger.setToolTip("The window follows the kernel of the panel.")
        self._larger.show()
        self._larger.raise_()

    def _show(self, help_text: str) -> None:
        self.setToolTip(help_text)
        self.update()
        if self._larger is not None:
            self._larger._view = self._view
            self._larger.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Draw the kernel, or an empty frame."""
        painter = QPainter(self)
        if self._view is None:
            painter.setPen(self.palette().color(self.foregroundRole()))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "kernel")
            return
        shown = self._view.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        left, top = (self.width() - shown.width()) // 2, (self.height() - shown.height()) // 2
        painter.drawImage(self.rect().adjusted(left, top, -left, -top), self._view)


def orthogonal_sections(
    kernel: NDArray[np.float32], sides: tuple[float, ...]
) -> NDArray[np.float32]:
    """Return the sections through the centre of a kernel as one picture, with lengths to scale.

    XY is at the top left, YZ at its right with Z to the right, XZ below it with Z downwards. White
    lines are between them.

    Parameters
    ----------
    kernel : ndarray
        Weights ``(planes, rows, columns)``.
    sides : tuple of float
        Size of a voxel along each axis.
    """
    planes, rows, columns = (
        np.arange(max(1, round(count * side / min(sides)))) * min(sides) / side
        for count, side in zip(kernel.shape, sides, strict=True)
    )
    z, y, x = (side // 2 for side in kernel.shape)
    down, right, deep = (axis.astype(int) for axis in (rows, columns, planes))
    across = kernel[z][np.ix_(down, right)]
    picture = np.full(
        (len(down) + 1 + len(deep), len(right) + 1 + len(deep)), kernel.max(), np.float32
    )
    picture[: len(down), : len(right)] = across
    picture[: len(down), len(right) + 1 :] = kernel[:, :, x].T[np.ix_(down, deep)]
    picture[len(down) + 1 :, : len(right)] = kernel[:, y][np.ix_(deep, right)]
    picture[len(down) + 1 :, len(right) + 1 :] = 0
    return picture


def describe_kernels(run: ViewerRun | None) -> str:
    """Return the widths of the kernels of a run as text; None stands for no run.

    If the channels of a stack have kernels of their own, each has a line with its name. Otherwise
    the kernel is that of the plane shown.
    """
    if run is None:
        return "The widths of the kernel appear here after a run."
    pixels, image, plan = run.pixels, run.task.image, run.outcome.plan
    if plan is not None and len(set(plan.kernels)) > 1:
        names = image.channel_names or [f"channel {number}" for number in range(image.channels)]
        return "\n".join(
            f"{name}: {'no kernel' if kernel is None else _describe_widths(kernel, pixels)}"
            for name, kernel in zip(names, plan.kernels, strict=True)
        )
    result = run.result_shown()
    if result is None:
        return f"This {image.block_kind} has no kernel."
    return _describe_widths(result.kernel, pixels)


@lru_cache(maxsize=16)  # the panel states the widths again at each step of the viewer's slider
def _describe_widths(kernel: Kernel, pixels: PixelGrid) -> str:
    """Return the full widths at half maximum of a kernel as text."""
    widths, unit = KernelWidths.of(kernel.weights, pixels.sides), pixels.unit
    along = widths.along_axes if pixels.is_volume else widths.along_axes[::-1]
    sides = " × ".join(f"{width:#.3g}" for width in along)
    text = f"FWHM {sides} {unit} ({'z × y × x' if pixels.is_volume else 'x × y'})"
    longest, *_, shortest = widths.principal
    if not pixels.is_volume and longest > 1.1 * shortest:
        text += (
            f"; {longest:#.3g} × {shortest:#.3g} {unit} along its axes, "
            f"the longer one at {widths.angle:.0f}°"
        )
    if kernel.width_deviation is not None:
        text += f"; uncertain by {100 * kernel.width_deviation:.0f} %"
    return text
