"""The networks for image and kernel: shapes, ranges, gradients and fits."""

import pytest
import torch
from benchmarks.kernel_networks import ConvolutionalKernel, MlpKernel

from napari_blind_deconv.numerics.image_prior import ImagePrior
from napari_blind_deconv.numerics.kernel_prior import FixedKernel, Siren, fit_kernel
from napari_blind_deconv.numerics.optics import gaussian_kernel

NETWORK = {"channels": (8, 8, 8), "skip_channels": 4, "input_channels": 4}


@pytest.mark.parametrize("canvas", [(32, 32), (33, 47), (64, 21), (9, 32, 21)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_image_prior_fills_its_canvas_within_range(canvas, outputs):
    torch.manual_seed(0)
    prior = ImagePrior(canvas, outputs=outputs, ceiling=2.5, **NETWORK)
    image = prior()
    assert image.shape == (outputs, *canvas)
    assert image.dtype == torch.float32
    assert 0 <= image.min() < image.max() <= 2.5


@pytest.mark.parametrize("canvas", [(40, 40), (12, 20, 24)])
def test_image_prior_gets_finite_gradients_everywhere(canvas):
    torch.manual_seed(0)
    prior = ImagePrior(canvas, outputs=1, **NETWORK)
    prior().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in prior.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in prior.parameters())


@pytest.mark.parametrize("canvas", [(32, 32), (16, 16, 16)])
def test_image_prior_starts_from_a_given_image_and_can_leave_it(canvas):
    torch.manual_seed(0)
    start = torch.rand(1, *canvas).mul(1.5).add(0.1)
    prior = ImagePrior(canvas, outputs=1, ceiling=2.0, start=start, **NETWORK)
    assert torch.allclose(prior(), start, atol=1e-5)
    optimiser = torch.optim.Adam(prior.parameters(), lr=1e-2)
    for _ in range(30):
        optimiser.zero_grad()
        misfit = (prior() - 0.5 * start).square().mean()
        misfit.backward()
        optimiser.step()
    assert misfit < 0.25 * (0.5 * start).square().mean()


def test_image_prior_without_scales_is_refused():
    with pytest.raises(ValueError, match="at least one scale"):
        ImagePrior((32, 32), outputs=1, channels=(), skip_channels=4, input_channels=4)


def siren(shape: tuple[int, ...] = (15, 21)) -> Siren:
    torch.manual_seed(0)
    return Siren(shape, features=64, layers=2, frequency=30.0)


def mlp(shape: tuple[int, ...] = (15, 21)) -> MlpKernel:
    torch.manual_seed(0)
    return MlpKernel(shape, features=200, layers=1)


def convolutional(shape: tuple[int, ...] = (15, 21)) -> ConvolutionalKernel:
    torch.manual_seed(0)
    return ConvolutionalKernel(shape, features=16, scales=1)


every_network = pytest.mark.parametrize("network", [siren, mlp, convolutional])


@pytest.mark.parametrize("shape", [(15, 21), (7, 9, 11)])
@every_network
def test_kernel_is_non_negative_with_sum_one(network, shape):
    kernel = network(shape)()
    assert kernel.shape == shape
    assert (kernel >= 0).all()
    assert kernel.sum().item() == pytest.approx(1, abs=1e-5)


def test_kernel_starts_nearly_flat():
    kernel = siren()()
    assert kernel.max() < 1.5 * kernel.min()


@pytest.mark.parametrize(
    ("network", "shape", "sigma"),
    [
        (siren, (31, 31), 0.6),
        (siren, (31, 31), 4.0),
        (siren, (9, 11, 11), 2.0),
        (mlp, (31, 31), 2.0),
        (convolutional, (21, 21), 2.0),
    ],
)
def test_kernel_learns_a_gaussian(network, shape, sigma):
    prior = network(shape)
    target = torch.from_numpy(gaussian_kernel(shape, sigma))
    assert len(list(fit_kernel(prior, target, steps=600))) == 600
    error = (prior() - target).norm() / target.norm()
    assert error < 0.1


@every_network
def test_kernel_gradients_are_finite(network):
    prior = network()
    prior().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in prior.parameters() if p.grad is not None)


def test_a_fixed_kernel_has_no_parameters():
    kernel = torch.from_numpy(gaussian_kernel((5, 5), 1.0))
    prior = FixedKernel(kernel)
    assert not list(prior.parameters())
    assert torch.equal(prior(), kernel)
