"""Degradations of images for benchmarks and examples."""

import pytest
import torch

from napari_blind_deconv.numerics.degrade import (
    add_gaussian_noise,
    add_impulse_noise,
    expose,
    saturate,
)

GREY = torch.full((200, 200), 0.4)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_gaussian_noise_has_its_deviation():
    noise = add_gaussian_noise(GREY, sigma=0.05, generator=generator()) - GREY
    assert noise.std().item() == pytest.approx(0.05, rel=0.03)
    assert noise.mean().item() == pytest.approx(0, abs=1e-3)


def test_impulses_hit_their_share_of_pixels_and_half_are_white():
    noisy = add_impulse_noise(GREY, share=0.08, generator=generator())
    assert (noisy == 0).float().mean().item() == pytest.approx(0.04, abs=0.005)
    assert (noisy == 1).float().mean().item() == pytest.approx(0.04, abs=0.005)
    assert (noisy == 0.4).float().mean().item() == pytest.approx(0.92, abs=0.01)


def test_an_exposure_counts_photons():
    counts = expose(GREY, photons=100, background=0.1, read_noise=3, generator=generator())
    assert counts.mean().item() == pytest.approx(50, rel=0.01)
    assert counts.var().item() == pytest.approx(50 + 9, rel=0.03)


def test_saturation_ends_at_one():
    bright = saturate(torch.tensor([-0.1, 0.3, 0.9]), 2.0)
    torch.testing.assert_close(bright, torch.tensor([0.0, 0.6, 1.0]))
