"""What README and docs tell a reader to type does what they say; links and pictures are there.

Every Python block and every command is run, in the order of its page, or stands in `NOT_RUN` with
the reason. A tutorial begins in an empty folder and goes on in it, as its reader does; elsewhere
each piece gets a folder of its own with files of the names it uses.

For speed all `Settings` made meanwhile, presets too, have the values of `QUICK`, searches for a
shape and kernel networks take few iterations, and made-up scenes are at most `SIDE` pixels a side:
the pages are shown to run, not to give the figures they name. With ``DOCUMENTS_IN_FULL=1`` (and
``-s`` to read what is printed) they run as they stand.
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
NAMES_ONLY = {"CHANGELOG.md"}  # names commands in passing, for nobody to type

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

NOT_RUN = {  # the beginning of a command, or a line of a Python block: why it is not run
    "pip install": "changes the environment",
    "make demo": "makes an environment of its own; its command is run by test_cli.py",
    "make test": "is this suite",
    "make check": "makes an environment of its own, and is run beside this suite",
    "make format": "changes files",
    "make bench": "takes a quarter of an hour and images that are not part of the repository",
    "make screenshots": "takes minutes and changes files",
    "make figures": "takes minutes and changes files",
    "make docs": "makes an environment of its own",
    "make dist": "makes an environment of its own",
    "make lowest": "makes an environment of its own",
    "make audit": "asks the package index",
    ".venv/bin/python -m pytest": "is a part of this suite",
    ".venv/bin/python -m benchmarks quick": "needs images that are not part of the repository",
    ".venv/bin/python -m benchmarks --help": "wants .venv; test_benchmarks.py runs the module",
    "dask scheduler": "serves until it is ended; `cluster` stands in for it",
    "dask worker": "serves until it is ended; `cluster` stands in for it",
    "from dask_jobqueue import SLURMCluster": "needs SLURM, as its page says",
}
STAND_INS = {  # what is typed: what is run in its place
    "--device cuda": "--device cpu",  # few machines have one
    "--jobs 2": "--jobs 1",  # processes that load PyTorch; test_batch.py has some
}
CLUSTERS = ("tcp://HOST:8786", "tcp://127.0.0.1:8786")  # the address of `cluster` in their place
EXIT_CODES = {'blind-deconv batch "in/*.tif" --out out --preset draft': 3}  # one file is empty


@dataclass(frozen=True)
class Piece:
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


def pieces(page: Path):
    """Blocks and commands; also commands within a line, if they have arguments."""
    for token in tokens(page):
        if token.type == "fence":
            language = token.info.strip()
            if language == "python":
                yield Piece(token.content, True)
            elif not language:
                for line in token.content.replace("\\\n", " ").splitlines():
                    if command := line.partition(" # ")[0].strip():
                        yield Piece(command, False)
            else:
                assert language.startswith("{"), f"{page}: nobody runs a block of {language!r}"
        elif token.type == "code_inline" and re.match(
            r"(blind-deconv|pip|make|dask|python|conda|sbatch) \S", token.content
        ):
            yield Piece(token.content, False)


WITH_PIECES = [page for page in PAGES if page.name not in NAMES_ONLY and any(pieces(page))]


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp://", dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def quick(monkeypatch, cluster):
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    here = functools.partial(distributed.LocalCluster, processes=False, dashboard_address=":0")
    monkeypatch.setattr(distributed, "LocalCluster", here)
    if IN_FULL:
        return
    make, draw = Settings.__init__, synthetic.fluorescence_scene
    monkeypatch.setattr(Settings, "__init__", lambda self, **v: make(self, **{**v, **QUICK}))

    few = functools.partial(double_dip.fit_kernel, steps=20)
    monkeypatch.setattr(double_dip, "fit_kernel", few)
    monkeypatch.setattr(shape_search, "_ITERATIONS", 4)

    def small_scene(shape=(SIDE, SIDE), **options):
        return draw(tuple(min(SIDE, side) for side in shape), **options)

    monkeypatch.setattr(synthetic, "fluorescence_scene", small_scene)


def prepare(piece: Piece) -> None:
    """Make files of the names a piece uses, in the current folder."""
    text = piece.text
    planes = [synthetic.fluorescence_scene((48, 48), seed=seed).observed for seed in range(4)]
    stack = np.stack(planes)
    known = gaussian_kernel((9, 9), 1.5)
    if "INPUT.tif" in text:
        tifffile.imwrite("INPUT.tif", stack if "--select" in text else stack[0], imagej=True)
    if "STACK.tif" in text or "RESULT.ome.zarr.json" in text:
        tifffile.imwrite("STACK.tif", stack[:2], imagej=True, metadata={"axes": "ZYX"})
    if "--psf K.tif" in text:
        tifffile.imwrite("K.tif", known)
    if "in/*.tif" in text:
        Path("in").mkdir()
        tifffile.imwrite("in/one.tif", stack[0])
    if "report RESULT.tif" in text:
        tifffile.imwrite("INPUT.tif", stack[0])
        succeed("blind-deconv run INPUT.tif RESULT.tif")
    if "report STACK.ome.zarr" in text:
        tifffile.imwrite("K.tif", known)
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
        done = []
        cut = run_job(job, should_stop=lambda: bool(done))
        done.extend(step for step in cut if isinstance(step, BlockResult))
        assert not cut.result().finished


def succeed(command: str) -> None:
    name, *arguments = shlex.split(command)
    assert name == "blind-deconv", f"neither run nor listed in NOT_RUN: {command}"
    outcome = CliRunner().invoke(app, arguments)
    told = f"{command}\n{outcome.output}"
    print(told)
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    assert outcome.exit_code == EXIT_CODES.get(command, 0), told


def run(piece: Piece, names: dict, address: str) -> None:
    text = piece.text
    for typed in CLUSTERS:
        text = text.replace(typed, address)
    if piece.is_python:
        exec(compile(text, "a block of the page", "exec"), names)
        return
    for typed, instead in STAND_INS.items():
        text = text.replace(typed, instead)
    succeed(text)


@pytest.mark.parametrize("page", WITH_PIECES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_is_run(page, tmp_path, monkeypatch, quick, cluster):
    is_tutorial = page.parent.name == "tutorials"
    names = {"__name__": "__main__"}
    for number, piece in enumerate(pieces(page)):
        if piece.reason_not_to_run:
            continue
        folder = tmp_path if is_tutorial else tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        if not is_tutorial:
            prepare(piece)
        run(piece, names, cluster)
        if not is_tutorial:
            monkeypatch.chdir(tmp_path)
            shutil.rmtree(folder)


def test_a_reason_not_to_run_is_needed():
    texts = [piece.text for page in WITH_PIECES for piece in pieces(page)]
    for beginning in NOT_RUN:
        assert any(beginning in text for text in texts), f"no page says {beginning!r} any more"


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
    """Of its headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_picture_is_shown_and_made_by_a_script():
    shown = {
        (page.parent / token.attrGet("src")).resolve()
        for page in PAGES
        for token in tokens(page)
        if token.type == "image"
    }
    scripts = "".join(script.read_text("utf-8") for script in DOCS.glob("make_*.py"))
    for picture in (DOCS / "images").glob("*.png"):
        assert picture.resolve() in shown, f"{picture.name} is shown nowhere"
        assert f'"{picture.stem}"' in scripts, f"no script makes {picture.name}"
