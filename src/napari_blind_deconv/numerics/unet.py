"""An untrained convolutional U-Net with skips, with the blocks of Fig. 17's caption."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

__all__ = ["UNet"]


_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_NORMALISATIONS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_UPSAMPLING = {2: "bilinear", 3: "trilinear"}


def _convolution(axes: int, inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Module:
    # Reflection keeps the border of the canvas free of the dark rim that zero padding grows. Of one
    # pixel, a convolution needs no border; torch would copy its input even so.
    mode: Literal["reflect", "zeros"] = "reflect" if size > 1 else "zeros"
    return _CONVOLUTIONS[axes](
        inputs, outputs, size, stride=stride, padding=size // 2, padding_mode=mode
    )


def _normalised(axes: int, channels: int) -> list[nn.Module]:
    return [_NORMALISATIONS[axes](channels), nn.LeakyReLU(0.2)]


class _Scale(nn.Module):
    """One scale of the U-Net: its downsample, skip and upsample blocks, after Fig. 17's caption."""

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
            _convolution(axes, inputs, channels, 3, stride=2),  # and downsampling in one
            *_normalised(axes, channels),
            _convolution(axes, channels, channels, 3),
            *_normalised(axes, channels),
        )
        self.deeper = deeper
        self.skip = nn.Sequential(_convolution(axes, inputs, skip, 1), *_normalised(axes, skip))
        self.up = nn.Sequential(
            _NORMALISATIONS[axes](skip + deeper_channels),
            _convolution(axes, skip + deeper_channels, channels, 3),
            *_normalised(axes, channels),
            _convolution(axes, channels, channels, 1),
            *_normalised(axes, channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        coarse = self.down(features)
        if self.deeper is not None:
            coarse = self.deeper(coarse)
        # Upsampling to the skip's own size serves odd canvases without padding.
        coarse = interpolate(coarse, size=features.shape[2:], mode=self.upsampling)
        merged: Tensor = self.up(torch.cat([self.skip(features), coarse], dim=1))
        return merged


class UNet(nn.Module):
    """Features in, as many output channels as wanted, same sides, any parity.

    Parameters
    ----------
    axes : int
        Of space: 2 for planes, 3 for volumes.
    inputs, outputs : int
        Channels in and out.
    channels : sequence of int
        Width of each scale, finest first; its length is the number of scales, at least one.
    skip_channels : int
        Width of the skip connections.
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
            raise ValueError("The U-Net got no channels; it accepts at least one scale.")
        if axes not in _CONVOLUTIONS:
            raise ValueError(f"The U-Net got {axes} axes of space; expected 2 or 3.")
        scale: nn.Module | None = None
        for level in reversed(range(len(channels))):
            entering = channels[level - 1] if level else inputs
            deeper_channels = channels[min(level + 1, len(channels) - 1)]
            scale = _Scale(axes, entering, channels[level], skip_channels, scale, deeper_channels)
        assert scale is not None
        self.scales = scale
        self.head = _convolution(axes, channels[0], outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(batch, outputs, *space)`` in float32, not yet bounded."""
        features = self.scales(features)
        # Half precision, where it is used, ends here: eight bits of mantissa would show as steps.
        # Not all devices know of autocast, so it is asked of only where it is in use.
        half = features.dtype is not torch.float32
        with torch.autocast(features.device.type, enabled=False) if half else nullcontext():
            values: Tensor = self.head(features.float())
        return values
