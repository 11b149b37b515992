"""What a stack will take on this machine, measured in a thread the first time it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker

from napari_blind_deconv.plugin.stack_run import StackJob
from napari_blind_deconv.results import DeconvolutionError
from napari_blind_deconv.settings import Settings

if TYPE_CHECKING:
    from napari_blind_deconv.engine.estimate import Pace

__all__ = ["Paces"]

_Key = tuple[Settings, str]


class Paces:
    """The paces measured so far, by settings and device."""

    def __init__(self) -> None:
        self._known: dict[_Key, Pace | str] = {}

    def told(self, job: StackJob, on_measured: Callable[[], None]) -> str:
        """How long a job takes and how much it holds, or that it is being measured.

        Parameters
        ----------
        job : StackJob
        on_measured : callable
            Called in the GUI thread once there is more to tell.
        """
        # The number of iterations does not change the pace.
        key = (job.settings.with_changes(max_iterations=1), job.device)
        if key not in self._known:
            self._known[key] = "measuring this machine …"
            self._measure(key, on_measured)
        pace = self._known[key]
        if isinstance(pace, str):
            return pace
        channels = job.leading[job.axes.index("C")] if "C" in job.axes else 1
        kernels = {"per-channel": channels, "shared": 1}.get(job.kernel, job.planes)
        rows, columns = job.data.shape[len(job.leading) : len(job.leading) + 2]
        least, most = pace.seconds(
            job.settings, planes=job.planes, pixels=rows * columns, kernels=kernels
        )
        memory = 4 * job.planes * rows * columns / 2**20
        return f"{_clock(least)} to {_clock(most)}, {memory:.0f} MiB"

    def _measure(self, key: _Key, on_measured: Callable[[], None]) -> None:
        def keep(pace: Pace) -> None:
            self._known[key] = pace
            on_measured()

        def give_up(error: BaseException) -> None:
            self._known[key] = f"unknown ({error})"
            on_measured()

        create_worker(_measured, *key, _connect={"returned": keep, "errored": give_up})


def _measured(settings: Settings, device: str) -> Any:
    from napari_blind_deconv.engine.estimate import measure_pace  # torch takes seconds to load

    try:
        return measure_pace(settings, device)
    except RuntimeError as error:  # of which workers say nothing
        raise DeconvolutionError(str(error)) from error


def _clock(seconds: float) -> str:
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600} h {whole % 3600 // 60:02}"
