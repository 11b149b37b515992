"""``blind-deconv doctor``: print versions and devices, and test that the devices work."""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from napari_blind_deconv.errors import first_line
from napari_blind_deconv.settings import Settings

__all__ = ["Trial", "advice", "examine", "installed_version", "torch_trouble", "try_device"]

_PACKAGES = ("napari-blind-deconv", "torch", "numpy", "scipy", "napari", "PyQt6", "PySide6")
_MIN_FREE_MEMORY = 4 * 2**30  # bytes
# Devices add in different orders, some in bfloat16; a broken device differs by far more.
_TOLERANCE_DB = 0.5


class Trial(NamedTuple):
    """The outcome of a short run on one device.

    Attributes
    ----------
    gain : float
        PSNR of the result minus PSNR of the image, in dB; NaN if the run failed.
    seconds : float
        Wall time of the run.
    trouble : str
        What is wrong with the device; empty if it works.
    """

    gain: float
    seconds: float
    trouble: str = ""


def torch_trouble(error: BaseException) -> str | None:
    """Return a sentence if loading PyTorch caused this error, else None."""
    if isinstance(error, ModuleNotFoundError) and error.name == "torch":
        return "PyTorch is not installed; install it with `pip install torch`."
    trace = error.__traceback__
    # A module that was loaded stays in sys.modules; one that failed to load does not.
    while trace is not None and "torch" not in sys.modules:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] == "torch":
            reason = first_line(error).rstrip(".")
            command = "pip install --force-reinstall torch"
            return f"PyTorch cannot be loaded ({reason}); reinstall it with `{command}`."
        trace = trace.tb_next
    return None


def examine(console: Console) -> bool:
    """Print versions and devices, test every device, and print advice.

    Returns
    -------
    bool
        Whether all devices work.
    """
    _print_table(console, "Versions", _versions())
    _print_table(console, "Devices", _devices())
    with console.status("Testing the devices …"):
        trials = {"cpu": try_device("cpu")}
        for name in _available_devices()[1:]:
            trials[name] = try_device(name, trials["cpu"].gain)
    rows = ((n, t.trouble or f"{t.gain:+.2f} dB in {t.seconds:.1f} s") for n, t in trials.items())
    _print_table(console, "Self-test", rows)
    for sentence in advice():
        console.print(sentence, markup=False, soft_wrap=True)
    passed = not any(trial.trouble for trial in trials.values())
    console.print(f"The self-test {'passed' if passed else 'failed'}.")
    return passed


def try_device(name: str, expected_gain: float | None = None) -> Trial:
    """Deconvolve a scene of known truth on a device.

    Parameters
    ----------
    name : str
        The device, such as ``cpu`` or ``cuda:0``.
    expected_gain : float, optional
        Gain of the CPU, in dB; a device that differs from it by 0.5 dB or more is reported.
    """
    from napari_blind_deconv.engine.deconvolve import deconvolve
    from napari_blind_deconv.synthetic import fluorescence_scene

    scene = fluorescence_scene((96, 96))
    settings = Settings.preset("fast").with_changes(max_iterations=20, device=name)
    start = time.perf_counter()
    try:
        estimate = deconvolve(scene.observed, settings).image
    except Exception as error:  # drivers raise any exception, and it is the outcome of the test
        return Trial(math.nan, time.perf_counter() - start, f"failed: {error}".split("\n")[0])
    seconds = time.perf_counter() - start
    gain = scene.psnr(estimate) - scene.psnr(scene.observed)
    if not gain > 0:  # also true for NaN
        return Trial(gain, seconds, f"the result is no better than the image ({gain:+.2f} dB)")
    if expected_gain is not None and not abs(gain - expected_gain) < _TOLERANCE_DB:
        return Trial(gain, seconds, f"gained {gain:+.2f} dB, but the CPU {expected_gain:+.2f} dB")
    return Trial(gain, seconds)


def advice() -> Iterator[str]:
    """Yield one sentence of advice for each problem with drivers, packages or memory."""
    import torch

    driver, usable = shutil.which("nvidia-smi") is not None, torch.cuda.is_available()
    if torch.version.cuda and driver and not usable:
        yield (
            f"PyTorch has CUDA {torch.version.cuda} but finds no GPU it can use: update the NVIDIA "
            "driver, and check that `nvidia-smi` lists the GPU."
        )
    elif torch.version.cuda and not usable:
        yield "PyTorch has CUDA but finds no NVIDIA driver: install it if there is an NVIDIA GPU."
    elif driver and not usable:
        yield "There is an NVIDIA driver but no CUDA in this PyTorch: install a build with CUDA."
    # PySide6 6.12.0 loses references to None, which Python counts before 3.12.
    if sys.version_info < (3, 12) and installed_version("PySide6") == "6.12.0":
        yield "PySide6 6.12.0 crashes napari on Python 3.11: run `pip install PySide6!=6.12.0`."
    free = psutil.virtual_memory().available
    if free < _MIN_FREE_MEMORY:
        yield f"Only {free / 2**30:.1f} GiB of memory are free: close programs, or use --select."


def _available_devices() -> list[str]:
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def _versions() -> Iterator[tuple[str, str]]:
    yield "Python", f"{platform.python_version()} on {platform.platform()}"
    for name in _PACKAGES:
        yield name, installed_version(name) or "not installed"


def installed_version(name: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices() -> Iterator[tuple[str, str]]:
    import torch

    from napari_blind_deconv.engine.devices import choose_device, computes_bfloat16

    yield "PyTorch", f"{torch.__version__}, CUDA {torch.version.cuda or 'not built in'}"
    for name in _available_devices():
        precision = "bfloat16" if computes_bfloat16(choose_device(name)) else "float32"
        yield name, f"{_describe_device(name)}, {precision}"


def _describe_device(name: str) -> str:
    import torch

    if name.startswith("cuda"):
        title, (free, total) = torch.cuda.get_device_name(name), torch.cuda.mem_get_info(name)
    else:  # Apple's GPU uses the main memory, as the CPU does
        cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
        title, memory = "Apple's GPU" if name == "mps" else cores, psutil.virtual_memory()
        free, total = memory.available, memory.total
    return f"{title}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"


def _print_table(console: Console, title: str, rows: Iterable[tuple[str, str]]) -> None:
    table = Table(title=title, title_justify="left", show_header=False)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
