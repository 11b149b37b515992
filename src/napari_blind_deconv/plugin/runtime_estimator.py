"""What a run will take on this machine, measured in a thread the first time it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari.qt.threading import create_worker

from napari_blind_deconv.plugin.torch_loading import load_torch
from napari_blind_deconv.plugin.worker import Failure
from napari_blind_deconv.settings import Settings

if TYPE_CHECKING:
    from napari_blind_deconv.engine.runtime import RuntimeModel

__all__ = ["RuntimeEstimator", "format_duration"]

# What changes how long a pixel takes; the rest changes how many steps there are, or the picture.
_COSTLY = (
    *("device", "channels", "skip_channels", "input_channels", "precision", "kernel_network"),
    *("kernel_features", "kernel_layers", "image_start"),
)


class RuntimeEstimator:
    """The paces measured so far, by settings.

    Parameters
    ----------
    on_measured : callable
        Called in the GUI thread once there is more to tell.
    """

    def __init__(self, on_measured: Callable[[], None]) -> None:
        self._on_measured = on_measured
        self._known: dict[Settings, RuntimeModel | str] = {}
        self._is_measuring = False

    def told(self, settings: Settings, *, planes: int, pixels: int, kernels: int) -> str:
        """From how long to how long a run takes, or that it is being measured.

        Parameters
        ----------
        settings : Settings
            Of the run.
        planes, pixels : int
            How many planes, and pixels in each.
        kernels : int
            How many kernels are to be found.
        """
        key = Settings(**{name: getattr(settings, name) for name in _COSTLY})
        pace = self._known.get(key)
        if pace is None:
            self._measure(key)
            return "measuring this machine …"
        if isinstance(pace, str):
            return pace
        least, most = pace.seconds(settings, planes=planes, pixels=pixels, kernels=kernels)
        return f"{format_duration(least)} to {format_duration(most)}"

    def _measure(self, key: Settings) -> None:
        """Measure, unless that is being done: two at once would slow each other down.

        Who was told of the one that ends asks again, and has its own measured then.
        """
        if self._is_measuring:
            return
        self._is_measuring = True

        def keep(pace: RuntimeModel | Failure) -> None:
            self._is_measuring = False
            self._known[key] = f"unknown ({pace})" if isinstance(pace, Failure) else pace
            self._on_measured()

        create_worker(_measured, key, _connect={"returned": keep})


def _measured(settings: Settings) -> RuntimeModel | Failure:
    try:
        load_torch()
        from napari_blind_deconv.engine.runtime import (
            measure_runtime,  # torch takes seconds to load
        )

        return measure_runtime(settings)
    except BaseException as error:  # as in `attempted`
        return Failure(error)


def format_duration(seconds: float) -> str:
    """A duration in words, at least a second."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
