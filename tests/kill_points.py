"""Kill runs at every event of the file system, one after the other, and see whether they continue.

Run by hand, from the root of the repository, on Linux or macOS; it takes some minutes::

    python -m tests.kill_points

For a plane and for stacks of both formats, new and replacing an older result, a process counts the
files that it opens for writing, renames or removes, and the folders that it makes or removes. Then
one process after the other is killed by SIGKILL at the first, second, … of these events, and a
second run continues with ``--resume``. Its result must equal that of an undisturbed run, and
nothing else may be left in the folder. The exit code is the number of points where this failed.
"""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import tifffile
import torch
from tests.processes import quick_context

from napari_blind_deconv import Settings
from napari_blind_deconv.io.partial import has_partial
from napari_blind_deconv.io.scaling import PixelType
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.jobs import Job, is_finished, run_job
from napari_blind_deconv.synthetic import fluorescence_scene

LINEAR = Settings(solver="wiener", kernel_start=1.5)
OTHER = LINEAR.with_changes(kernel_start=2.5)
PLANES = 2
KINDS = (
    (1, "out.tif", PixelType.FLOAT32),
    (PLANES, "out.ome.tif", PixelType.FLOAT32),
    (PLANES, "out.ome.zarr", PixelType.FLOAT32),
    (PLANES, "out.ome.zarr", PixelType.UINT16),  # its planes are written twice
)


def is_event(event: str, arguments: tuple[object, ...]) -> bool:
    """Return whether an audit event changes the file system."""
    if event == "open":
        _, mode, flags = arguments
        writes = (flags or 0) & (os.O_WRONLY | os.O_RDWR)  # type: ignore[operator]
        return bool(writes) or any(letter in str(mode or "") for letter in "wxa+")
    return event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod")


def watch(folder: Path, on_event: Callable[[int], None]) -> None:
    """Call a function with the number of each event below a folder, from now on."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if not is_event(event, arguments):
            return
        # shutil.rmtree names files relative to an open folder; it only removes what is ours.
        path = Path(
            os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | Path) else ""
        )
        if not path.is_absolute() or folder in path.parents:
            count += 1
            on_event(count)

    sys.addaudithook(hook)


def run(job: Job, options: dict[str, bool], fatal: int, count_file: Path) -> None:
    """Run a job in this process, and kill the process at an event; 0 counts the events."""
    torch.set_num_threads(1)
    last = 0

    def on_event(number: int) -> None:
        nonlocal last
        last = number
        if number == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    watch(job.output.parent, on_event)
    run_job(job, **options).result()
    if not fatal:
        count_file.write_text(str(last))


def process(context: BaseContext, *arguments: object) -> int:
    """Run a job in a process of its own; return its exit code."""
    child = context.Process(target=run, args=arguments)  # type: ignore[attr-defined]
    child.start()
    child.join()
    return int(child.exitcode)


def pixels_of(output: Path) -> np.ndarray:
    """Return the pixels of a result."""
    with open_image(output) as result:
        return np.asarray(result.image.pixels)


def prepare(folder: Path, planes: int, name: str, dtype: PixelType, replaces: bool) -> Job:
    """Write an input, and an older result if the run is to replace one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scenes = [fluorescence_scene((40, 48), seed=seed).observed for seed in range(planes)]
    pixels = np.stack(scenes) if planes > 1 else scenes[0]
    tifffile.imwrite(folder / "in.tif", pixels, imagej=True)
    job = Job(input=folder / "in.tif", output=folder / name, settings=LINEAR, dtype=dtype)
    if replaces:
        run_job(job.model_copy(update={"settings": OTHER})).result()
    return job


def failure_at(
    context: BaseContext,
    fatal: int,
    job: Job,
    replaces: bool,
    expected: np.ndarray,
    names: set[str],
) -> str:
    """Kill a run at an event and continue it; return what is wrong then."""
    options = {"overwrite": replaces}
    code = process(context, job, options, fatal, job.output.parent / "unused")
    if code != -signal.SIGKILL:
        return f"the process ended with {code} and was not killed"
    try:
        # Before there is a plan, there is nothing to continue: the same command starts again.
        may_overwrite = replaces and not has_partial(job.output) and not is_finished(job)
        run_job(job, resume=True, overwrite=may_overwrite).result()
        result = pixels_of(job.output)
    except Exception as error:
        return f"it cannot be resumed: {error}"
    if not np.array_equal(result, expected):
        return "the result differs"
    left = {path.name for path in job.output.parent.iterdir()} - names
    hidden = list(job.output.rglob("*.partial")) if job.output.is_dir() else []
    return f"leftovers: {sorted(left)} {hidden}" if left or hidden else ""


def check(
    context: BaseContext, planes: int, name: str, dtype: PixelType, replaces: bool
) -> tuple[int, int]:
    """Return the number of events of a run, and of those that it did not survive."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        job = prepare(folder, planes, name, dtype, replaces)
        count_file = Path(temporary) / "count"
        assert process(context, job, {"overwrite": replaces}, 0, count_file) == 0
        expected, names = pixels_of(job.output), {path.name for path in folder.iterdir()}
        points, failures = int(count_file.read_text()), 0
        for fatal in range(1, points + 1):
            prepare(folder, planes, name, dtype, replaces)
            if wrong := failure_at(context, fatal, job, replaces, expected, names):
                failures += 1
                print(f"  event {fatal}: {wrong}", flush=True)
    return points, failures


def main() -> int:
    """Check all kinds of runs; return the number of failures."""
    torch.set_num_threads(1)
    context, total = quick_context(), 0
    for planes, name, dtype in KINDS:
        for replaces in (False, True):
            points, failures = check(context, planes, name, dtype, replaces)
            total += failures
            kind = f"{planes} plane(s), {dtype}, {'replacing' if replaces else 'new'}"
            print(f"{name}, {kind}: {points} points, {failures} failures", flush=True)
    return total


if __name__ == "__main__":
    sys.exit(main())
