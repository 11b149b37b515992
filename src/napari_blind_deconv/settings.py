"""The settings of a run: default, bounds, unit and help text of each, defined once.

The panel in napari, the command line and the documentation all read them from here.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from napari_blind_deconv.optics import MicroscopeKind, Optics
from napari_blind_deconv.presets import PRESET_HELP, PRESETS

__all__ = [
    "DEVICE_NAMES",
    "KERNEL_NETWORKS",
    "MAX_STRENGTH",
    "MIN_STRENGTH",
    "PRESET_HELP",
    "DataTerm",
    "ImageStart",
    "Location",
    "MicroscopeName",
    "Precision",
    "Regulariser",
    "Settings",
    "SparsityScale",
]


DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")
MIN_STRENGTH, MAX_STRENGTH = 0.7, 1.5
# Untrained networks that can represent the kernel. Each name maps to a function that builds the
# network from the settings and the kernel window. Others can be registered, as the benchmarks do.
KERNEL_NETWORKS = {"siren": "napari_blind_deconv.engine.kernel_networks:siren"}


class DataTerm(StrEnum):
    """The measure of the difference between the re-blurred estimate and the image."""

    HUBER = "huber"  # Eq. 18: outliers count linearly, not with their square
    SQUARED = "squared"  # mean squared error, as in SelfDeblur


class Regulariser(StrEnum):
    """The penalty on the gradients of the estimate."""

    RATIO = "l1/l2"  # Eq. 19: favours few, strong gradients at any contrast
    L1 = "l1"  # mean |∇x|, anisotropic total variation: favours few or weak gradients


class SparsityScale(StrEnum):
    """The unit of λ, the weight of the sparse-gradient term."""

    PUBLISHED = "published"  # λ ‖∇x‖₁/‖∇x‖₂ with plain sums, Eq. 19: grows with the image side
    PIXELS = "pixels"  # the ratio is divided by √pixels, so that it does not depend on image size
    NOISE = "noise"  # as `pixels`, and multiplied by the noise estimated from the image


class ImageStart(StrEnum):
    """The starting point of the image network."""

    WIENER = "wiener"
    RANDOM = "random"


class SolverName(StrEnum):
    """The solver that gives the result."""

    AUTO = "auto"  # all stages that the image needs
    WIENER = "wiener"  # the linear estimate
    LOG_GAUSSIAN = "log-gaussian"  # the linear estimate, then positivity and noise by pixel
    RICHARDSON_LUCY = "richardson-lucy"  # Richardson-Lucy with a given PSF


class MicroscopeName(StrEnum):
    """The kind of microscope whose kernel is searched for in a volume."""

    AUTO = "auto"  # the kind that the file states, or else any
    WIDEFIELD = MicroscopeKind.WIDEFIELD.value
    CONFOCAL = MicroscopeKind.CONFOCAL.value
    LIGHT_SHEET = MicroscopeKind.LIGHT_SHEET.value


class Location(StrEnum):
    """How the field of view is located on the estimated canvas."""

    SIMILARITY = "similarity"  # section 3.1.6: the part most like the input, with a centred kernel
    CENTRE = "centre"  # the middle of the canvas, with the kernel unchanged, as in SelfDeblur


class Precision(StrEnum):
    """Precision of the image network; kernel, convolution and objective always use float32."""

    FLOAT32 = "float32"
    AUTO = "auto"  # bfloat16 where the processor supports it natively


def _odd(size: int) -> int:
    """Return the size, plus one if it is even, because a kernel needs a central pixel."""
    return size + 1 - size % 2


def _known_device(name: str) -> str:
    kind, colon, index = name.partition(":")
    if kind not in DEVICE_NAMES or (colon and not (kind == "cuda" and index.isdecimal())):
        raise ValueError(f"expected {', '.join(DEVICE_NAMES)}, or cuda:N for GPU number N")
    return name


def _known_network(name: str) -> str:
    if name not in KERNEL_NETWORKS:
        raise ValueError(f"expected {', '.join(KERNEL_NETWORKS)}")
    return name


KernelSide = Annotated[int, Field(ge=3, le=4096), AfterValidator(_odd)]
Width = Annotated[int, Field(ge=1, le=1024)]


class Settings(BaseModel):
    """All settings of a deconvolution, in one immutable object.

    Build one from a preset with ``Settings.preset("fast")``, and derive a changed copy with
    :meth:`with_changes`. A value out of bounds raises a `ValueError` with one sentence.

    Examples
    --------
    >>> Settings.preset("fast").with_changes(max_iterations=100).max_iterations
    100
    """

    # The docstring below each field is its help text in the panel and in the reference. A field
    # with a "group" begins a group of fields, which both list under this heading.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kernel_size: KernelSide | tuple[KernelSide, KernelSide] | None = Field(
        None, title="Kernel size", json_schema_extra={"group": "Kernel", "unit": "px"}
    )
    """Window in which the kernel is estimated, in pixels: one side, or (rows, columns). Even sides
    are rounded up to odd ones. The window must hold the complete kernel and can safely be larger.
    Larger windows find wider blur and take longer. None: half the image, but at most the automatic
    kernel limit."""

    kernel_size_limit: KernelSide | None = Field(
        81, title="Automatic kernel limit", json_schema_extra={"unit": "px"}
    )
    """Largest kernel window that is chosen automatically, in pixels. Raising it finds wider blur
    and takes longer: the run time grows with the square of the sum of image side and window side.
    None: half the image, as published."""

    kernel_start: Literal["auto", "flat"] | Annotated[float, Field(gt=0, le=100)] = Field(
        "auto", title="Kernel start σ", json_schema_extra={"unit": "px"}
    )
    """Kernel from which the run starts. `auto`: the kernel that explains the power spectrum of the
    image best (no blur, a round or elliptic Gaussian, linear motion, or elongated), or a kernel of
    any shape if it makes the edges sparser. A number: a Gaussian with this standard deviation in
    pixels; raising it starts from more blur. `flat`: the nearly flat kernel of the untrained
    network, as published."""

    microscope: MicroscopeName = Field(MicroscopeName.AUTO, title="Microscope")
    """Kind of microscope that made a volume whose kernel is found; not used with a PSF, nor for
    planes. `auto`: the kind that the file states, or else the one that explains the volume best,
    which is often a wrong one if the volume is noisy. `widefield`, `confocal`, `light-sheet`: only
    kernels of this kind are compared."""

    strength: float = Field(1.0, ge=MIN_STRENGTH, le=MAX_STRENGTH, title="Strength")
    """How many times as wide as the kernel found or given the kernel is that is used. Raising it
    gives a sharper result and, beyond what is right, rings around edges; lowering it gives a
    softer one. The reported kernel stays as it is. With another strength than 1, the networks,
    which would undo it, are left out."""

    max_iterations: int = Field(
        150, ge=1, le=100_000, title="Iterations", json_schema_extra={"group": "Noise and stopping"}
    )
    """Maximum number of iterations. Raising it takes longer, and can give a sharper result only if
    the run would otherwise end at this limit."""

    stop_at_noise: bool = Field(True, title="Stop at the noise")
    """Stop when the re-blurred estimate matches the image to within its noise. Only noise is left
    then, and further iterations would add it to the result. If off, the run continues, as
    published."""

    early_stopping: bool = Field(True, title="Early stopping")
    """Keep the estimate with the smallest windowed variance. If off, the run keeps the estimate of
    its last iteration, including the noise it has fitted; `stop_at_noise` can still end it
    earlier."""

    window: int = Field(25, ge=2, le=1000, title="Early-stopping window")
    """Number W of successive estimates over which the windowed moving variance is computed. Raising
    it makes early stopping steadier and later."""

    patience: int = Field(50, ge=1, le=100_000, title="Early-stopping patience")
    """Number P of iterations without a smaller variance after which the run stops and keeps the
    estimate with the smallest one. Raising it lets the run continue through a temporary rise of the
    variance, but makes every run that much longer."""

    solver: SolverName = Field(
        SolverName.AUTO, title="Solver", json_schema_extra={"group": "Method"}
    )
    """Method that gives the result. `auto`: the linear estimate, then the log-gaussian one where
    noise limits it, then double-DIP where more than noise is left. `wiener`: always the linear
    estimate, that of a Wiener filter. `log-gaussian`: from there to the most probable positive
    image, given how the noise grows with brightness and how much detail each area has; in volumes,
    `auto` and `log-gaussian` start from a few Richardson-Lucy iterations instead.
    `richardson-lucy`: only such iterations, which need a given PSF."""

    sparsity: float = Field(0.01, ge=0, le=100, allow_inf_nan=False, title="Sparsity λ")
    """Weight of the sparse-gradient term. Raising it gives flatter areas, cleaner edges and a wider
    kernel. Too high a value makes the result look like a cartoon; too low a value lets the kernel
    shrink to a point."""

    sparsity_scale: SparsityScale = Field(SparsityScale.NOISE, title="Unit of λ")
    """Unit of λ. `noise`: λ is multiplied by the noise estimated from the image and does not depend
    on the image size, so that one λ suits most images. `pixels`: λ does not depend on the image
    size. `published`: plain sums as in the paper, where each image size needs its own λ. The `l1`
    term is always a mean over pixels."""

    regulariser: Regulariser = Field(Regulariser.RATIO, title="Sparse-gradient term")
    """Penalty on gradients. `l1/l2` favours few, strong edges at any contrast. `l1` (total
    variation) also lowers contrast, and lets the kernel shrink to a point if the image is noisy."""

    data_term: DataTerm = Field(DataTerm.HUBER, title="Data term")
    """Measure of the difference between the re-blurred estimate and the image. `huber` gives less
    weight to outliers such as hot and saturated pixels; `squared` fits outliers as well."""

    huber_delta: float = Field(0.05, gt=0, le=1, title="Huber δ")
    """Difference beyond which the Huber data term treats a pixel as an outlier, as a fraction of
    the intensity range. Raising it fits hot and saturated pixels more closely; lowering it ignores
    them more."""

    averaging: float = Field(0.9, ge=0, lt=1, title="Averaging")
    """Weight of past estimates in the running average that is shown and kept; 0 keeps the single
    estimate, as published. Raising it removes flicker and then some of the noise, but lags behind
    an estimate that is still getting sharper."""

    location: Location = Field(Location.SIMILARITY, title="Location")
    """How the result is cut out of the canvas, the area of the estimate, which is larger than the
    image. `similarity` takes the part that resembles the image most, and centres the kernel.
    `centre` takes the middle of the canvas, which loses part of the scene if the kernel has moved
    off its centre."""

    image_start: ImageStart = Field(
        ImageStart.WIENER, title="Image start", json_schema_extra={"group": "Networks"}
    )
    """Estimate from which the image network starts. `wiener`: the estimate of the stages before,
    which begin with a Wiener filter; the network then corrects it. `random`, as published: the
    output of the untrained network, from which the estimate emerges over hundreds of iterations."""

    headroom: float = Field(1.0, ge=0, le=100, title="Headroom")
    """How far the estimate of the networks can exceed the brightest pixel of the image, as a
    fraction of the intensity range. Small objects are brighter before they are blurred. Raising it
    lets them become brighter; 0 (as published) flattens beads. Other estimates have no limit."""

    image_learning_rate: float = Field(1e-2, gt=0, le=1, title="Image learning rate")
    """Learning rate of the image network. Raising it sharpens in fewer iterations and fits noise
    sooner."""

    kernel_learning_rate: float = Field(3e-4, gt=0, le=1, title="Kernel learning rate")
    """Learning rate of the kernel network. Raising it lets the kernel change sooner from the one it
    started from. If it is too high, the kernel changes faster than the estimate and collapses."""

    learning_rate_milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (2000, 3000, 5000, 8000), title="Learning rates halve at"
    )
    """Iterations at which both learning rates are halved. Later milestones keep the learning rates
    high for longer, so that the fit changes more and settles later."""

    channels: tuple[Width, ...] = Field(
        (16, 32, 64, 64, 64), min_length=1, max_length=8, title="Network widths"
    )
    """Channels (feature maps, not colours) of the image network at each scale, finest first. More
    channels give more detail, take longer and fit noise sooner."""

    skip_channels: Width = Field(16, title="Skip channels")
    """Channels of the skip connection at each scale. More channels pass more fine texture, and more
    noise."""

    input_channels: Width = Field(8, title="Input channels")
    """Channels of the fixed random input of the image network. More channels take a little
    longer."""

    kernel_network: Annotated[str, AfterValidator(_known_network)] = Field(
        "siren", title="Kernel network"
    )
    """Network that represents the kernel. `siren`: a network of sines over coordinates, as
    published. Others can be registered, as the benchmarks do to compare them."""

    kernel_features: Width = Field(128, title="Kernel network width")
    """Units in each layer of the kernel network. More units describe more intricate kernels."""

    kernel_layers: int = Field(2, ge=1, le=8, title="Kernel network layers")
    """Hidden layers of the kernel network, or scales of a convolutional kernel network. More layers
    describe more intricate kernels."""

    kernel_frequency: float = Field(30.0, gt=0, le=1000, title="Kernel frequency ω₀")
    """Frequency of the first sine layer of the kernel network. Raising it allows finer detail in
    the kernel and lets the kernel break up sooner."""

    precision: Precision = Field(
        Precision.AUTO, title="Precision", json_schema_extra={"group": "Computing"}
    )
    """Arithmetic of the image network. `auto` uses bfloat16 where the processor supports it
    natively, which is faster and gives an equally sharp result. `float32` is the published
    arithmetic."""

    device: Annotated[str, AfterValidator(_known_device)] = Field("auto", title="Device")
    """Device that computes the result. `auto` uses a CUDA GPU if there is one, otherwise an Apple
    GPU, otherwise the CPU. Or choose `cpu`, `cuda`, `cuda:1` (the second GPU) or `mps`."""

    seed: int = Field(0, ge=0, lt=2**63, title="Seed")
    """Seed of the random numbers with which the networks start. On the CPU, the same image,
    settings, seed and machine give exactly the same result. Another seed gives another, equally
    valid, result, unless the run ends before the networks, which alone use random numbers."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ValueError(_sentence(error)) from None

    @classmethod
    def preset(cls, name: str) -> Self:
        """Return the settings of a preset; raise `ValueError` for an unknown name."""
        if name not in PRESETS:
            known = ", ".join(repr(known) for known in PRESETS)
            raise ValueError(f"There is no preset {name!r}; presets are {known}.")
        return cls(**PRESETS[name])

    @classmethod
    def presets(cls) -> dict[str, Self]:
        """Return the presets that are offered to users, by name, the default first."""
        return {name: cls.preset(name) for name in PRESET_HELP}

    @classmethod
    def groups(cls) -> dict[str, list[str]]:
        """Return the names of the settings by the heading of their group, in order."""
        groups: dict[str, list[str]] = {}
        for name, field in cls.model_fields.items():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and "group" in extra:
                names = groups[str(extra["group"])] = []
            names.append(name)
        return groups

    def microscope_with(self, optics: Optics) -> MicroscopeKind | None:
        """Return the kind of microscope that is stated here, or else in the optics of an image."""
        if self.microscope is MicroscopeName.AUTO:
            return optics.microscope
        return MicroscopeKind(self.microscope)

    def with_changes(self, **changes: Any) -> Self:
        """Return a copy with some values changed; the new values are validated."""
        return type(self)(**{**self.model_dump(), **changes})

    def changes_from(self, other: Settings) -> dict[str, Any]:
        """Return the values that differ from those of `other`, ready for JSON."""
        other_values = other.model_dump(mode="json")
        values = self.model_dump(mode="json")
        return {name: value for name, value in values.items() if value != other_values[name]}

    def with_texts(self, assignments: list[str]) -> Self:
        """Return a copy changed by texts such as ``"sparsity=0.02"`` or ``"channels=[16, 32]"``.

        Values are read as JSON; ``None`` and any other text are accepted as well.
        """
        changes = {}
        for text in assignments:
            name, equals, value = text.partition("=")
            if not equals:
                raise ValueError(f"Expected a setting written as name=value, got {text!r}.")
            try:
                changes[name.strip()] = None if value.strip() == "None" else json.loads(value)
            except json.JSONDecodeError:
                changes[name.strip()] = value.strip()
        return self.with_changes(**changes)


def _sentence(error: ValidationError) -> str:
    """Return the first error of pydantic as one readable sentence."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] == "extra_forbidden":
        known = ", ".join(Settings.model_fields)
        return f"There is no setting {name!r}; settings are {known}."
    message = first["msg"].removeprefix("Value error, ")
    reason = message[0].lower() + message[1:]
    return f"The setting {name!r} got {first['input']!r}; {reason}."
