"""The examples of README and docs run, and their links and images exist.

Each Python block and each command is run, in the order of its page, or is listed in `NOT_RUN` with
a reason. A tutorial starts in an empty folder and stays in it, as its reader does. On other pages
each example gets a folder of its own, with files of the names that it uses.

For speed, all `Settings` (also presets) have the values of `QUICK`, searches for a shape and kernel
networks take few iterations, and synthetic scenes have at most `SIDE` pixels per side. These tests
therefore show that the examples run, not that they give the numbers on the page. With
``DOCUMENTS_IN_FULL=1`` the examples run unchanged; ``-s`` shows their output.
"""

import functools
import os
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from markdown_it import MarkdownIt  # rich, which the command line needs, brings it along
from typer.testing import CliRunner

from napari_blind_deconv import Settings, synthetic
from napari_blind_deconv.cli import app
from napari_blind_deconv.engine import double_dip
from napari_blind_deconv.jobs import Job, run_job
from napari_blind_deconv.numerics import shape_search
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.results import BlockResult

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of sockets of the cluster
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(page for page in sorted(DOCS.rglob("*.md")) if page.parent.name != "_generated"),
]
NAMES_ONLY = {"CHANGELOG.md"}  # mentions commands that are not examples

IN_FULL = bool(os.environ.get("DOCUMENTS_IN_FULL"))
QUICK = {
    "channels": (8,),
    "skip_channels": 4,
    "input_channels": 2,
    "kernel_features": 16,
    "kernel_size_limit": 15,
    "max_iterations": 2,
}
SIDE = 48

NOT_RUN = {  # beginning of a command or of a line of a Python block: reason not to run it
    "pip install": "changes the environment",
    "make demo": "creates an environment; its command is run by test_cli.py",
    "make test": "is this suite",
    "make coverage": "is this suite",
    ".venv/bin/python -m tests.planted_faults": "takes minutes",
    ".venv/bin/python -m tests.kill_points": "takes minutes",
    "make check": "creates an environment, and is run in addition to this suite",
    "make format": "changes files",
    "make bench": "takes a quarter of an hour and images that are not part of the repository",
    "python -m benchmarks": "takes minutes",
    "make kernel-model": "takes minutes and changes files",
    "make screenshots": "takes minutes and changes files",
    "make figures": "takes minutes and changes files",
    "make docs": "creates an environment",
    "make dist": "creates an environment",
    "make lowest": "creates an environment",
    "make audit": "asks the package index",
    ".venv/bin/python -m pytest": "is a part of this suite",
    ".venv/bin/python -m benchmarks quick": "needs images that are not part of the repository",
    ".venv/bin/python -m benchmarks --help": "needs .venv; test_benchmarks.py runs the module",
    "dask scheduler": "runs until it is stopped; the fixture `cluster` replaces it",
    "dask worker": "runs until it is stopped; the fixture `cluster` replaces it",
    "from dask_jobqueue import SLURMCluster": "needs SLURM, as its page states",
}
REPLACEMENTS = {  # text of a command: text that is run in its place
    "--device cuda": "--device cpu",  # few machines have a CUDA device
    "--jobs 2": "--jobs 1",  # saves processes that load PyTorch; test_batch.py starts some
}
CLUSTERS = ("tcp://HOST:8786", "tcp://127.0.0.1:8786")  # replaced by that of `cluster`
EXIT_CODES = {'blind-deconv batch "in/*.tif" --out out --preset draft': 3}  # one file is empty


@dataclass(frozen=True)
class Example:
    """A Python block or a command of a page."""

    text: str
    is_python: bool

    @property
    def reason_not_to_run(self) -> str | None:
        lines = self.text.splitlines() if self.is_python else [self.text]
        for beginning, reason in NOT_RUN.items():
            if any(line.startswith(beginning) for line in lines):
                return reason
        return None


def tokens(page: Path):
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8")):
        yield token
        yield from token.children or ()


def examples(page: Path):
    """Yield the blocks and commands of a page, also inline commands that have arguments."""
    for token in tokens(page):
        if token.type == "fence":
            language = token.info.strip()
            if language == "python":
                yield Example(token.content, True)
            elif not language:
                for line in token.content.replace("\\\n", " ").splitlines():
                    if command := line.partition(" # ")[0].strip():
                        yield Example(command, False)
            else:
                assert language.startswith("{"), f"{page}: unknown language {language!r} of a block"
        elif token.type == "code_inline" and re.match(
            r"(blind-deconv|pip|make|dask|python|conda|sbatch) \S", token.content
        ):
            yield Example(token.content, False)


PAGES_WITH_EXAMPLES = [
    page for page in PAGES if page.name not in NAMES_ONLY and any(examples(page))
]


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp://", dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def quick(monkeypatch, cluster):
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    local_cluster = functools.partial(
        distributed.LocalCluster, processes=False, dashboard_address=":0"
    )
    monkeypatch.setattr(distributed, "LocalCluster", local_cluster)
    if IN_FULL:
        return
    initialise, draw = Settings.__init__, synthetic.fluorescence_scene
    monkeypatch.setattr(Settings, "__init__", lambda self, **v: initialise(self, **{**v, **QUICK}))

    quick_fit = functools.partial(double_dip.fit_kernel, steps=20)
    monkeypatch.setattr(double_dip, "fit_kernel", quick_fit)
    monkeypatch.setattr(shape_search, "_ITERATIONS", 4)

    def small_scene(shape=(SIDE, SIDE), **options):
        return draw(tuple(min(SIDE, side) for side in shape), **options)

    monkeypatch.setattr(synthetic, "fluorescence_scene", small_scene)
    volume = functools.partial(synthetic.fluorescence_volume, (12, SIDE, SIDE))
    monkeypatch.setattr(synthetic, "fluorescence_volume", volume)


