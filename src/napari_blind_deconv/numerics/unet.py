"""An untrained convolutional U-Net with skip connections, as in the caption of Fig. 17."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from napari_blind_deconv.numerics.reflection import reflected

__all__ = ["UNet"]


_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMALISATIONS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_UPSAMPLING = {2: "bilinear", 3: "trilinear"}


class _Reflection(nn.Module):
    """Padding for a convolution of size 3. Zeros would cause a dark rim at the border."""

    def forward(self, features: Tensor) -> Tensor:
        return reflected(features)


def _normalised_convolution(
    axes: int, inputs: int, outputs: int, size: Literal[1, 3], stride: int = 1
) -> list[nn.Module]:
    return [
        *([_Reflection()] if size == 3 else []),
        # The normalisation takes off the mean, and with it any bias.
        _CONVOLUTIONS[axes](inputs, outputs, size, stride=stride, bias=False),
        _NORMALISATIONS[axes](outputs),
        nn.LeakyReLU(0.2),
    ]


class _Scale(nn.Module):
    """One scale of the U-Net: downsample, skip and upsample blocks (caption of Fig. 17)."""

    def __init__(
        self,
        axes: int,
        inputs: int,
        channels: int,
        skip: int,
        deeper: nn.Module | None,
        deeper_channels: int,
    ) -> None:
        super().__init__()
        self.upsampling = _UPSAMPLING[axes]
        self.down = nn.Sequential(
            *_normalised_convolution(axes, inputs, channels, 3, stride=2),  # it downsamples
            *_normalised_convolution(axes, channels, channels, 3),
        )
        self.deeper = deeper
        self.skip = nn.Sequential(*_normalised_convolution(axes, inputs, skip, 1))
        self.up = nn.Sequential(
            _NORMALISATIONS[axes](skip + deeper_channels),
            *_normalised_convolution(axes, skip + deeper_channels, channels, 3),
            *_normalised_convolution(axes, channels, channels, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        coarse = self.down(features)
        if self.deeper is not None:
            coarse = self.deeper(coarse)
        # Upsampling to the size of the skip connection works for odd sides without padding.
        coarse = interpolate(coarse, size=features.shape[2:], mode=self.upsampling)
        merged: Tensor = self.up(torch.cat([self.skip(features), coarse], dim=1))
        return merged


class UNet(nn.Module):
    """U-Net whose output has the same sides as its input, odd or even.

    Parameters
    ----------
    axes : int
        Number of spatial axes: 2 for planes, 3 for volumes.
    inputs, outputs : int
        Number of input and output channels.
    channels : sequence of int
        Number of channels at each scale, finest first; one entry per scale, at least one.
    skip_channels : int
        Number of channels of the skip connections.

    Raises
    ------
    ValueError
        If `channels` is empty, or `axes` is neither 2 nor 3.
    """

    def __init__(
        self,
        axes: int,
        inputs: int,
        outputs: int,
        *,
        channels: Sequence[int],
        skip_channels: int,
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError("Expected the channels of at least one scale for the U-Net, got none.")
        if axes not in _CONVOLUTIONS:
            raise ValueError(f"Expected 2 or 3 spatial axes for the U-Net, got {axes}.")
        scale: nn.Module | None = None
        for level in reversed(range(len(channels))):
            entering = channels[level - 1] if level else inputs
            deeper_channels = channels[min(level + 1, len(channels) - 1)]
            scale = _Scale(axes, entering, channels[level], skip_channels, scale, deeper_channels)
        assert scale is not None
        self.scales = scale
        self.head = _CONVOLUTIONS[axes](channels[0], outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return unbounded values ``(batch, outputs, *space)`` in float32."""
        features = self.scales(features)
        # The head always computes in float32, because the eight bits of mantissa of bfloat16 would
        # show as steps. Autocast is only touched if it is in use: not all devices support it.
        half = features.dtype is not torch.float32
        with torch.autocast(features.device.type, enabled=False) if half else nullcontext():
            values: Tensor = self.head(features.float())
        return values
