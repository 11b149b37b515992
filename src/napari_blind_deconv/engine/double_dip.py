"""The stage ``double-dip``: two networks fitted together by Algorithm 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_blind_deconv.engine.devices import computes_bfloat16
from napari_blind_deconv.engine.kernel_networks import kernel_network
from napari_blind_deconv.engine.objective import Objective
from napari_blind_deconv.engine.problem import Problem
from napari_blind_deconv.engine.replay import Replay, replay_stream
from napari_blind_deconv.engine.solver import Step
from napari_blind_deconv.engine.wiener import Wiener, noise_to_signal_of
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.image_prior import ImagePrior
from napari_blind_deconv.numerics.kernel_prior import FixedKernel, fit_kernel
from napari_blind_deconv.reasons import StopReason
from napari_blind_deconv.results import Stage
from napari_blind_deconv.settings import ImageStart, Precision

__all__ = ["DoubleDip"]

# The coarsest scale of the image network keeps at least this many pixels per side.
_MIN_COARSEST_SIDE = 4
# Factor on the learning rates after an objective or a gradient was not finite.
_RATE_AFTER_FAILURE = 0.1
# By the number of axes of a block.
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
_random_lock = Lock()


class DoubleDip:
    """Solver that fits the image network and the kernel network together with Adam.

    Parameters
    ----------
    problem : Problem
    start : ndarray, optional
        Estimate ``(C, *problem.canvas_shape)`` that the image network corrects.

    Attributes
    ----------
    slowed_at : int or None
        Iteration at which the fit went back to its last finite weights; None if it never did.
    """

    stage = Stage.DOUBLE_DIP
    at_the_limit = StopReason.ITERATION_LIMIT
    converges = False

    def __init__(self, problem: Problem, start: NDArray[np.float32] | None = None) -> None:
        self.limit, self.window = problem.settings.max_iterations, problem.settings.window
        self.averaging = problem.settings.averaging
        self.slowed_at: int | None = None
        self._problem, self._device = problem, problem.device
        # The networks draw their weights from torch's global generator, which all threads share.
        # The lock keeps other runs out, and fork_rng restores the random state of the caller.
        with _random_lock, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(problem.settings.seed)
            self.kernel_prior = _kernel_prior(problem)
            self.image_prior = _image_prior(problem, self.kernel_prior, start)

    def prepare(self) -> Iterator[None]:
        """Fit the kernel network to the start of the kernel."""
        start = self._problem.kernel_start
        if not self._problem.is_held and start is not None:
            target = self._problem.on_device(start)
            yield from fit_kernel(self.kernel_prior.to(self._device), target)

    def _begin(self) -> None:
        """Move the networks to the device and set up the objective and Adam."""
        device, settings = self._device, self._problem.settings
        self.image_prior.to(device)
        self.kernel_prior.to(device)
        # The channels-last memory format halves the time of a convolution on a CPU. The type stubs
        # of torch lack this argument.
        memory_format = _CHANNELS_LAST[len(self._problem.window)]
        self.image_prior.to(memory_format=memory_format)  # type: ignore[call-overload]
        self.objective = Objective(self._problem)
        self.optimiser = _adam(
            {
                self.image_prior: settings.image_learning_rate,
                self.kernel_prior: settings.kernel_learning_rate,
            },
            device,
        )
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(
            self.optimiser, settings.learning_rate_milestones, gamma=0.5
        )
        self._half = settings.precision is Precision.AUTO and computes_bfloat16(device)
        self._good = [weights.detach().clone() for weights in self._weights()]
        stream = replay_stream(device)
        self._evaluation = Replay(self._compute, stream)
        self._update = Replay(self._descend, stream)
        self._evaluation.start()

    def step(self, iteration: int) -> Step:
        """Run one iteration of Adam on the objective of Eq. 21.

        If the objective or a gradient is not finite, it is computed once more. If it is still not
        finite, the fit returns to its last finite weights and continues at a tenth of its learning
        rates, at most once in a run; `slowed_at` is then the iteration.

        Raises
        ------
        FloatingPointError
            If the objective or a gradient is not finite after that.
        """
        if iteration == 1:
            self._begin()
        step, is_finite = self._read(self._evaluation.result())
        # Twice a fit became NaN and the same fit, run again, did not; the cause is not known.
        if not is_finite:
            step, is_finite = self._read(self._evaluation())
        if not is_finite and self.slowed_at is None:
            self._restore_and_slow_down()
            self.slowed_at = iteration
            step, is_finite = self._read(self._evaluation())
        if not is_finite:
            raise FloatingPointError(
                f"objective or gradients were not finite at iteration {iteration}"
            )
        self._update()
        self.schedule.step()
        self._evaluation.start()  # the GPU computes the next one while this one is judged
        return step

    def _read(self, evaluation: tuple[Tensor, ...]) -> tuple[Step, bool]:
        """Return the outputs of `_compute` as a step, and whether all gradients are finite, too."""
        canvas, kernel, measures = evaluation
        *terms, norm = measures.tolist()  # waits for the GPU, once in an iteration
        return Step(canvas, kernel, *terms), math.isfinite(terms[0]) and math.isfinite(norm)

    def _compute(self) -> tuple[Tensor, ...]:
        """Compute the estimates, the terms of the objective and its gradients.

        The third output holds the terms and the norm of all gradients.
        """
        autocast = (
            torch.autocast(self._device.type, torch.bfloat16) if self._half else nullcontext()
        )
        self.optimiser.zero_grad()
        with autocast:
            canvas = self.image_prior()
        kernel = self.kernel_prior()
        terms = self.objective.of(canvas, Convolution(kernel))
        terms.loss.backward()
        # This is torch's only public function for the norm of all gradients. A limit of infinity
        # clips nothing.
        norm = nn.utils.clip_grad_norm_(self._weights(), math.inf)
        return canvas.detach(), kernel.detach(), torch.stack([*terms, norm]).detach()

    def _descend(self) -> tuple[()]:
        """Save the weights, and change them by a step of Adam."""
        for good, weights in zip(self._good, self._weights(), strict=True):
            good.copy_(weights.detach())
        self.optimiser.step()
        return ()

    def _restore_and_slow_down(self) -> None:
        """Restore the last finite weights, reset Adam and lower the learning rates."""
        with torch.no_grad():
            for good, weights in zip(self._good, self._weights(), strict=True):
                weights.copy_(good)
            # In place, because a CUDA graph holds the addresses of these tensors.
            for state in self.optimiser.state.values():
                for moments in state.values():
                    moments.zero_()
            for group in self.optimiser.param_groups:
                group["lr"] *= _RATE_AFTER_FAILURE

    def _weights(self) -> list[nn.Parameter]:
        return [*self.image_prior.parameters(), *self.kernel_prior.parameters()]


def _adam(rates: Mapping[nn.Module, float], device: torch.device) -> torch.optim.Adam:
    """Return Adam for the weights of networks, each with its learning rate."""
    # A CUDA graph reads the learning rates from the memory of the GPU.
    on_gpu = device.type == "cuda"
    groups = [
        {
            "params": network.parameters(),
            "lr": torch.tensor(rate, device=device) if on_gpu else rate,
        }
        for network, rate in rates.items()
    ]
    return torch.optim.Adam(groups, fused=on_gpu or None, capturable=on_gpu)


def _image_prior(
    problem: Problem, kernel_prior: nn.Module, start: NDArray[np.float32] | None
) -> ImagePrior:
    settings = problem.settings
    if start is None and settings.image_start is ImageStart.WIENER:
        kernel = kernel_prior().detach().numpy()
        start = Wiener.solved(problem, kernel, noise_to_signal_of(problem, kernel)).canvas
    return ImagePrior(
        problem.canvas_shape,
        outputs=problem.observed.shape[0],
        channels=settings.channels[: _max_scales(problem.canvas_shape)],
        skip_channels=settings.skip_channels,
        input_channels=settings.input_channels,
        ceiling=1.0 + settings.headroom,
        start=None if start is None else torch.from_numpy(start),
    )


def _max_scales(shape: tuple[int, ...]) -> int:
    # Every scale halves the sides.
    return max(1, int(math.log2(min(shape) / _MIN_COARSEST_SIDE)))


def _kernel_prior(problem: Problem) -> nn.Module:
    if problem.is_held:
        assert problem.kernel_start is not None
        return FixedKernel(torch.from_numpy(problem.kernel_start))
    return kernel_network(problem.settings, problem.window)
