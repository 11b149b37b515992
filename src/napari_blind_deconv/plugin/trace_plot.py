"""The early-stopping trace, live: variance and loss over iterations, the stopping point marked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.plugin.colours import BLUE, ORANGE
from napari_blind_deconv.plugin.curves import Curve, CurvePlot
from napari_blind_deconv.results import TRACE_DTYPE

__all__ = ["TracePlot"]

_VARIANCE, _LOSS, _KEPT = BLUE, "#8f8f8f", ORANGE


class TracePlot(CurvePlot):
    """Variance and loss, both logarithmic, each at its own scale; `empty` as in `CurvePlot`."""

    def __init__(self, empty: str) -> None:
        super().__init__(empty, shared=False)
        self.setToolTip(
            "<p>Windowed moving variance of the picture and loss of the fit (both logarithmic) "
            "over iterations. The variance falls while the picture sharpens and rises when noise "
            "comes in. The picture at the orange line is kept.</p>"
        )
        self._trace = np.zeros(0, TRACE_DTYPE)
        self._kept: int | None = None

    @property
    def points(self) -> int:
        """Iterations told of."""
        return len(self._trace)

    @property
    def kept(self) -> int | None:
        """Iteration marked as the one to keep."""
        return self._kept

    def clear(self) -> None:
        """Forget the last run."""
        self._trace = np.zeros(0, TRACE_DTYPE)
        self.mark(None)

    def extend(self, trace: NDArray[np.void], kept: int | None) -> None:
        """Add the next part of the trace and move the mark."""
        self._trace = np.concatenate([self._trace, trace.astype(TRACE_DTYPE)])
        self.mark(kept)

    def mark(self, kept: int | None) -> None:
        """Move the mark."""
        self._kept = kept
        mark = None if kept is None else (float(kept), f"kept {kept}", _KEPT)
        self.draw([self._curve("variance", _VARIANCE), self._curve("loss", _LOSS)], mark)

    def _curve(self, name: str, color: str) -> Curve:
        values = self._trace[name].copy()
        values[~(values > 0)] = np.nan
        return Curve(name, color, self._trace["iteration"].astype(np.float64), np.log10(values))