def create_files(example: Example) -> None:
    """Create the files that an example uses, in the current folder."""
    text = example.text
    planes = [synthetic.fluorescence_scene((48, 48), seed=seed).observed for seed in range(4)]
    stack = np.stack(planes)
    psf = gaussian_kernel((9, 9), 1.5)
    if "INPUT.tif" in text:
        tifffile.imwrite("INPUT.tif", stack if "--select" in text else stack[0], imagej=True)
    if "STACK.tif" in text or "RESULT.ome.zarr.json" in text:
        tifffile.imwrite("STACK.tif", stack[:2], imagej=True, metadata={"axes": "ZYX"})
    if "--mask MASK.tif" in text:
        tifffile.imwrite("MASK.tif", (stack[0] > 0.9 * stack[0].max()).astype(np.uint8))
    if "--psf K.tif" in text:
        tifffile.imwrite("K.tif", psf)
    if "VOLUME.tif" in text:
        volume = np.tile(stack, (3, 1, 1)).astype(np.float32)
        options = {
            "resolution": (10, 10),
            "metadata": {"axes": "ZYX", "unit": "um", "spacing": 0.3},
        }
        tifffile.imwrite("VOLUME.tif", volume, imagej=True, **options)
    if "--psf PSF.tif" in text:
        tifffile.imwrite("PSF.tif", gaussian_kernel((9, 9, 9), 1.5))
    if "BEADS.tif" in text:
        beads = np.pad(5e4 * gaussian_kernel((31, 31), 1.5), 30) + 100
        options = {"resolution": (10, 10), "metadata": {"axes": "YX", "unit": "um"}}
        tifffile.imwrite("BEADS.tif", beads.astype(np.float32), imagej=True, **options)
    if "in/*.tif" in text:
        Path("in").mkdir()
        tifffile.imwrite("in/one.tif", stack[0])
    if "report RESULT.tif" in text:
        tifffile.imwrite("INPUT.tif", stack[0])
        succeed("blind-deconv run INPUT.tif RESULT.tif")
    if "report STACK.ome.zarr" in text:
        tifffile.imwrite("K.tif", psf)
        many = np.broadcast_to(stack[0, :16, :16], (2, 13, 16, 16))
        tifffile.imwrite("many.ome.tif", many, metadata={"axes": "TZYX"})
        succeed("blind-deconv run many.ome.tif STACK.ome.zarr --psf K.tif")
    elif "STACK.ome.zarr" in text:
        tifffile.imwrite("pages.tif", stack[:2], metadata={"axes": "ZYX"})
        succeed("blind-deconv run pages.tif STACK.ome.zarr")
    if "--from-sidecar" in text:
        succeed("blind-deconv run STACK.tif RESULT.ome.zarr")
    if "--resume" in text:
        job = Job(
            input=Path("STACK.tif"),
            output=Path("RESULT.ome.zarr"),
            settings=Settings.preset("fast"),
        )
        blocks = []
        interrupted = run_job(job, should_stop=lambda: bool(blocks))
        blocks.extend(step for step in interrupted if isinstance(step, BlockResult))
        assert not interrupted.result().finished


def succeed(command: str) -> None:
    name, *arguments = shlex.split(command)
    assert name == "blind-deconv", f"This command is neither run nor listed in NOT_RUN: {command}"
    outcome = CliRunner().invoke(app, arguments)
    report = f"{command}\n{outcome.output}"
    print(report)
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    assert outcome.exit_code == EXIT_CODES.get(command, 0), report


def run(example: Example, names: dict, address: str) -> None:
    text = example.text
    for typed in CLUSTERS:
        text = text.replace(typed, address)
    if example.is_python:
        exec(compile(text, "a block of the page", "exec"), names)
        return
    for typed, replacement in REPLACEMENTS.items():
        text = text.replace(typed, replacement)
    succeed(text)


@pytest.mark.parametrize("page", PAGES_WITH_EXAMPLES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch, quick, cluster):
    is_tutorial = page.parent.name == "tutorials"
    names = {"__name__": "__main__"}
    for number, example in enumerate(examples(page)):
        if example.reason_not_to_run:
            continue
        folder = tmp_path if is_tutorial else tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        if not is_tutorial:
            create_files(example)
        run(example, names, cluster)
        if not is_tutorial:
            monkeypatch.chdir(tmp_path)
            shutil.rmtree(folder)


def test_every_entry_of_not_run_is_used():
    texts = [example.text for page in PAGES_WITH_EXAMPLES for example in examples(page)]
    for beginning in NOT_RUN:
        assert any(beginning in text for text in texts), f"no page contains {beginning!r} any more"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for token in tokens(page):
        address = token.attrGet("src") if token.type == "image" else token.attrGet("href")
        if address is None or re.match(r"[a-z]+:", str(address)):
            continue
        path, _, anchor = str(address).partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page} links to {address}"
        if anchor:
            assert anchor in anchors(target), f"{page} links to {address}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub and MyST create them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_figure_is_shown_and_made_by_a_script():
    figures = {
        (page.parent / token.attrGet("src")).resolve()
        for page in PAGES
        for token in tokens(page)
        if token.type == "image"
    }
    scripts = "".join(script.read_text("utf-8") for script in DOCS.glob("make_*.py"))
    for figure in (DOCS / "images").glob("*.png"):
        assert figure.resolve() in figures, f"no page shows {figure.name}"
        assert f'"{figure.stem}"' in scripts, f"no script makes {figure.name}"
