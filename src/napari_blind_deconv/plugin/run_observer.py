"""Who is told what happens to a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from napari_blind_deconv.plugin.worker import Progress
from napari_blind_deconv.results import StackResult

__all__ = ["NO_OBSERVER", "Observer"]


@dataclass(frozen=True)
class Observer:
    """Callbacks of a run, all called in the GUI thread.

    Attributes
    ----------
    progressed : callable
        Called with each progress report.
    ended : callable
        Called with the result, once its layers have been added.
    failed : callable
        Called with a sentence for the user, and the error if there is one.
    cancelled : callable
        Called when the live layer is removed during the run. The thread ends soon after.
    """

    progressed: Callable[[Progress], None]
    ended: Callable[[StackResult], None]
    failed: Callable[[str, BaseException | None], None]
    cancelled: Callable[[], None]


def _ignore(*_arguments: object) -> None: ...


NO_OBSERVER = Observer(_ignore, _ignore, _ignore, _ignore)
