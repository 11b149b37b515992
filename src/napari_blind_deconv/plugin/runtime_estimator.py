"""Prediction of how long a run takes, from a measurement on this machine in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from napari.qt.threading import create_worker

from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.plugin.torch_loading import load_torch
from napari_blind_deconv.plugin.worker import Failure
from napari_blind_deconv.settings import Settings

if TYPE_CHECKING:
    from napari_blind_deconv.engine.runtime import RuntimeModel

__all__ = ["RuntimeEstimator", "format_duration"]

# Settings that change the time per pixel and iteration. The others change only the number of
# iterations or the estimate, so they do not need a measurement of their own.
_TIMED_SETTINGS = (
    *("device", "channels", "skip_channels", "input_channels", "precision", "kernel_network"),
    *("kernel_features", "kernel_layers", "image_start"),
)


class RuntimeEstimator:
    """Predicts the duration of runs; each combination of timed settings is measured once.

    Parameters
    ----------
    on_measured : callable
        Called in the GUI thread after each measurement.
    """

    def __init__(self, on_measured: Callable[[], None]) -> None:
        self._on_measured = on_measured
        self._models: dict[Settings, RuntimeModel | str] = {}
        self._is_measuring = False

    def describe(
        self,
        settings: Settings,
        workloads: Iterable[tuple[int, int, int]],
        block: BlockKind,
    ) -> str:
        """Return the shortest and longest duration of runs, or that it is being measured.

        The longest is that of networks that run to their limit, which few images need.

        Parameters
        ----------
        settings : Settings
            Settings of the runs.
        workloads : iterable of tuple of int
            For each run the number of blocks, of pixels in each block, and of kernels to estimate.
        block : BlockKind
            What is deconvolved at once.
        """
        key = Settings(**{name: getattr(settings, name) for name in _TIMED_SETTINGS})
        model = self._models.get(key)
        if model is None:
            self._measure(key)
            return "measuring this machine …"
        if isinstance(model, str):
            return model
        durations = [
            model.seconds(settings, planes=blocks, pixels=pixels, kernels=kernels, block=block)
            for blocks, pixels, kernels in workloads
        ]
        shortest, longest = (sum(seconds) for seconds in zip(*durations, strict=True))
        # The networks refine planes only.
        if block is BlockKind.VOLUME or round(shortest) == round(longest):
            return format_duration(shortest)
        return f"{format_duration(shortest)}, at most {format_duration(longest)} with networks"

    def _measure(self, key: Settings) -> None:
        """Start a measurement, unless one is running: two at once would slow each other down.

        The caller asks again when the running measurement ends, which then starts the next one.
        """
        if self._is_measuring:
            return
        self._is_measuring = True

        def store(model: RuntimeModel | Failure) -> None:
            self._is_measuring = False
            self._models[key] = f"unknown ({model})" if isinstance(model, Failure) else model
            self._on_measured()

        create_worker(_measure_runtime, key, _connect={"returned": store})


def _measure_runtime(settings: Settings) -> RuntimeModel | Failure:
    try:
        load_torch()
        # Imported here because torch takes seconds to load.
        from napari_blind_deconv.engine.runtime import measure_runtime

        return measure_runtime(settings)
    except BaseException as error:  # for the reason, see `catch_errors`
        return Failure(error)


def format_duration(seconds: float) -> str:
    """Return a duration as text, such as ``"45 s"`` or ``"2:05 min"``; at least a second."""
    rounded = max(1, round(seconds))
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60}:{rounded % 60:02} min"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02} min"
