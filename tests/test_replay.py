"""Repeating a computation on the device, and padding in its memory format."""

import pytest
import torch
from torch.nn.functional import pad

from napari_blind_deconv import Settings, deconvolve
from napari_blind_deconv.engine import double_dip, replay
from napari_blind_deconv.engine.devices import choose_device
from napari_blind_deconv.engine.replay import Replay, replay_stream
from napari_blind_deconv.numerics.reflection import reflected

DEVICE = choose_device("auto")
needs_cuda = pytest.mark.skipif(DEVICE.type != "cuda", reason="this machine has no CUDA device")


class TestReplay:
    def test_a_result_does_not_change_when_the_computation_is_repeated(self):
        state = torch.zeros(3, device=DEVICE)

        def count() -> tuple[torch.Tensor, ...]:
            state.add_(1)
            return (2 * state,)

        counted = Replay(count, replay_stream(DEVICE))
        results = [counted()[0] for _ in range(8)]
        assert [int(result[0]) for result in results] == [2, 4, 6, 8, 10, 12, 14, 16]

    def test_without_cuda_nothing_is_computed_ahead(self):
        calls: list[int] = []

        def work() -> tuple[torch.Tensor, ...]:
            calls.append(1)
            return ()

        computation = Replay(work, replay_stream(torch.device("cpu")))
        computation.start()
        assert not calls
        computation.result()
        assert len(calls) == 1

    @needs_cuda
    def test_a_recorded_fit_is_the_fit(self, small_scene, monkeypatch):
        settings = Settings.preset("paper-small").with_changes(
            max_iterations=25, learning_rate_milestones=(12,), channels=(8, 8), kernel_size=13
        )
        recorded = deconvolve(small_scene[1], settings).trace["loss"]
        monkeypatch.setattr(replay, "_WARM_UP", 100)
        computed = deconvolve(small_scene[1], settings).trace["loss"]
        assert recorded == pytest.approx(computed, rel=0.05)
        assert recorded[-1] < 0.7 * recorded[0]

    @needs_cuda
    def test_a_recorded_fit_goes_back_to_finite_weights(self, small_scene, monkeypatch):
        read = double_dip.DoubleDip._read
        calls: list[int] = []

        def faulty(self, evaluation):
            step, is_finite = read(self, evaluation)
            calls.append(1)
            return step, is_finite and len(calls) not in (15, 16)

        monkeypatch.setattr(double_dip.DoubleDip, "_read", faulty)
        settings = Settings.preset("paper-small").with_changes(max_iterations=25, kernel_size=13)
        result = deconvolve(small_scene[1], settings)
        assert result.slowed_at == 15
        loss = result.trace["loss"]
        # The weights of iteration 14 are evaluated again, and improved in small steps.
        assert loss[14] == pytest.approx(loss[13], rel=1e-3)
        assert loss[-1] < loss[14]


class TestReflection:
    @pytest.mark.parametrize("sides", [(5, 7), (2, 3), (4, 5, 6)])
    def test_it_is_the_padding_of_torch_with_its_gradient(self, sides):
        features = torch.rand(1, 3, *sides, dtype=torch.double, requires_grad=True)
        expected = pad(features, [1, 1] * len(sides), mode="reflect")
        assert torch.equal(reflected(features), expected)
        assert torch.autograd.gradcheck(reflected, (features,))

    def test_a_single_pixel_has_nothing_to_reflect(self):
        with pytest.raises(ValueError, match=r"at least 2 pixels along each axis .* got 1 × 5"):
            reflected(torch.zeros(1, 2, 1, 5))

    @pytest.mark.parametrize(
        ("sides", "layout"), [((5, 7), torch.channels_last), ((4, 5, 6), torch.channels_last_3d)]
    )
    def test_values_and_gradients_stay_channels_last(self, sides, layout):
        features = torch.rand(1, 3, *sides).to(memory_format=layout).requires_grad_()
        padded = reflected(features)
        assert padded.is_contiguous(memory_format=layout)
        weights = torch.rand(padded.shape).to(memory_format=layout)
        (gradient,) = torch.autograd.grad((padded * weights).sum(), features)
        assert gradient.is_contiguous(memory_format=layout)
