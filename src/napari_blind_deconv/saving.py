"""Write a result that is in memory, as a run from file to file writes its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from napari_blind_deconv.image import Image
from napari_blind_deconv.io.images import check_output, replacing_json, write_error
from napari_blind_deconv.io.output_lock import output_lock
from napari_blind_deconv.io.partial import clear_leftovers, has_planes, partial_folder
from napari_blind_deconv.io.store import StackStore
from napari_blind_deconv.jobs import OUTPUT_SUFFIXES, sidecar_of
from napari_blind_deconv.plan import StackPlan
from napari_blind_deconv.records import plane_record, run_record, without_traces
from napari_blind_deconv.results import BlockResult

__all__ = ["write_result"]


def write_result(
    output: Path,
    image: Image,
    plan: StackPlan,
    blocks: Iterable[BlockResult],
    origin: Mapping[str, Any],
    *,
    overwrite: bool = False,
    inputs: Iterable[Path] = (),
) -> Iterator[int]:
    """Write a result and its sidecar plane by plane.

    The output appears under its name when it is complete. If the iterator is closed before, or
    fails, nothing is left of it, and an earlier output and its sidecar stay as they were.

    Parameters
    ----------
    output : Path
        TIFF file or OME-Zarr.
    image : Image
        The input. The output gets its axes, spacing, position, channel names and optics; its pixels
        are not read.
    plan : StackPlan
        What the planes share.
    blocks : iterable of BlockResult
        All planes of the image.
    origin : mapping
        What the run started from, ready for JSON, as `jobs.origin_of` returns it.
    overwrite : bool
        Whether an existing output may be replaced.
    inputs : iterable of Path
        Files that the result was made from, which are never replaced.

    Yields
    ------
    int
        Number of planes written so far.

    Raises
    ------
    ValueError
        If the output is not valid, or another run is writing it.
    OSError
        If the output cannot be written.
    """
    check_output(output, overwrite=overwrite, suffixes=OUTPUT_SUFFIXES, inputs=inputs)
    store, sidecar = StackStore(output, image, plan), sidecar_of(output)
    with output_lock(output):
        if has_planes(output):
            raise ValueError(
                f"{partial_folder(output)} contains planes of an interrupted run; name another "
                "output, or delete that folder."
            )
        clear_leftovers(output, sidecar)
        try:
            StackStore.create(output, image, plan, origin, overwrite=overwrite)
            for done, block in enumerate(blocks, 1):
                store.put(block.index, block.image, plane_record(block))
                yield done
            provenance = run_record(origin, image, plan, store.records())
            # The sidecar is on disk before the output, and then needs only a rename: a file of its
            # name belongs to an earlier output until the new one exists.
            with replacing_json(sidecar, provenance):
                store.finish(without_traces(provenance))
        except BaseException as error:
            store.discard()
            if isinstance(error, OSError):
                raise write_error(output, error) from error
            raise
