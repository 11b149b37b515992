"""Every setting of a run, once: its default, bounds, unit and help.

The form in napari, the command line and the documentation all read them from here.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from napari_blind_deconv.presets import PRESET_HELP, PRESETS

__all__ = [
    "DEVICE_NAMES",
    "KERNEL_NETWORKS",
    "PRESET_HELP",
    "DataTerm",
    "ImageStart",
    "Location",
    "Precision",
    "Regulariser",
    "Settings",
    "SparsityScale",
]


DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")
# Untrained networks that may stand for the kernel: their names, and the functions of settings and
# window that make them. Others may be added, as the benchmarks do.
KERNEL_NETWORKS = {"siren": "napari_blind_deconv.engine.kernel_networks:siren"}


class DataTerm(StrEnum):
    """How the misfit between the re-blurred estimate and the image is counted."""

    HUBER = "huber"  # Eq. 18: outliers pull linearly only
    SQUARED = "squared"  # mean squared error, as SelfDeblur


class Regulariser(StrEnum):
    """What is asked of the picture's gradients."""

    RATIO = "l1/l2"  # Eq. 19: few and strong, at any contrast
    L1 = "l1"  # mean |∇x|, anisotropic total variation: few or weak


class SparsityScale(StrEnum):
    """What λ, the weight of the sparse-gradient term, is counted in."""

    PUBLISHED = "published"  # λ ‖∇x‖₁/‖∇x‖₂ with plain sums, Eq. 19: grows with the image's side
    PIXELS = "pixels"  # λ on that ratio divided by √pixels, which no image size alters
    NOISE = "noise"  # the same, times the noise found in the image


class ImageStart(StrEnum):
    """What the picture starts from."""

    WIENER = "wiener"
    RANDOM = "random"


class SolverName(StrEnum):
    """Where the pipeline ends."""

    AUTO = "auto"  # with double-DIP, unless the linear estimate leaves only noise
    WIENER = "wiener"  # with the linear estimate
    RICHARDSON_LUCY = "richardson-lucy"  # with its iterations, for a PSF that is given


class Location(StrEnum):
    """How the field of view is found on the canvas that was estimated."""

    SIMILARITY = "similarity"  # 3.1.6: where it resembles the input, kernel centred with it
    CENTRE = "centre"  # the middle of the canvas, kernel as it is, as SelfDeblur


class Precision(StrEnum):
    """Arithmetic of the image network; the kernel, the blur and the objective stay in float32."""

    FLOAT32 = "float32"
    AUTO = "auto"  # bfloat16 where the processor computes in it natively


def _odd(size: int) -> int:
    """Kernels have a central pixel: an even size is taken one larger."""
    return size + 1 - size % 2


def _known_device(name: str) -> str:
    kind, colon, index = name.partition(":")
    if kind not in DEVICE_NAMES or (colon and not (kind == "cuda" and index.isdecimal())):
        raise ValueError(f"accepted are {', '.join(DEVICE_NAMES)} and cuda:N, the GPU of number N")
    return name


def _known_network(name: str) -> str:
    if name not in KERNEL_NETWORKS:
        raise ValueError(f"accepted are {', '.join(KERNEL_NETWORKS)}")
    return name


KernelSide = Annotated[int, Field(ge=3, le=4096), AfterValidator(_odd)]
Width = Annotated[int, Field(ge=1, le=1024)]


