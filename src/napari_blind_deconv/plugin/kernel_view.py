"""The kernel as it grows: a small picture, and its widths in the image's units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QImage, QPainter, QPaintEvent
from qtpy.QtWidgets import QWidget

from napari_blind_deconv.kernel import KernelWidths

__all__ = ["KernelView", "kernel_words"]

_SIDE = 84


class KernelView(QWidget):
    """The kernel, its brightest pixel white."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedSize(QSize(_SIDE, _SIDE))
        self._picture: QImage | None = None
        self.clear()

    def clear(self) -> None:
        """Show none."""
        self._picture = None
        self.setToolTip("The kernel appears here while a run is on.")
        self.update()

    def show_kernel(self, kernel: NDArray[np.float32]) -> None:
        """Show a kernel ``(rows, columns)``."""
        grey = np.ascontiguousarray(np.sqrt(kernel / kernel.max()) * 255, dtype=np.uint8)
        rows, columns = grey.shape
        view = QImage(grey.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8)
        self._picture = view.copy()  # QImage does not own what it was given
        self.setToolTip(f"The kernel, {rows} × {columns} pixels; its square root is shown.")
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802 (Qt's name)
        """Draw the kernel, or an empty frame."""
        painter = QPainter(self)
        if self._picture is None:
            painter.setPen(self.palette().color(self.foregroundRole()))
            painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "kernel")
            return
        shown = self._picture.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        left, top = (self.width() - shown.width()) // 2, (self.height() - shown.height()) // 2
        painter.drawImage(self.rect().adjusted(left, top, -left, -top), self._picture)


def kernel_words(kernel: NDArray[np.float32], height: float, width: float, unit: str) -> str:
    """Widths of a kernel in words, for pixels of some height and width in `unit`."""
    widths = KernelWidths.of(kernel, (height, width))
    down, right = widths.along_axes
    longest, shortest = widths.principal
    words = f"FWHM {right:#.3g} × {down:#.3g} {unit} (x × y)"
    if longest > 1.1 * shortest:
        words += (
            f"; {longest:#.3g} × {shortest:#.3g} {unit} along its axes, "
            f"the long one at {widths.angle:.0f}°"
        )
    return words
