"""A live plot of variance and loss over all iterations, with stages and stopping point marked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.plugin.colours import BLUE, GREY, ORANGE
from napari_blind_deconv.plugin.curves import Curve, CurvePlot
from napari_blind_deconv.results import TRACE_DTYPE, stage_starts

__all__ = ["TracePlot"]

_VARIANCE, _LOSS, _KEPT = BLUE, GREY, ORANGE


class TracePlot(CurvePlot):
    """The early-stopping trace: variance and loss, each on its own logarithmic scale.

    Parameters
    ----------
    placeholder : str
        Text that is shown while there is no trace.
    """

    def __init__(self, placeholder: str) -> None:
        super().__init__(placeholder, shared=False)
        self.setToolTip(
            "<p>Windowed moving variance of the estimate and loss of the fit over iterations, on "
            "logarithmic scales. Grey lines mark where a stage begins. In the last stage, "
            "double-DIP, the variance falls while the estimate gets sharper and rises when the "
            "fit begins to reproduce noise. The estimate at the orange line is kept.</p>"
        )
        self._trace = np.zeros(0, TRACE_DTYPE)
        self._kept: int | None = None

    @property
    def points(self) -> int:
        """Number of iterations in the trace."""
        return len(self._trace)

    @property
    def kept(self) -> int | None:
        """Iteration whose estimate is kept, as marked in the plot; None if there is no mark."""
        return self._kept

    def clear(self) -> None:
        """Remove the trace and the mark."""
        self._trace = np.zeros(0, TRACE_DTYPE)
        self.mark(None)

    def extend(self, trace: NDArray[np.void], kept: int | None) -> None:
        """Append rows to the trace and move the mark."""
        self._trace = np.concatenate([self._trace, trace.astype(TRACE_DTYPE)])
        self.mark(kept)

    def mark(self, kept: int | None) -> None:
        """Mark the iteration whose estimate is kept; None removes the mark."""
        self._kept = kept
        mark = None if kept is None else (float(kept), f"kept {kept}", _KEPT)
        curves = [self._curve("variance", _VARIANCE), self._curve("loss", _LOSS)]
        self.draw(curves, mark, stage_starts(self._trace))

    def _curve(self, name: str, color: str) -> Curve:
        values = self._trace[name].copy()
        values[~(values > 0)] = np.nan  # these have no logarithm; the plot leaves NaN out
        return Curve(name, color, self._trace["iteration"].astype(np.float64), np.log10(values))
