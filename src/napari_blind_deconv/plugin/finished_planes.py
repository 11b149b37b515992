"""The planes or volumes of a run that are finished: their results, kernels and warnings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.findings import FoundInPlanes, added_up
from napari_blind_deconv.image import Image, Index
from napari_blind_deconv.plan import StackPlan, all_kernels
from napari_blind_deconv.plugin.geometry import LayerGeometry
from napari_blind_deconv.plugin.layers import displayable
from napari_blind_deconv.reasons import Finding, QualityFlag
from napari_blind_deconv.results import BlockResult, Result

__all__ = ["FinishedPlanes"]

_NOT_COMPUTED = "The run was stopped before this {kind}."


class FinishedPlanes:
    """The finished planes or volumes of a stack, or a single one, whose index is ``()``.

    Parameters
    ----------
    image : Image
        The input of the run.
    geometry : LayerGeometry
        The layer that it was read from.

    Attributes
    ----------
    shown : ndarray
        The pixels that the live layer displays: at first the input of a single plane, or zeros for
        a stack, which is filled plane by plane.
    results : dict
        Result of each plane that did not fail, by index.
    """

    def __init__(self, image: Image, geometry: LayerGeometry) -> None:
        self._image, self._geometry = image, geometry
        self.results: dict[Index, Result] = {}
        self._failures: dict[Index, str] = {}
        if image.stack_axes:
            self._estimates = np.zeros(image.pixels.shape, np.float32)
            # Colours are displayed as fractions, all else as it is.
            shown = np.zeros_like(self._estimates) if geometry.rgb else self._estimates
            self.shown = geometry.in_layer(shown)
            self._shown_blocks = shown
        else:
            self.shown = displayable(geometry, image.array)

    @property
    def done(self) -> int:
        """Number of planes that are finished, including those that failed."""
        return len(self.results) + len(self._failures)

    def add(self, block: BlockResult) -> None:
        """Add a plane that is finished."""
        index, result = block.index, block.result
        if self._image.stack_axes:
            self._estimates[index] = block.image
            shown = displayable(self._geometry, block.image).reshape(block.image.shape)
            self._shown_blocks[index] = shown
        if result is None:
            self._failures[index] = block.failure or ""
        elif self._image.stack_axes:
            # To save memory, the result shares its pixels with the stack and drops its residual.
            trust = replace(result.trust, residual=np.zeros((0, 0), np.float32))
            self.results[index] = replace(result, image=self._estimates[index], trust=trust)
        else:
            self.results[index] = result

    def failure_of(self, index: Index) -> str:
        """Return why a plane has no result."""
        return self._failures.get(index, _NOT_COMPUTED.format(kind=self._image.block_kind))

    def blocks(self) -> Iterator[BlockResult]:
        """Return all planes of the input with their estimates, in the units of the input.

        A plane that was not computed is zeros, as in the live layer, and has a failure that says
        so.
        """
        for index in self._image.indices():
            result = self.results.get(index)
            if result is not None:
                yield BlockResult(index, result.image, result)
            else:
                yield BlockResult(index, self._estimates[index], failure=self.failure_of(index))

    def kernels(self, plan: StackPlan) -> tuple[str, NDArray[np.float32]]:
        """Return the weights of all kernels, and the axes of that array; see `all_kernels`."""
        own = {index: result.kernel for index, result in self.results.items()}
        return all_kernels(self._image, plan.kernels, own)

    @property
    def findings(self) -> dict[Finding, FoundInPlanes]:
        """What was found in the input besides the scene, added up over its planes."""
        return added_up(result.findings for result in self.results.values())

    def warning_lines(self, index: Index) -> list[str]:
        """Return the warnings of all planes, each once, for a panel that shows one of the planes.

        Each line begins with the number of planes, and says whether the one shown is among them.
        """
        counts = Counter(flag for result in self.results.values() for flag in result.flags)
        shown = self.results.get(index)
        kind = self._image.block_kind
        lines = [] if shown else [f"This {kind} was not deconvolved: {self.failure_of(index)}"]
        for flag in QualityFlag:
            if flag in counts:
                also = ", also this one" if shown is not None and flag in shown.flags else ""
                planes = f"{counts[flag]} of {self._image.blocks} {kind}s{also}"
                lines.append(f"{planes}: {flag.sentence_of(kind)}")
        return lines
