"""A small live view of the kernel, and the kernel's widths as text."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QImage, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QWidget

from napari_blind_deconv.kernel import Kernel
from napari_blind_deconv.kernel_widths import KernelWidths

if TYPE_CHECKING:
    from napari_blind_deconv.plugin.run import ViewerRun

__all__ = ["KernelView", "describe_kernels"]

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

    def show_kernel(self, kernel: NDArray[np.float32]) -> None:
        """Show a kernel ``(rows, columns)``."""
        # The square root makes the weak tails of a kernel visible.
        grey = np.ascontiguousarray(np.sqrt(kernel / kernel.max()) * 255, dtype=np.uint8)
        rows, columns = grey.shape
        view = QImage(grey.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8)
        self._view = view.copy()  # a QImage does not own the buffer it was made from
        self._show(
            f"Kernel of {rows} × {columns} pixels; its square root is shown. Click to enlarge it."
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


def describe_kernels(run: ViewerRun | None) -> str:
    """Return the widths of the kernels of a run as text; None stands for no run.

    If the channels of a stack have kernels of their own, each has a line with its name. Otherwise
    the kernel is that of the plane shown.
    """
    if run is None:
        return "The widths of the kernel appear here after a run."
    size, image, plan = run.geometry.pixel_size, run.task.image, run.outcome.plan
    if plan is not None and len(set(plan.kernels)) > 1:
        names = image.channel_names or [f"channel {number}" for number in range(image.channels)]
        return "\n".join(
            f"{name}: {'no kernel' if kernel is None else _describe_widths(kernel, *size)}"
            for name, kernel in zip(names, plan.kernels, strict=True)
        )
    result = run.result_shown()
    return "This plane has no kernel." if result is None else _describe_widths(result.kernel, *size)


@lru_cache(maxsize=16)  # the panel states the widths again at each step of the viewer's slider
def _describe_widths(kernel: Kernel, height: float, width: float, unit: str) -> str:
    """Return the full widths at half maximum of a kernel as text.

    Parameters
    ----------
    kernel : Kernel
    height, width : float
        Size of a pixel in `unit`.
    unit : str
    """
    widths = KernelWidths.of(kernel.weights, (height, width))
    down, right = widths.along_axes
    longest, shortest = widths.principal
    text = f"FWHM {right:#.3g} × {down:#.3g} {unit} (x × y)"
    if longest > 1.1 * shortest:
        text += (
            f"; {longest:#.3g} × {shortest:#.3g} {unit} along its axes, "
            f"the longer one at {widths.angle:.0f}°"
        )
    if kernel.width_deviation is not None:
        text += f"; uncertain by {100 * kernel.width_deviation:.0f} %"
    return text
