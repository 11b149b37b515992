"""The line that states how long a run takes, and how much memory the result of a stack takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from magicgui.widgets import Label

from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.kernel import KernelScope
from napari_blind_deconv.plugin.layouts import wrap
from napari_blind_deconv.plugin.runtime_estimator import RuntimeEstimator
from napari_blind_deconv.settings import Settings

__all__ = ["ExpectedTime", "Extent"]


class Extent(NamedTuple):
    """Size of an input.

    Attributes
    ----------
    planes : int
        Number of planes, or of volumes.
    pixels : int
        Number of pixels in each of them.
    channels : int
        Number of channels; the planes of all channels are counted in `planes`.
    samples : int
        Number of values in a pixel: 3 or 4 for a colour image, else 1.
    beyond : int
        Number of pixels beyond the border of a volume that are computed with it.
    """

    planes: int
    pixels: int
    channels: int
    samples: int
    beyond: int = 0

    def kernels(self, scope: KernelScope) -> int:
        """Return the number of kernels to estimate."""
        return {
            KernelScope.CHANNEL: self.channels,
            KernelScope.STACK: 1,
            KernelScope.PLANE: self.planes,
        }[scope]


class ExpectedTime(Label):
    """The line *Will take*.

    Parameters
    ----------
    on_measured : callable
        Called after a measurement of this machine, to show the time again.
    """

    def __init__(self, on_measured: Callable[[], None]) -> None:
        super().__init__(
            label="Will take",
            tooltip="The time if the image needs no networks, as for most micrographs, and the "
            "longest time, if the networks run to their iteration limit; of a volume, the usual "
            "and the longest time. Measured on this machine.",
        )
        wrap(self.native)
        self._estimator = RuntimeEstimator(on_measured)

    def show_time(
        self,
        settings: Settings,
        extents: Sequence[Extent],
        scope: KernelScope | None,
        block: BlockKind,
        *,
        with_memory: bool,
    ) -> None:
        """Show the time for all inputs; this starts a measurement if there is none yet.

        Parameters
        ----------
        settings : Settings
            Settings of the runs.
        extents : sequence of Extent
            Size of each input.
        scope : KernelScope or None
            What part of a stack shares a kernel; None if the kernel is not estimated.
        block : BlockKind
            What is deconvolved at once.
        with_memory : bool
            Whether to state the memory of the results.
        """
        workloads = [
            (each.planes, each.pixels + each.beyond, 0 if scope is None else each.kernels(scope))
            for each in extents
        ]
        text = self._estimator.describe(settings, workloads, block)
        if with_memory:
            # The result is float32, so each value takes 4 bytes.
            size = sum(4 * each.planes * each.pixels * each.samples for each in extents)
            text += f", {size / 2**20:.3g} MiB"
        self.value = text
