"""Prediction of how long a run takes, from a measurement on this machine in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from napari.qt.threading import create_worker

from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.plugin.torch_loading import load_torch
from napari_blind_deconv.plugin.worker import Failure
from napari_blind_deconv.settings import Settings, SolverName

if TYPE_CHECKING:
    from napari_blind_deconv.engine.runtime import RuntimeModel, VolumeRuntimeModel

__all__ = ["RuntimeEstimator", "format_duration"]

# Settings that change the time per pixel and iteration. The others change only the number of
# iterations or the estimate, so they do not need a measurement of their own.
_TIMED_SETTINGS = {
    BlockKind.PLANE: (
        *("device", "solver", "channels", "skip_channels", "input_channels", "precision"),
        *("kernel_network", "kernel_features", "kernel_layers", "image_start"),
    ),
    BlockKind.VOLUME: ("device", "solver"),
}
_Key: TypeAlias = "tuple[Settings, BlockKind]"
_Model: TypeAlias = "RuntimeModel | VolumeRuntimeModel"


class RuntimeEstimator:
    """Predicts the duration of runs; each combination of timed settings is measured once.

    Parameters
    ----------
    on_measured : callable
        Called in the GUI thread after each measurement.
    """

    def __init__(self, on_measured: Callable[[], None]) -> None:
        self._on_measured = on_measured
        self._models: dict[_Key, _Model | str] = {}
        self._is_measuring = False

    def describe(
        self,
        settings: Settings,
        workloads: Iterable[tuple[int, int, int]],
        block: BlockKind,
    ) -> str:
        """Return the usual and longest duration of runs, or that it is being measured.

        The longest is that of runs to their iteration limit: of planes by the networks, which few
        images need.

        Parameters
        ----------
        settings : Settings
            Settings of the runs.
        workloads : iterable of tuple of int
            For each run the number of blocks, of pixels in each block, and of kernels to estimate.
        block : BlockKind
            What is deconvolved at once.
        """
        timed = {name: getattr(settings, name) for name in _TIMED_SETTINGS[block]}
        key = Settings(**timed), block
        model = self._models.get(key)
        if model is None:
            self._measure(key)
            return "measuring this machine …"
        if isinstance(model, str):
            return model
        durations = [
            model.seconds(settings, planes=blocks, pixels=pixels, kernels=kernels)
            for blocks, pixels, kernels in workloads
        ]
        usual, longest = (sum(seconds) for seconds in zip(*durations, strict=True))
        if format_duration(usual) == format_duration(longest):
            return format_duration(usual)
        limit = f"{format_duration(usual)}, at most {format_duration(longest)}"
        has_networks = block is BlockKind.PLANE and settings.solver is SolverName.AUTO
        return f"{limit} with networks" if has_networks else limit

    def _measure(self, key: _Key) -> None:
        """Start a measurement, unless one is running: two at once would slow each other down.

        The caller asks again when the running measurement ends, which then starts the next one.
        """
        if self._is_measuring:
            return
        self._is_measuring = True

        def store(model: _Model | Failure) -> None:
            self._is_measuring = False
            self._models[key] = f"unknown ({model})" if isinstance(model, Failure) else model
            self._on_measured()

        create_worker(_measure_runtime, *key, _connect={"returned": store})


def _measure_runtime(settings: Settings, block: BlockKind) -> _Model | Failure:
    try:
        load_torch()
        # Imported here because torch takes seconds to load.
        from napari_blind_deconv.engine.runtime import measure_runtime, measure_volume_runtime

        measure = measure_volume_runtime if block is BlockKind.VOLUME else measure_runtime
        return measure(settings)
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
