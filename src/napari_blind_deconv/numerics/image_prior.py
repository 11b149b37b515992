"""The image prior: an untrained convolutional U-Net with skips (section 3.1.4, Fig. 17)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from napari_blind_deconv.numerics.unet import UNet

__all__ = ["ImagePrior"]

# The sigmoid never reaches 0 or 1, where its logit is infinite. A starting estimate is clipped to
# this distance from both ends, as a fraction of `ceiling`.
_MARGIN = 5e-4


class ImagePrior(nn.Module):
    """G_θx(z): map a fixed random input z to an image canvas with pixels in ``(0, ceiling)``.

    Parameters
    ----------
    canvas_shape : tuple of int
        Sides of the canvas, two for a plane or three for a volume, odd or even.
    outputs : int
        Channels of the image: 1, or 3 for colour.
    channels : sequence of int
        Number of channels at each scale, finest first; one entry per scale. Wider and deeper
        networks describe finer detail, cost more, and fit noise sooner.
    skip_channels : int
        Channels of the skip connections. More channels pass fine texture, and noise, earlier.
    input_channels : int
        Channels of the fixed random input z, uniform in ``[0, 0.1]``.
    ceiling : float
        Upper limit of the output, by which the sigmoid is multiplied.
    start : Tensor, optional
        Starting estimate on the canvas, shape ``(outputs, *canvas_shape)``. The network receives it
        beside z and adds a correction to it, which is zero at first.
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
            fraction = (start / ceiling).clamp(_MARGIN, 1 - _MARGIN)
            self.start = torch.logit(fraction)[None]  # with a batch axis, as features have
            # A head of zeros makes the first output equal to the starting estimate.
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
