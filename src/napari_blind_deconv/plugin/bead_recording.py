"""The image of beads in a layer: what is read of it, and the layers of the PSF measured on it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from napari.components import Dims
from napari.layers import Image, Points
from numpy.typing import NDArray

from napari_blind_deconv.bead_psf import BeadPsf, diameter_in_unit, psf_from_beads
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.image import Image as ImageData
from napari_blind_deconv.plugin.axes import stack_axes
from napari_blind_deconv.plugin.colours import BLUE, ORANGE
from napari_blind_deconv.plugin.geometry import LayerGeometry
from napari_blind_deconv.plugin.input_part import InputPart
from napari_blind_deconv.plugin.layer_array import full_data
from napari_blind_deconv.plugin.layers import LayerData, layer_metadata, psf_layer
from napari_blind_deconv.plugin.viewing import converted_points

__all__ = ["BeadRecording"]

_RING = 3.0  # diameter of the ring around a bead, in FWHM of the PSF
_MIN_RING = 8.0  # pixels


@dataclass(frozen=True, eq=False)
class BeadRecording:
    """A copy of the beads in a layer, which may be changed or deleted while they are measured.

    Attributes
    ----------
    geometry : LayerGeometry
        Position of the beads.
    image : Image
        Plane or volume with the beads.
    positions : ndarray or None
        Beads to use, one row each, in pixels of the image; None for all that fit.
    diameter : float or None
        Diameter of the beads in the unit of the image; None if it is not corrected.
    """

    geometry: LayerGeometry
    image: ImageData
    positions: NDArray[np.float64] | None = None
    diameter: float | None = None

    @classmethod
    def of(
        cls, layer: Image, block: BlockKind, dims: Dims, picked: Points | None, diameter: float
    ) -> Self:
        """Read the beads in a layer.

        Parameters
        ----------
        layer : Image
            Layer with the beads: one plane, or one volume.
        block : BlockKind
            Whether the PSF is that of a plane or of a volume.
        dims : Dims
            Dimensions of the viewer.
        picked : Points or None
            Layer with the beads to use, wherever it lies; None for all that fit.
        diameter : float
            Diameter of the beads in µm; 0 if it is not corrected.

        Raises
        ------
        ValueError, TypeError
            If the layer is not one such block, or if nothing is picked, or if the pixel size is
            needed and not known.
        """
        _check_axes(layer, block)
        geometry, image = InputPart(layer, dims, block).read()
        positions = None
        if picked is not None:
            if not len(picked.data):
                raise ValueError(
                    f"Expected points on the beads in {picked.name}, got none; add some, or choose "
                    "no layer of picked beads."
                )
            places = converted_points(np.asarray(picked.data), picked, layer, dims)
            positions = places[:, list(geometry.block_axes)]
        return cls(geometry, image, positions, diameter_in_unit(image, diameter or None))

    def measure(self) -> Generator[None, None, BeadPsf]:
        """Measure the PSF, in a thread; raise `ValueError` if no bead can be used."""
        yield
        return psf_from_beads(self.image, positions=self.positions, bead_diameter=self.diameter)

    def layers(self, measured: BeadPsf) -> tuple[LayerData, LayerData]:
        """Return the layers of the PSF, which lies beside the beads, and of rings around these."""
        metadata = layer_metadata(
            self.geometry,
            record={
                "psf_from_beads": self.geometry.name,
                "fwhm": list(measured.fwhm),
                "fwhm_deviation": list(measured.fwhm_deviation),
                "unit": measured.unit,
                "bead_diameter": self.diameter,
                "beads": len(measured.used),
                "left_out": measured.left_out,
            },
        )
        name = f"PSF of {self.geometry.name}"
        return (
            psf_layer(self.geometry, measured.kernel.weights, name, metadata),
            self._rings(measured, metadata),
        )

    def central(self, measured: BeadPsf) -> NDArray[np.float64]:
        """Return the position in the layer of a used bead, in the plane with most of them."""
        places = np.array([bead.position for bead in measured.used])
        planes = (
            np.round(places[:, 0]) if self.geometry.depth is not None else np.zeros(len(places))
        )
        _, first, counts = np.unique(planes, return_index=True, return_counts=True)
        return self.geometry.embed_points(places)[first[counts.argmax()]]

    def _rings(self, measured: BeadPsf, metadata: dict[str, Any]) -> LayerData:
        beads = measured.beads
        reasons = np.array([str(bead.left_out or "") for bead in beads])
        across = np.median([bead.fwhm[-2:] for bead in measured.used])
        size = max(_RING * across, _MIN_RING)
        arguments = {
            "name": f"beads found in {self.geometry.name}",
            "features": {
                "left out": reasons,
                "brightness": [bead.brightness for bead in beads],
            },
            "size": size,
            "face_color": "transparent",
            "border_color": np.where(reasons == "", BLUE, ORANGE),
            "text": {
                "string": "{left out}",
                "color": ORANGE,
                "size": 8,
                "anchor": "upper_left",
                "translation": self.geometry.embed_points(np.array([[0, size / 2]]))[0],
            },
            "metadata": metadata,
            **self.geometry.layer_arguments(),
        }
        places = np.array([bead.position for bead in beads])
        return self.geometry.embed_points(places), arguments, "points"


def _check_axes(layer: Image, block: BlockKind) -> None:
    """Raise `ValueError` if a layer is not one plane, or one volume."""
    shape = full_data(layer).shape
    letters, wanted = stack_axes(layer), "ZYX" if block is BlockKind.VOLUME else "YX"
    sides = dict(zip(letters, shape, strict=True))
    others = [side for letter, side in sides.items() if letter not in wanted]
    if layer.rgb or not sides.keys() >= set(wanted) or max(others, default=1) > 1:
        raise ValueError(
            f"Expected a layer of beads with a single grey {block.with_its_axes}, as for the image "
            f"to deconvolve, got {layer.name} with the axes {letters} and the shape {shape}."
        )
