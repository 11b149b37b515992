"""The image prior: an untrained convolutional U-Net with skips (section 3.1.4, Fig. 17)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from napari_blind_deconv.numerics.unet import UNet

__all__ = ["ImagePrior"]

# The sigmoid reaches neither end of its range; a start is kept this share of it away from them.
_LEAST_SHARE = 5e-4


class ImagePrior(nn.Module):
    """G_θx(z): fixed random input in, image canvas out, each pixel in ``(0, ceiling)``.

    Parameters
    ----------
    canvas_shape : tuple of int
        Sides of the canvas, two for a plane or three for a volume, any parity.
    outputs : int
        Channels of the image: 1, or 3 for colour.
    channels : sequence of int
        Width of each scale, finest first; its length is the number of scales. Wider and deeper
        networks describe finer detail, cost more, and fit noise sooner.
    skip_channels : int
        Width of the skip connections; more let fine texture, and noise, through earlier.
    input_channels : int
        Channels of the fixed random input z, uniform in ``[0, 0.1]``.
    ceiling : float
        Brightest value the sigmoid output is stretched to.
    start : Tensor, optional
        A first estimate on the canvas, shape ``(outputs, *canvas_shape)``. The network sees it
        beside z, and what it puts out is a correction to it, none at first.
    """

    def __init__(
        self,
        canvas_shape: tuple[int, ...],
        *,
        outputs: int,
        channels: Sequence[int],
        skip_channels: int,
        input_channels: int,
        ceiling: float = 1.0,
        start: Tensor | None = None,
    ) -> None:
        super().__init__()
        z = 0.1 * torch.rand(1, input_channels, *canvas_shape)
        if start is not None:
            z = torch.cat([z, start[None]], dim=1)
        self.network = UNet(
            len(canvas_shape), z.shape[1], outputs, channels=channels, skip_channels=skip_channels
        )
        self.start: Tensor | None
        self.register_buffer("start", None)
        if start is not None:
            share = (start / ceiling).clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)
            self.start = torch.logit(share)[None]  # with a batch axis, as features have
            for parameter in self.network.head.parameters():
                nn.init.zeros_(parameter)
        self.ceiling = ceiling
        self.z: Tensor
        self.register_buffer("z", z)

    def forward(self) -> Tensor:
        """Return the image canvas, shape ``(outputs, *canvas_shape)``, in float32."""
        values: Tensor = self.network(self.z)
        if self.start is not None:
            values = values + self.start
        return self.ceiling * torch.sigmoid(values[0])
