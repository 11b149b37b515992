"""The progress bar of a run, with the time that is left."""

from __future__ import annotations

import time

from qtpy.QtWidgets import QProgressBar

from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.plugin.messages import format_time_left

__all__ = ["RunProgress"]


class RunProgress(QProgressBar):
    """A bar for the iterations of a plane or the planes of a stack; it is hidden without a run."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip("Iterations or planes that are done, and the time that is left.")
        # Count and time of the first report, from which the time left is estimated.
        self._first: tuple[int, float] | None = None

    def begin(self) -> None:
        """Show that a run has begun, of which nothing is known yet."""
        self._first = None
        self.setRange(0, 0)

    def finish(self) -> None:
        """Return to the state without a run."""
        self.setRange(0, 1)
        self.reset()

    def show_iteration(self, iteration: int, limit: int) -> None:
        """Show the iteration of a stage of a single plane, and the last one it can have."""
        if limit != self.maximum():  # a new stage has another speed
            self._first = None
        self.setRange(0, limit)
        self.setValue(iteration)
        left = self._seconds_left(iteration, limit)
        self.setFormat(f"%v of %m · {format_time_left(left, 'at most')}")

    def show_blocks(self, done: int, count: int, kind: BlockKind) -> None:
        """Show how many planes or volumes of a stack are done."""
        self.setRange(0, count)
        self.setValue(done)
        # Time is measured from the first finished one on, without the search for the kernel.
        left = self._seconds_left(done, count) if done else None
        self.setFormat(f"%v of %m {kind}s · {format_time_left(left, 'about')}")

    def _seconds_left(self, done: int, total: int) -> float | None:
        """Return the time left at the speed since the first report; None if it is not known yet."""
        now = time.monotonic()
        if self._first is None:
            self._first = done, now
        first, started = self._first
        return None if done == first else (now - started) / (done - first) * (total - done)
