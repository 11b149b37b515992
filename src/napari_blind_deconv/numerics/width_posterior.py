"""A learned posterior of the width of the kernel, from made scenes only.

An image tells the width of its kernel through its power spectrum and the statistics of its
gradients, if one knows how scenes look. The posterior is predicted by small networks that were
trained on made scenes (``make kernel-model``): simulation-based inference, as reviewed by Cranmer,
Brehmer and Louppe, *The frontier of simulation-based inference*, PNAS 117 (2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_blind_deconv.numerics.spectrum import Spectrum
from napari_blind_deconv.numerics.width_features import MOST_PROBABLE, width_features

__all__ = ["LEVELS", "MODEL_FILE", "WidthModel", "WidthPosterior", "shipped_model"]

# Levels of |H|² at which the width is predicted: that of the Gaussian which falls to this level at
# the same frequency as the kernel. For a Gaussian kernel, all of them are its σ.
LEVELS = (0.75, 0.5, 0.25, 0.1, 0.03)
MODEL_FILE = "width_model.npz"


@dataclass(frozen=True, eq=False)
class WidthPosterior:
    """Mean and standard deviation of ln σ, with σ in pixels, for each of the levels.

    Attributes
    ----------
    means, deviations : ndarray
        Shape ``(len(LEVELS),)``.
    explained : float
        ln σ of the Gaussian that explains the spectrum best, a feature from which the posterior is
        predicted.
    """

    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    explained: float

    @classmethod
    def of(cls, image: NDArray[np.floating[Any]], spectrum: Spectrum) -> Self:
        """Predict the posterior for an image ``(H, W)`` with white noise, and its spectrum."""
        features = width_features(image, spectrum)
        means, deviations = shipped_model().predict(features)
        return cls(means, deviations, float(features[MOST_PROBABLE]))


@dataclass(frozen=True, eq=False)
class WidthModel:
    """An ensemble of small networks (multi-layer perceptrons).

    Attributes
    ----------
    centre, scale : ndarray
        Mean and deviation of each feature over the training scenes.
    layers : tuple
        For each layer, weights ``(members, inputs, outputs)`` and biases ``(members, 1, outputs)``.
    calibration : ndarray
        Factor for the deviation at each level, from scenes that were not trained on.
    reference : ndarray
        Features of the first training scene, which tell if the model fits the code that computes
        them.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    layers: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]
    calibration: NDArray[np.float64]
    reference: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a model written by :meth:`write`."""
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name].astype(np.float64) for name in stored.files}
        count = sum(name.startswith("weights") for name in arrays)
        layers = tuple((arrays[f"weights{i}"], arrays[f"biases{i}"]) for i in range(count))
        names = ("calibration", "reference")
        return cls(arrays["centre"], arrays["scale"], layers, *(arrays[name] for name in names))

    def write(self, path: Path) -> None:
        """Write the model in half precision."""
        names = ("centre", "scale", "calibration", "reference")
        arrays = {name: getattr(self, name) for name in names}
        for number, (weights, biases) in enumerate(self.layers):
            arrays |= {f"weights{number}": weights, f"biases{number}": biases}
        half = {
            name: array.astype(np.float16 if name.startswith("weights") else np.float32)
            for name, array in arrays.items()
        }
        np.savez_compressed(path, **half)

    def predict(
        self, features: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and deviation of ln σ ``(..., levels)`` for features ``(..., n)``."""
        flat = (features.reshape(-1, features.shape[-1]) - self.centre) / self.scale
        values = np.clip(flat, -_CLIP, _CLIP)[np.newaxis]
        for number, (weights, biases) in enumerate(self.layers):
            values = values @ weights + biases
            if number < len(self.layers) - 1:
                values = values / (1 + np.exp(-values))  # SiLU
        means, logarithms = np.split(values, 2, axis=-1)
        # The members form a mixture: its variance contains that of their means.
        variance = np.exp(2 * logarithms).mean(axis=0) + means.var(axis=0)
        shape = (*features.shape[:-1], means.shape[-1])
        deviations = np.sqrt(variance) * self.calibration
        return means.mean(axis=0).reshape(shape), deviations.reshape(shape)


_CLIP = 5.0  # deviations; features beyond were not seen in training


@cache
def shipped_model() -> WidthModel:
    """Return the model that is part of the package."""
    with as_file(files("napari_blind_deconv.numerics") / MODEL_FILE) as path:
        return WidthModel.read(path)
