"""Plant faults in a copy of the package, one at a time, and check that the tests detect them.

Run this by hand from the root of the repository::

    python -m tests.planted_faults                # all faults, about ten minutes on two cores
    python -m tests.planted_faults retries ramp   # faults whose names contain one of these words
    python -m tests.planted_faults --list

Each fault changes one or two lines, and breaks a promise of the README or the documentation. It is
killed if a test in one of its test files fails. The exit code is the number of faults that survive.
`test_planted_faults.py` checks that every fault fits the current source.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests import guard

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src") / "napari_blind_deconv"
COPIED = (
    "src",
    "tests",
    "benchmarks",
    "training",
    "docs",
    "README.md",
    "CHANGELOG.md",
    "pyproject.toml",
)


@dataclass(frozen=True)
class Fault:
    """A change of the source that at least one test must detect.

    Attributes
    ----------
    name : str
        The behaviour that is broken.
    file : str
        Path in the package.
    line : str
        Text that the file contains exactly once.
    fault : str
        Text that replaces it.
    tests : str
        Test files that must detect the fault, without ``test_`` and ``.py``.
    """

    name: str
    file: str
    line: str
    fault: str
    tests: str

    def plant(self, root: Path) -> None:
        """Change the copy of the package in `root`."""
        path = root / PACKAGE / self.file
        source = path.read_text(encoding="utf-8")
        if source.count(self.line) != 1:
            raise ValueError(f"Expected {self.line!r} once in {self.file}: {self.name}.")
        path.write_text(source.replace(self.line, self.fault), encoding="utf-8")


FAULTS = (
    # the log-gaussian estimate
    Fault(
        "log-gaussian: every pixel has the same noise",
        "numerics/local_model.py",
        "np.square(camera.deviation(blurred)",
        "np.square(camera.deviation(np.full_like(blurred, blurred.mean()))",
        "log_gaussian",
    ),
    Fault(
        "log-gaussian: nothing is darker than the image",
        "numerics/local_model.py",
        "darkest = min(float(observed.min()), darkest)",
        "darkest = float(observed.min())",
        "log_gaussian",
    ),
    Fault(
        "log-gaussian: noise is taken for darkness",
        "numerics/local_model.py",
        "return darkest + min(max(blurred - darkest, 0) / 2, _DARKEST_NOISE * noise)",
        "return darkest",
        "log_gaussian",
    ),
    Fault(
        "log-gaussian: the scene is as bright as its blur",
        "numerics/local_model.py",
        "return darkest + min(max(blurred - darkest, 0) / 2, _DARKEST_NOISE * noise)",
        "return max(blurred, darkest)",
        "log_gaussian",
    ),
    Fault(
        "log-gaussian: detail is equally strong everywhere",
        "numerics/local_model.py",
        "amplitude=local_amplitude(linear, reach, steps),",
        "amplitude=np.ones_like(linear),",
        "log_gaussian",
    ),
    Fault(
        "trace: the stages before are forgotten",
        "engine/solver.py",
        "np.concatenate([earlier, ",
        "np.concatenate([",
        "engine",
    ),
    # intensity
    Fault(
        "flux: an estimate is not scaled to the mean of the input",
        "engine/problem.py",
        "if not converges:",
        "if False:",
        "engine",
    ),
    Fault(
        "range: only that of the first plane",
        "engine/channel_statistics.py",
        "return min(plane.low for plane in self.planes), max(plane.high for plane in self.planes)",
        "return self.planes[0].low, self.planes[0].high",
        "stacks",
    ),
    Fault(
        "hot pixels set the range",
        "numerics/intensity.py",
        "robust = median if np.ptp(median) > 0 else channels",
        "robust = channels",
        "engine",
    ),
    Fault(
        "hot pixels are taken for signal",
        "numerics/pixel_faults.py",
        "faults[hot] = PixelFault.HOT",
        "faults[hot] = PixelFault.NONE",
        "engine pixel_faults",
    ),
    Fault(
        "luminance of a colour image is its first channel",
        "engine/problem.py",
        "return self.observed.mean(axis=0)",
        "return self.observed[0]",
        "engine",
    ),
    # pixels that are no image
    Fault(
        "areas without data are taken for image",
        "numerics/pixel_faults.py",
        "faults[flat] = PixelFault.FLAT",
        "faults[flat] = PixelFault.NONE",
        "pixel_faults inspection",
    ),
    Fault(
        "clipped backgrounds are left out",
        "numerics/flat_areas.py",
        "np.abs(inside - outside) > _STEP_RATIO * following + least",
        "np.abs(inside - outside) > 0 * following",
        "pixel_faults",
    ),
    Fault(
        "noise is measured where an image was clipped",
        "numerics/pixel_faults.py",
        "used = differences > 0",
        "used = differences >= 0",
        "pixel_faults",
    ),
    Fault(
        "noise is measured in filled pixels",
        "numerics/pixel_faults.py",
        "used &= valid[..., 1:] & valid[..., :-1]",
        "pass",
        "pixel_faults",
    ),
    Fault(
        "a hot pixel in a corner is kept",
        "numerics/pixel_faults.py",
        'np.pad(values, 2, mode="reflect")',
        'np.pad(values, 2, mode="symmetric")',
        "pixel_faults",
    ),
    Fault(
        "the brightest pixels of few photons are saturated",
        "numerics/pixel_faults.py",
        "_TOP_SHARE * (highest - lowest), below.max())",
        "_TOP_SHARE * (highest - lowest), np.inf)",
        "pixel_faults",
    ),
    Fault(
        "a saturated pixel is made darker",
        "engine/inspection.py",
        "brighter = np.fmax(estimate, given)",
        "brighter = estimate",
        "inspection",
    ),
    Fault(
        "pixels that are no image are replaced",
        "engine/inspection.py",
        "np.where(np.isin(self.faults, _KEPT), given, with_limit)",
        "with_limit",
        "inspection",
    ),
    Fault(
        "the mask of the user is forgotten",
        "engine/inspection.py",
        "faults[masked] = PixelFault.MASKED",
        "pass",
        "inspection",
    ),
    Fault(
        "values under a mask change what is found",
        "engine/inspection.py",
        "channel if masked is None else np.where(masked, np.nan, channel)",
        "channel",
        "inspection",
    ),
    Fault(
        "the linear estimate explains masked pixels",
        "numerics/wiener.py",
        "adjoint(weights * blurred_change)",
        "adjoint(blurred_change)",
        "wiener",
    ),
    Fault(
        "Richardson-Lucy explains masked pixels",
        "numerics/richardson_lucy.py",
        "quotient(canvas, convolution, light).mul_(weights)",
        "quotient(canvas, convolution, light)",
        "richardson_lucy",
    ),
    Fault(
        "the networks explain masked pixels",
        "engine/objective.py",
        "residual = residual * self._valid[part]",
        "pass",
        "inspection",
    ),
    Fault(
        "the flux of masked pixels counts",
        "engine/problem.py",
        "keepdims=True, where=valid)",
        "keepdims=True)",
        "engine",
    ),
    Fault(
        "masked pixels are judged",
        "engine/quality.py",
        "residual[~valid] = np.nan",
        "pass",
        "inspection",
    ),
    # what the noise looks like
    Fault(
        "offsets of rows are taken for offsets of columns",
        "engine/inspection.py",
        "np.expand_dims(offsets, 1 - axis)",
        "np.expand_dims(offsets, 0)",
        "inspection",
    ),
    Fault(
        "offsets are found in photographs",
        "numerics/line_offsets.py",
        "high > _MIN_POWER * noise_variance and high > _MIN_WHITENESS * medium",
        "high > _MIN_POWER * noise_variance",
        "line_offsets",
    ),
    Fault(
        "photographs count as filtered",
        "numerics/noise_shape.py",
        "if trend > _MIN_TREND and dependence < _MAX_CORRELATIONS:",
        "if trend > _MIN_TREND:",
        "noise_shape",
    ),
    Fault(
        "patches with masked pixels count",
        "numerics/noise_shape.py",
        "patches = patches[_patches(valid).all(axis=(1, 2))]",
        "pass",
        "noise_shape",
    ),
    Fault(
        "filtered noise is measured where nothing is recorded",
        "numerics/noise_shape.py",
        "return power > _EMPTY * float(self.spectrum[_band(*_LOWER)].max())",
        "return power > 0",
        "noise_shape",
    ),
    # repeated pixels
    Fault(
        "repeated pixels are not recognised",
        "engine/sampling.py",
        "factor = math.gcd(*np.diff(changes).tolist()) if len(changes) > 1 else 1",
        "factor = 1",
        "sampling",
    ),
    Fault(
        "the size of the samples is that of the pixels",
        "engine/sampling.py",
        "spacing[axis] *= factor",
        "spacing[axis] *= 1",
        "sampling",
    ),
    Fault(
        "a given PSF is used on the grid of the samples",
        "engine/sampling.py",
        "return None if is_given else SampledGrid.of(block)",
        "return SampledGrid.of(block)",
        "sampling",
    ),
    # the forward model and the kernel
    Fault(
        "convolution correlates",
        "numerics/convolution.py",
        "_product(real_transform(canvas, shape), self._transfer(shape))",
        "_product(real_transform(canvas, shape), self._transfer(shape).conj())",
        "convolution",
    ),
    Fault(
        "field of view: one pixel off",
        "numerics/convolution.py",
        "[slice(k - 1, n) for k, n",
        "[slice(k - 2, n - 1) for k, n",
        "convolution",
    ),
    Fault(
        "kernel: an even side loses its centre",
        "kernel.py",
        "[(0, 1 - side % 2) for side in array.shape]",
        "[(1 - side % 2, 0) for side in array.shape]",
        "engine",
    ),
    Fault(
        "a PSF of another pixel size is not resampled",
        "psf.py",
        "if np.allclose(old, pixel_size, rtol=_PIXEL_SIZE_TOLERANCE, atol=0):",
        "if True:",
        "engine kernel_form recorded_psf",
    ),
    Fault(
        "PSF: the focus moves the wrong way",
        "numerics/pupil.py",
        "travel = self._immersion_thickness - np.asarray(heights, np.float64)",
        "travel = self._immersion_thickness + np.asarray(heights, np.float64)",
        "microscope_psf",
    ),
    Fault(
        "PSF: too few nodes for the phase in the pupil",
        "numerics/pupil.py",
        "_NODES_PER_RADIAN = 0.6",
        "_NODES_PER_RADIAN = 0.1",
        "microscope_psf",
    ),
    Fault(
        "PSF: the pinhole is twice as large",
        "numerics/microscope.py",
        "* 1.22 * self.emission.lateral_period",
        "* 2.44 * self.emission.lateral_period",
        "microscope_psf",
    ),
    Fault(
        "PSF: the wings are taken for a background",
        "numerics/recorded_psf.py",
        "return is_background and float(np.quantile(rim, _LOW)) > _FLATNESS * level",
        "return is_background",
        "recorded_psf",
    ),
    Fault(
        "beads: a neighbour does not matter",
        "numerics/beads.py",
        "near = (offsets < distance).all(axis=1)",
        "near = np.zeros(len(beads), bool)",
        "beads",
    ),
    Fault(
        "beads: averaged without their fractions of a pixel",
        "numerics/beads.py",
        "ndimage.shift(light, nearest - np.array(bead.position), order=3",
        "ndimage.shift(light, 0 * nearest, order=3",
        "beads",
    ),
    Fault(
        "a kernel off its centre shifts the estimate",
        "engine/problem.py",
        "moved_back(estimate, [-c for c in self.centroid])",
        "moved_back(estimate, [0.0 for _ in self.centroid])",
        "engine",
    ),
    Fault(
        "the estimate is not recentred",
        "engine/problem.py",
        "image, weights = recentre(estimate, weights, reference)",
        "image = crop_to_field_of_view(estimate, self.window)",
        "engine location contracts",
    ),
    Fault(
        "Richardson-Lucy forgets the border",
        "numerics/richardson_lucy.py",
        "return ratio.mul_(canvas).div_(seen).clamp_(min=0)",
        "return ratio.mul_(canvas).clamp_(min=0)",
        "richardson_lucy",
    ),
    # stacks and tiles
    Fault(
        "posterior: its width is not used",
        "numerics/kernel_search.py",
        "sigma = math.sqrt(along * math.exp(mean))",
        "sigma = along",
        "width_posterior",
    ),
    Fault(
        "ellipse: its angle is mirrored",
        "numerics/anisotropy.py",
        "angle = -math.degrees(",
        "angle = math.degrees(",
        "anisotropy",
    ),
    Fault(
        "shape: searched for in every image",
        "numerics/kernel_search.py",
        "    if not anisotropy.is_ellipse:\n",
        "    if True:\n",
        "kernel_search",
    ),
    Fault(
        "ellipse: texture counts as blur",
        "numerics/anisotropy.py",
        "evidence = (without - with_blur) / dispersion",
        "evidence = sectors.misfit(_NONE, _NONE) - with_blur",
        "anisotropy",
    ),
    Fault(
        "ellipse: periodic texture counts as blur",
        "numerics/anisotropy.py",
        "evidence = (without - with_blur) / dispersion",
        "evidence = without - with_blur",
        "anisotropy",
    ),
    Fault(
        "orientation: flips are not undone",
        "numerics/orientation.py",
        "return np.ascontiguousarray(turned[::rows, ::columns])",
        "return np.ascontiguousarray(turned)",
        "anisotropy",
    ),
    Fault(
        "search: the kernel of a flipped image is not flipped back",
        "numerics/kernel_search.py",
        "return kernel.with_weights(orientation.undone(kernel.weights))",
        "return kernel",
        "kernel_search",
    ),
    Fault(
        "posterior: the noise does not enter the features",
        "numerics/width_features.py",
        "spectrum.power / spectrum.noise_power",
        "spectrum.power",
        "width_posterior",
    ),
    Fault(
        "posterior: members count as one",
        "numerics/width_posterior.py",
        "variance = np.exp(2 * logarithms).mean(axis=0) + means.var(axis=0)",
        "variance = np.exp(2 * logarithms).mean(axis=0) * 0 + 1e-9",
        "width_posterior",
    ),
    Fault(
        "reference: the least sharp plane",
        "engine/channel_statistics.py",
        "key=lambda plane: plane.information, reverse=True)",
        "key=lambda plane: plane.information)",
        "stacks",
    ),
    Fault(
        "a failed plane is lost",
        "engine/blocks.py",
        "pixels = block.array.astype(np.float32)",
        "pixels = np.zeros(block.array.shape, np.float32)",
        "stacks",
    ),
    Fault(
        "warm start: planes with a kernel take all iterations",
        "plan.py",
        "WARM_START_DIVISOR = 5",
        "WARM_START_DIVISOR = 1",
        "stacks",
    ),
    Fault(
        "tiles: networks take a plane of any size",
        "engine/problem.py",
        "return side is not None and math.prod(self.observed.shape[1:]) > side**2",
        "return False",
        "stacks",
    ),
    Fault(
        "tiles: the rest of a plane is shown as its input",
        "engine/planes.py",
        "estimate = error.image",
        "pass",
        "stacks",
    ),
    Fault(
        "tiles: half the overlap",
        "engine/tiled.py",
        "_OVERLAP_IN_KERNELS = 1.5",
        "_OVERLAP_IN_KERNELS = 0.75",
        "stacks",
    ),
    Fault(
        "tiles: the ramp is reversed",
        "engine/tiles.py",
        "        weights *= rising\n",
        "        weights *= rising[::-1]\n",
        "stacks",
    ),
    Fault(
        "tiles: Richardson-Lucy takes as many iterations as a tile wants",
        "engine/tiled.py",
        "            task = _with_equal_iterations(task, results[0])\n",
        "",
        "volume_tiles",
    ),
    Fault(
        "tiles: each tile has its own intensity range",
        "engine/planes.py",
        "requested, task = task, with_shared_range(task, inspection)",
        "requested = task",
        "stacks",
    ),
    Fault(
        "previews of a large plane show only a part",
        "engine/planes.py",
        "region = yield from _fit_region_of(task, inspection, RunControl(control.should_stop))",
        "region = yield from _fit_region_of(task, inspection, control)",
        "stacks",
    ),
    Fault(
        "cluster: no retries",
        "engine/cluster.py",
        "_RETRIES = 2",
        "_RETRIES = 0",
        "cluster",
    ),
    Fault(
        "cluster: a plane fails because of its neighbour",
        "engine/blocks.py",
        "yield from submit(indices, suspects)",
        "yield from submit(indices, None)",
        "cluster",
    ),
    Fault(
        "cluster: a run without workers waits for ever",
        "engine/cluster.py",
        "- self._empty_since > _SECONDS_WITHOUT_WORKERS",
        "- self._empty_since > 1e9",
        "cluster",
    ),
    # the run
    Fault(
        "noise: a run continues beyond it",
        "engine/problem.py",
        "factor * data <= self.noise**2",
        "factor * data <= 0.5 * self.noise**2",
        "engine",
    ),
    Fault(
        "early stopping keeps the last estimate",
        "engine/best_estimate.py",
        "if self.stopping.update(iteration, monitored) or math.isnan(monitored):",
        "if self.stopping.update(iteration, monitored) or True:",
        "engine",
    ),
    Fault(
        "patience: one additional iteration",
        "numerics/stopping.py",
        "- self.best_iteration >= self.patience",
        "- self.best_iteration > self.patience",
        "stopping engine",
    ),
    Fault(
        "stop: a run ignores the request",
        "engine/solver.py",
        "        if control.should_stop():\n            reason",
        "        if False:\n            reason",
        "engine",
    ),
    Fault(
        "seed: ignored",
        "engine/double_dip.py",
        "manual_seed(problem.settings.seed)",
        "manual_seed(0)",
        "engine",
    ),
    Fault(
        "random numbers of the caller are used up",
        "engine/double_dip.py",
        "with _random_lock, torch.random.fork_rng(devices=[]):",
        "with _random_lock:",
        "engine",
    ),
    # the quality of a result
    Fault(
        "misfit: a residual of fifteen times the noise is accepted",
        "engine/quality.py",
        "_MAX_RESIDUAL_LEVEL = 1.5",
        "_MAX_RESIDUAL_LEVEL = 15.0",
        "trust",
    ),
    Fault(
        "misfit: the residual may have any structure",
        "engine/quality.py",
        "_MAX_RESIDUAL_CORRELATION = 0.4",
        "_MAX_RESIDUAL_CORRELATION = 4.0",
        "trust",
    ),
    Fault(
        "no blur is not reported",
        "engine/quality.py",
        "no_blur: source is KernelSource.NO_BLUR and reason is not StopReason.STOPPED,",
        "no_blur: False,",
        "engine",
    ),
    Fault(
        "a kernel cut off by its window is not reported",
        "engine/quality.py",
        "_MAX_BORDER_SHARE = 0.02",
        "_MAX_BORDER_SHARE = 0.9",
        "engine",
    ),
    Fault(
        "low signal is not reported",
        "engine/quality.py",
        "_MIN_SIGNAL_TO_NOISE = 1.0",
        "_MIN_SIGNAL_TO_NOISE = 0.1",
        "trust",
    ),
    # the strength
    Fault(
        "strength: the kernel that is reported is scaled",
        "engine/problem.py",
        "        if self.settings.strength == 1 and not self.is_volume:\n",
        "        if True:\n",
        "strength",
    ),
    Fault(
        "strength: a kernel off its centre moves the estimate",
        "engine/problem.py",
        "moved = tuple(self.settings.strength * c for c in centroid)",
        "moved = centroid",
        "strength",
    ),
    Fault(
        "strength: a window grows beyond the image",
        "engine/problem.py",
        "min(side, max(given, length - 1 | 1))",
        "side",
        "strength",
    ),
    Fault(
        "strength: the residual is that of the kernel that is reported",
        "engine/quality.py",
        "kernel.scaled(strength).weights",
        "centred",
        "strength",
    ),
    Fault(
        "strength: tiles are judged without it",
        "engine/tiled.py",
        "strength=longest.settings.strength,",
        "strength=1.0,",
        "strength",
    ),
    Fault(
        "strength: the kernel of planes is found without networks",
        "engine/planes.py",
        "settings = task.settings.with_changes(strength=1.0)",
        "settings = task.settings",
        "strength",
    ),
    Fault(
        "strength: networks undo it",
        "engine/stages.py",
        "        if settings.strength != 1:\n",
        "        if False:\n",
        "strength",
    ),
    Fault(
        "strength: the root of a kernel is not squared again",
        "kernel.py",
        "squares = np.square(wide.clip(0))",
        "squares = np.abs(wide)",
        "kernel",
    ),
    Fault(
        "strength: the preview of an older strength stays",
        "plugin/strength_preview.py",
        "        if self._strength is not None:\n",
        "        if False:\n",
        "strength_panel",
    ),
    Fault(
        "strength: a preview that comes late is shown",
        "plugin/strength_preview.py",
        "        if tile is not self._tile:\n",
        "        if False:\n",
        "strength_panel",
    ),
    Fault(
        "strength: the preview of another plane stays",
        "plugin/result_panel.py",
        "        self.strength.refresh()\n        self.left_out",
        "        self.left_out",
        "strength_panel",
    ),
    # files
    Fault(
        "TIFF: minutes between frames are taken for seconds",
        "io/tiff_metadata.py",
        'in_unit(imagej.get("finterval"), str(imagej.get("tunit", "s")), "s")',
        'in_unit(imagej.get("finterval"), "s", "s")',
        "jobs",
    ),
    Fault(
        "OME-TIFF: the step in Z keeps its number and loses its unit",
        "io/tiff_metadata.py",
        'str(pixels.get(f"PhysicalSize{axis}Unit", "µm")),',
        "unit,",
        "jobs",
    ),
    Fault(
        "OME-TIFF: names of channels are lost",
        "io/tiff_output.py",
        'metadata["Channel"] = {"Name": list(layout.channels)}',
        "pass",
        "jobs",
    ),
    Fault(
        "TIFF: the pixel size is lost",
        "io/tiff_output.py",
        '"resolution": tuple(one / layout.spacing[axis] for axis in "XY"),',
        '"resolution": (1, 1),',
        "jobs cli",
    ),
    Fault(
        "TIFF: four channels are taken for RGB with alpha",
        "io/tiff.py",
        "colours = 3 if page.photometric in _COLOUR and count >= 3 else 1",
        "colours = 3 if count >= 3 else 1",
        "metadata",
    ),
    Fault(
        "TIFF: a negative stays a negative",
        "io/tiff.py",
        "if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:",
        "if False:",
        "metadata",
    ),
    Fault(
        "OME-Zarr: the transforms of the image are left out",
        "io/zarr_images.py",
        'return [*level, *(multiscale.get("coordinateTransformations") or [])]',
        "return level",
        "metadata",
    ),
    Fault(
        "a selection leaves the position where it was",
        "io/stacks.py",
        "calibration=replace(calibration, origin=origin),",
        "calibration=calibration,",
        "metadata",
    ),
    Fault(
        "16 bits: values below the range are clipped",
        "io/scaling.py",
        "        for offset in (min(first, 0), first):",
        "        for offset in (0, first):",
        "pixel_type",
    ),
    Fault(
        "16 bits: the file does not state the scaling",
        "records.py",
        '**({} if scaling is None else {"scaling": scaling.as_record()}),',
        "",
        "pixel_type",
    ),
    Fault(
        "16 bits: pixels without a value are not told",
        "summary.py",
        "return [*lines, self.scaling.loss] if self.scaling and self.scaling.loss else lines",
        "return lines",
        "pixel_type",
    ),
    Fault(
        "the metadata of another image of the file are taken",
        "io/tiff_metadata.py",
        "return images[tiff.series.index(series)]",
        "return images[0]",
        "series",
    ),
    Fault(
        "LSM: sizes are taken for µm",
        "io/tiff_vendor_metadata.py",
        'in_unit(tags.get(f"VoxelSize{axis}"), "m", "µm")',
        'in_unit(tags.get(f"VoxelSize{axis}"), "µm", "µm")',
        "vendor_metadata",
    ),
    Fault(
        "panel: the step along Z is lost",
        "plugin/planes.py",
        'spacing = {**steps, **calibration.get("spacing", {})}',
        'spacing = calibration.get("spacing", {})',
        "layer_steps",
    ),
    Fault(
        "an existing output is replaced without --overwrite",
        "io/images.py",
        "if path.exists() and not overwrite:",
        "if False:",
        "cli jobs",
    ),
    Fault(
        "two runs write the same output",
        "jobs.py",
        "resources.enter_context(output_lock(job.output))",
        "pass",
        "faults",
    ),
    Fault(
        "resume: planes of other settings are mixed in",
        "io/store.py",
        "    if earlier == now:\n",
        "    if True:\n",
        "jobs",
    ),
    Fault(
        "a complete result is never renamed after a kill",
        "jobs.py",
        "            finalize(job.output)\n",
        "            pass\n",
        "faults",
    ),
    Fault(
        "sidecar: device and seed of 0.1.0 are lost",
        "job.py",
        '_MOVED_INTO_SETTINGS = ("device", "seed")',
        "_MOVED_INTO_SETTINGS = ()",
        "jobs",
    ),
    Fault(
        "exit code: failed planes are ignored",
        "cli/running.py",
        "return SOME_FAILED if summary.failures else 0",
        "return 0",
        "jobs",
    ),
    Fault(
        "resume: planes of another input are mixed in",
        "jobs.py",
        '**inputs["input"],',
        "",
        "resume",
    ),
    Fault(
        "resume: planes of another PSF are mixed in",
        "jobs.py",
        '"PSF": inputs["PSF"],',
        '"PSF": None,',
        "resume",
    ),
    Fault(
        "resume: a plane without its pixels counts as finished",
        "io/store.py",
        "        store._drop_damaged_planes()\n",
        "",
        "resume",
    ),
    Fault(
        "a plane is not on disk before its record",
        "io/store.py",
        "            _flush(array, partial_folder(self.output) / LEVEL, index)\n",
        "",
        "resume",
    ),
    Fault(
        "overwrite deletes a folder of other files",
        "io/images.py",
        "if path.is_dir() and not is_array_folder(path):",
        "if False:",
        "resume",
    ),
    Fault(
        "what a kill leaves is never cleared",
        "jobs.py",
        "        clear_leftovers(job.output, sidecar_of(job.output), *extra_files.paths)\n",
        "",
        "resume",
    ),
    # the panel
    Fault(
        "a saved result that is opened again is the next input",
        "plugin/layers.py",
        "    return _is_result_at(path, changed)\n",
        "    return False\n",
        "saving",
    ),
    Fault(
        "a layer that differs from its file is saved with a job that does not repeat it",
        "plugin/saving.py",
        "                if not self._has_pixels_of(opened.image):\n",
        "                if False:\n",
        "saving",
    ),
    Fault(
        "a result that could not be saved leaves its planes behind",
        "saving.py",
        "            store.discard()\n",
        "",
        "saving",
    ),
    Fault(
        "panel: a result lies at the origin",
        "plugin/geometry.py",
        'return {**self.transform, "translate": self.translate}',
        'return {**self.transform, "translate": 0 * self.translate}',
        "plugin_layers",
    ),
    Fault(
        "panel: the affine transform is left out of the pixel size",
        "plugin/pixel_size.py",
        "linear = layer.affine.linear_matrix @ Affine(",
        "linear = Affine(",
        "plugin_layers",
    ),
    Fault(
        "panel: metadata of an image of another shape are believed",
        "plugin/pixel_size.py",
        "if count is not None and str(count) != str(side):",
        "if False:",
        "plugin_layers",
    ),
    Fault(
        "panel: layers in another unit than the viewer show another plane",
        "plugin/viewing.py",
        "return point * unit_factors(dims.units, layer.units)",
        "return point",
        "plugin_layers",
    ),
    Fault(
        "mask: its 0 is left out",
        "masks.py",
        """    if mask.dtype.kind in _KINDS:
        return mask != 0""",
        """    if mask.dtype.kind in _KINDS:
        return mask == 0""",
        "mask",
    ),
    Fault(
        "mask: a plane gets that of the first plane",
        "image.py",
        "return np.asarray(self.masked[index])",
        "return np.asarray(self.masked[(0,) * len(index)])",
        "mask",
    ),
    Fault(
        "mask: that of a file is not cut with the selection",
        "io/masks.py",
        "_laid_out_as(part, mask) if of_whole is None else select(of_whole)",
        "_laid_out_as(part, mask) if of_whole is None else of_whole",
        "mask",
    ),
    Fault(
        "mask: one stored as MinIsWhite is inverted",
        "io/stacks.py",
        "open_tiff(path, series, as_labels=as_labels)",
        "open_tiff(path, series)",
        "mask",
    ),
    Fault(
        "mask: a changed one is not noticed",
        "job.py",
        "content_hash(self.mask)",
        "str(self.mask)",
        "mask",
    ),
    Fault(
        "panel: the mask is not cut with the region",
        "plugin/input_part.py",
        "pixels[axis] = range(self._sides[axis])[part]",
        "pixels[axis] = range(self._sides[axis])",
        "mask_layers",
    ),
    Fault(
        "panel: the place of a mask is ignored",
        "plugin/masks.py",
        "zip(factors, grids, strict=True) if f), offset)",
        "zip(factors, grids, strict=True) if f), 0 * offset)",
        "mask_layers",
    ),
    Fault(
        "axes: the file of a layer is not asked",
        "plugin/axes.py",
        "    if not read or set(read.values()) & set(letters):",
        "    if True:",
        "layer_line",
    ),
    Fault(
        "pixel size: the file of another image is believed",
        "plugin/layer_file.py",
        "calibration.spacing if is_plane else {}",
        "calibration.spacing",
        "layer_line",
    ),
    Fault(
        "pixel size: what the user states comes last",
        "plugin/pixel_size.py",
        "    if all(letter in stated.spacing for letter in letters):",
        "    if False:",
        "layer_line",
    ),
    Fault(
        "verdict: any result is sharper",
        "verdict.py",
        "    if result.trust.sharpening >= MIN_SHARPENING:",
        "    if True:",
        "verdict",
    ),
    Fault(
        "padding: the gradient at the border is lost",
        "numerics/reflection.py",
        "            inner.select(axis, 1).add_(gradient.select(axis, 0))\n",
        "",
        "replay",
    ),
    Fault(
        "panel: positions are taken for Z",
        "plugin/axes.py",
        'letters[others[0]] = "T"',
        'letters[others[0]] = "Z"',
        "stack_run",
    ),
    Fault(
        "panel: picked beads are read in the pixels of their own layer",
        "plugin/bead_recording.py",
        "converted_points(np.asarray(picked.data), picked, layer, dims)",
        "np.asarray(picked.data)",
        "bead_form",
    ),
    Fault(
        "panel: a PSF of another pixel size is not resampled",
        "plugin/kernel_selection.py",
        "fitted = _resampled(_Resampling.of(kernel, pixels))",
        "fitted = kernel",
        "kernel_form",
    ),
    Fault(
        "panel: the planes of volumes lie in the order of the image, not of the layer",
        "plugin/geometry.py",
        "return np.moveaxis(stack, len(self.stack_axes), self.depth)",
        "return stack",
        "volume_panel",
    ),
    Fault(
        "panel: the volume of the first time point is taken in place of the one shown",
        "plugin/input_part.py",
        "ranges[axis] = range(shown[axis], shown[axis] + 1)",
        "ranges[axis] = range(0, 1)",
        "volume_panel",
    ),
    Fault(
        "panel: a volume without what it needs can be run",
        "plugin/widget.py",
        "self.run_button.setEnabled(not why_not)",
        "self.run_button.setEnabled(not running)",
        "volume_panel",
    ),
    Fault(
        "panel: the hidden kernel of a volume adds planes to the slider",
        "plugin/layers.py",
        "kernel = kernel[..., first : first + geometry.planes, :, :]",
        "pass",
        "volume_panel",
    ),
    Fault(
        "panel: colours are not restored",
        "plugin/geometry.py",
        'return float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0',
        "return 1.0",
        "plugin_layers widget",
    ),
    Fault(
        "panel: the layer's array is not copied",
        "plugin/geometry.py",
        "pixels = np.array(full_data(layer)[tuple(index)])",
        "pixels = np.asarray(full_data(layer)[tuple(index)])",
        "widget plugin_layers",
    ),
)


def is_killed(fault: Fault) -> bool:
    """Run the tests of a fault on a copy with this fault; return whether a test fails."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "planted"
        root.mkdir()
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, root / name)
        fault.plant(root)
        files = [f"tests/test_{name}.py" for name in fault.tests.split()]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "-p", "no:cacheprovider", *files],
            cwd=root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])},
            capture_output=True,
            text=True,
            timeout=guard.SECONDS,
            check=False,
        )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"The tests of {fault.name!r} could not be run:\n{done.stdout[-2000:]}")
    return done.returncode == 1


def chosen(words: Iterable[str]) -> list[Fault]:
    """Return the faults whose names contain one of the words; without words, all faults."""
    words = list(words)
    return [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]


def main(arguments: list[str]) -> int:
    """Plant the chosen faults, one per core at a time; return the number of survivors."""
    if "--list" in arguments:
        print("\n".join(f"{fault.name}  ({fault.file})" for fault in FAULTS))
        return 0
    faults = chosen(arguments)
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for fault, killed in zip(faults, pool.map(is_killed, faults), strict=True):
            survivors += not killed
            print(f"{'killed  ' if killed else 'SURVIVED'}  {fault.name}", flush=True)
    print(f"{len(faults) - survivors} of {len(faults)} faults killed")
    return survivors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
