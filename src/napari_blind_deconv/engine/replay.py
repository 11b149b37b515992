"""Repeat a computation on a GPU without starting each of its parts from Python.

An iteration of the networks consists of about a thousand small computations. To start one of them
takes longer than a GPU needs to compute it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Replay", "replay_stream"]

# Calls before the recording, in which libraries choose their algorithms and allocate memory.
_WARM_UP = 3


def replay_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Return a stream for computations that depend on one another; None without CUDA."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


class Replay:
    """A computation that reads and writes the same tensors each time.

    With CUDA, the first three times it computes as usual. Then it is recorded as a CUDA graph,
    which is started as a whole from then on. Without CUDA, it computes as usual each time.

    Parameters
    ----------
    work : callable
        The computation, which returns a tuple of tensors. It must not wait for the device, and
        what it computes must not depend on the values of tensors.
    stream : torch.cuda.Stream or None
        Stream of :func:`replay_stream`.
    """

    def __init__(
        self, work: Callable[[], tuple[Tensor, ...]], stream: torch.cuda.Stream | None
    ) -> None:
        self._work, self._stream = work, stream
        self._graph: torch.cuda.CUDAGraph | None = None
        self._outputs: tuple[Tensor, ...] = ()
        self._starts = 0

    def start(self) -> None:
        """Start the computation and do not wait for it. Without CUDA, `result` computes."""
        if self._stream is None:
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        self._starts += 1
        if self._starts <= _WARM_UP:
            with torch.cuda.stream(self._stream):
                self._outputs = self._work()
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # Other threads, such as that of the viewer, may use the GPU during the recording.
            mode = "thread_local"
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode=mode):
                self._outputs = self._work()
        with torch.cuda.stream(self._stream):
            self._graph.replay()

    def result(self) -> tuple[Tensor, ...]:
        """Return the outputs of the last start, which a later one does not change."""
        if self._stream is None:
            return self._work()
        torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)
        return tuple(output.clone() for output in self._outputs)

    def __call__(self) -> tuple[Tensor, ...]:
        """Start the computation and return its outputs."""
        self.start()
        return self.result()
