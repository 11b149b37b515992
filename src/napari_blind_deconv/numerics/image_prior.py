"""The image prior: an untrained convolutional U-Net with skips (section 3.1.4, Fig. 17)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

__all__ = ["ImagePrior"]


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    # Reflection keeps the border of the canvas free of the dark rim that zero padding grows.
    return nn.Conv2d(
        inputs, outputs, size, stride=stride, padding=size // 2, padding_mode="reflect"
    )


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)]


class _Scale(nn.Module):
    """One scale of the U-Net: its downsample, skip and upsample blocks, after Fig. 17's caption."""

    def __init__(
        self, inputs: int, channels: int, skip: int, deeper: nn.Module | None, deeper_channels: int
    ) -> None:
        super().__init__()
        self.down = nn.Sequential(
            _convolution(inputs, channels, 3, stride=2),  # convolution and downsampling in one
            *_normalised(channels),
            _convolution(channels, channels, 3),
            *_normalised(channels),
        )
        self.deeper = deeper
        self.skip = nn.Sequential(_convolution(inputs, skip, 1), *_normalised(skip))
        self.up = nn.Sequential(
            nn.BatchNorm2d(skip + deeper_channels),
            _convolution(skip + deeper_channels, channels, 3),
            *_normalised(channels),
            _convolution(channels, channels, 1),
            *_normalised(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        coarse = self.down(features)
        if self.deeper is not None:
            coarse = self.deeper(coarse)
        # Upsampling to the skip's own size serves odd canvases without padding.
        coarse = interpolate(coarse, size=features.shape[-2:], mode="bilinear")
        merged: Tensor = self.up(torch.cat([self.skip(features), coarse], dim=1))
        return merged


class ImagePrior(nn.Module):
    """G_θx(z): fixed random input in, image canvas out, each pixel in ``[0, ceiling]``.

    Parameters
    ----------
    canvas_shape : tuple of int
        Rows and columns of the canvas, any parity.
    outputs : int
        Channels of the image: 1, or 3 for colour.
    channels : sequence of int
        Width of each scale, finest first; its length is the number of scales. Wider and deeper
        networks describe finer detail, cost more, and fit noise sooner.
    skip_channels : int
        Width of the skip connections; more let fine texture, and noise, through earlier.
    input_channels : int
        Channels of the fixed random input z, uniform in ``[0, 0.1]``.
    guide : Tensor, optional
        A picture on the canvas, shape ``(outputs, *canvas_shape)``, given to the network beside z.
        With the blurred image as guide the picture starts from it, not from nothing.
    ceiling : float
        Brightest value the sigmoid output is stretched to.
    """

    def __init__(
        self,
        canvas_shape: tuple[int, int],
        *,
        outputs: int,
        channels: Sequence[int],
        skip_channels: int,
        input_channels: int,
        ceiling: float = 1.0,
        guide: Tensor | None = None,
    ) -> None:
        super().__init__()
        z = 0.1 * torch.rand(1, input_channels, *canvas_shape)
        if guide is not None:
            z = torch.cat([z, guide[None]], dim=1)
        scale: nn.Module | None = None
        for level in reversed(range(len(channels))):
            inputs = channels[level - 1] if level else z.shape[1]
            deeper_channels = channels[min(level + 1, len(channels) - 1)]
            scale = _Scale(inputs, channels[level], skip_channels, scale, deeper_channels)
        if scale is None:
            raise ValueError("The image prior got no channels; it accepts at least one scale.")
        self.scales = scale
        self.head = _convolution(channels[0], outputs, 1)
        self.ceiling = ceiling
        self.z: Tensor
        self.register_buffer("z", z)

    def forward(self) -> Tensor:
        """Return the image canvas, shape ``(outputs, *canvas_shape)``, in float32."""
        features = self.scales(self.z)
        # Half precision, where it is used, ends here: eight bits of mantissa would show as steps.
        with torch.autocast(features.device.type, enabled=False):
            canvas: Tensor = self.ceiling * torch.sigmoid(self.head(features.float()))
        return canvas[0]