class Settings(BaseModel):
    """What a run of the deconvolution does, all in one immutable object.

    Build one from a preset with ``Settings.preset("fast")``, change it with
    :meth:`with_changes`. A value out of bounds raises a `ValueError` of one sentence.

    Examples
    --------
    >>> Settings.preset("fast").with_changes(max_iterations=100).max_iterations
    100
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kernel_size: KernelSide | tuple[KernelSide, KernelSide] | None = Field(
        None, title="Kernel size", json_schema_extra={"unit": "px"}
    )
    """Window the kernel is estimated in: one side or (rows, columns), in pixels; an even side is
    taken one larger. It must hold the whole blur and may well be larger. None: half the image, but
    at most the automatic limit."""

    kernel_size_limit: KernelSide | None = Field(
        81, title="Automatic kernel limit", json_schema_extra={"unit": "px"}
    )
    """Largest window chosen automatically, in pixels. None: half the image, as published. Larger
    windows find wider blur and cost time with the square of image side plus window."""

    solver: SolverName = Field(SolverName.AUTO, title="Solver")
    """Where the run ends. `auto`: with double-DIP, unless the linear estimate explains the image
    down to its noise; `wiener`: with the linear estimate, in seconds, whatever it leaves;
    `richardson-lucy`: with its iterations, for a PSF that is given."""

    max_iterations: int = Field(150, ge=1, le=100_000, title="Iterations")
    """Most steps of the fit. More sharpen further until early stopping finds the noise coming
    in."""

    sparsity: float = Field(0.01, ge=0, le=100, allow_inf_nan=False, title="Sparsity λ")
    """Weight of the sparse-gradient term. Raising it gives flatter areas, cleaner edges
    and a wider kernel; too much draws cartoons, too little lets the kernel shrink to a point."""

    sparsity_scale: SparsityScale = Field(SparsityScale.NOISE, title="λ counted in")
    """Unit of λ. `noise`: multiplied by the noise found in the image, and independent of the
    image's size. `pixels`: independent of size only. `published`: the plain sums of the paper,
    where one λ suits one size. The `l1` term is always a mean over pixels."""

    regulariser: Regulariser = Field(Regulariser.RATIO, title="Sparse-gradient term")
    """`l1/l2` asks for few, strong edges at any contrast; `l1` (total variation) also lowers
    contrast and lets the kernel shrink to a point under noise."""

    data_term: DataTerm = Field(DataTerm.HUBER, title="Misfit")
    """`huber` discounts outliers such as hot and saturated pixels; `squared` fits them too."""

    huber_delta: float = Field(0.05, gt=0, le=1, title="Huber δ")
    """Misfit, as a share of the intensity range, beyond which a pixel counts as an outlier and
    pulls linearly only. Lower ignores hot and saturated pixels more."""

    image_learning_rate: float = Field(1e-2, gt=0, le=1, title="Image learning rate")
    """Step of the image network. Higher sharpens in fewer iterations and fits noise sooner."""

    kernel_learning_rate: float = Field(3e-4, gt=0, le=1, title="Kernel learning rate")
    """Step of the kernel network. Higher lets the kernel leave its start sooner; too high, it
    outruns the image and collapses."""

    learning_rate_milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (2000, 3000, 5000, 8000), title="Learning rates halve at"
    )
    """Iterations at which both learning rates are halved; later means longer, coarser search."""

    window: int = Field(25, ge=2, le=1000, title="Early-stopping window")
    """Pictures W over which the windowed moving variance is taken. Longer is steadier and
    later."""

    early_stopping: bool = Field(True, title="Early stopping")
    """Keep the picture of the least windowed variance. Off, the run goes on to its last iteration
    and keeps that picture, noise and all."""

    stop_at_noise: bool = Field(True, title="Stop at the noise")
    """Stop where the estimate explains the image down to its noise: what is left is noise, and
    going on would draw it into the picture. Off, as published."""

    patience: int = Field(50, ge=1, le=100_000, title="Early-stopping patience")
    """Iterations P without a lower variance after which the run stops and keeps the picture of the
    lowest. Longer survives passing bumps and costs those iterations."""

    kernel_start: Literal["auto", "flat"] | Annotated[float, Field(gt=0, le=100)] = Field(
        "auto", title="Kernel start σ", json_schema_extra={"unit": "px"}
    )
    """What the kernel network starts from. `auto`: the kernel that explains the image's spectrum
    best, of none, a Gaussian, a straight drift and an ellipse, or one of any shape if it makes the
    edges sparser; a number: a Gaussian of this standard deviation in pixels; `flat`: the network's
    own, nearly flat start, as published."""

    location: Location = Field(Location.SIMILARITY, title="Location")
    """`similarity` puts picture and kernel where the picture resembles the input most; `centre`
    takes the middle of the canvas, which loses part of the scene when the kernel has drifted."""

    headroom: float = Field(1.0, ge=0, le=100, title="Headroom")
    """How far the estimate may rise above the brightest input, as a share of the input's range.
    Sharp points are brighter than their blur, so that 0 (as published) flattens beads."""

    averaging: float = Field(0.9, ge=0, lt=1, title="Averaging")
    """Weight of the past in the running average of the pictures that is shown and kept; 0 keeps the
    single picture, as published. Raising it removes the flicker of the steps and then some of the
    noise, but lags behind a picture that is still sharpening."""

    channels: tuple[Width, ...] = Field(
        (16, 32, 64, 64, 64), min_length=1, max_length=8, title="Network widths"
    )
    """Channels of the image network at each scale, finest first. Wider draws more detail, takes
    longer and fits noise sooner."""

    skip_channels: Width = Field(16, title="Skip channels")
    """Channels that bypass each scale. More let fine texture through, and noise with it."""

    input_channels: Width = Field(8, title="Input channels")
    """Channels of the fixed random picture the image network starts from."""

    image_start: ImageStart = Field(ImageStart.WIENER, title="Image start")
    """What the image network starts from. `wiener`: the linear estimate that goes with the
    kernel's start, which the network then corrects; `random`, as published: nothing, and the
    picture emerges in hundreds of iterations."""

    kernel_network: Annotated[str, AfterValidator(_known_network)] = Field(
        "siren", title="Kernel network"
    )
    """`siren`: a network of sines over coordinates, as published. Others can be registered, as the
    benchmarks do to compare."""

    kernel_features: Width = Field(128, title="Kernel network width")
    """Units in each layer of the kernel network. More describe more intricate motion."""

    kernel_layers: int = Field(2, ge=1, le=8, title="Kernel network layers")
    """Hidden layers of the kernel network, or scales of a convolutional one."""

    kernel_frequency: float = Field(30.0, gt=0, le=1000, title="Kernel frequency ω₀")
    """Frequency of the kernel network's first sines. Higher draws finer kernels and lets them
    fall apart sooner."""

    precision: Precision = Field(Precision.AUTO, title="Arithmetic")
    """`auto` runs the image network in bfloat16 where the processor does so natively, which is
    faster and no blurrier; `float32` is the published arithmetic."""

    device: Annotated[str, AfterValidator(_known_device)] = Field("auto", title="Device")
    """What computes. `auto` takes a CUDA GPU, else Apple's, else the processor; or `cpu`, `cuda`,
    `cuda:1` (the second GPU), `mps`."""

    seed: int = Field(0, ge=0, lt=2**63, title="Seed")
    """Start of the random numbers that the networks begin with. Same input, settings and machine on
    the CPU: the same bits. Another seed gives another, equally valid, estimate."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_sentence(error)) from None

    @classmethod
    def preset(cls, name: str) -> Self:
        """Settings of a named preset; `ValueError` for a name that is not one."""
        if name not in PRESETS:
            known = ", ".join(repr(known) for known in PRESETS)
            raise ValueError(f"There is no preset {name!r}; presets are {known}.")
        return cls(**PRESETS[name])

    @classmethod
    def presets(cls) -> dict[str, Self]:
        """The presets for use by name, the default first."""
        return {name: cls.preset(name) for name in PRESET_HELP}

    def with_changes(self, **changes: Any) -> Self:
        """A copy with some values changed, checked like new ones."""
        return type(self)(**{**self.model_dump(), **changes})

    def changes_from(self, other: Settings) -> dict[str, Any]:
        """What differs from other settings, ready for JSON."""
        theirs = other.model_dump(mode="json")
        ours = self.model_dump(mode="json")
        return {name: value for name, value in ours.items() if value != theirs[name]}

    def with_texts(self, assignments: list[str]) -> Self:
        """A copy changed by texts such as ``"sparsity=0.02"`` or ``"channels=[16, 32]"``."""
        changes = {}
        for text in assignments:
            name, equals, value = text.partition("=")
            if not equals:
                raise ValueError(f"Got the setting {text!r}; settings are written as name=value.")
            try:
                changes[name.strip()] = None if value.strip() == "None" else json.loads(value)
            except json.JSONDecodeError:
                changes[name.strip()] = value.strip()
        return self.with_changes(**changes)


def _sentence(error: ValidationError) -> str:
    """The first complaint of pydantic, as one sentence for a person."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] == "extra_forbidden":
        known = ", ".join(Settings.model_fields)
        return f"There is no setting {name!r}; settings are {known}."
    text = first["msg"].removeprefix("Value error, ")
    complaint = text[0].lower() + text[1:]
    return f"The setting {name!r} got {first['input']!r}; {complaint}."
