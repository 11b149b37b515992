"""No code is run from files, no network is used, and only the named files are written."""

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from tests import guard

import napari_blind_deconv
from napari_blind_deconv.io.stacks import open_image
from napari_blind_deconv.synthetic import fluorescence_scene

FAST = ["--set", "channels=[8]", "--set", "max_iterations=2", "--set", "kernel_features=16"]
LINEAR = ["--set", "solver=wiener"]
PACKAGE = Path(napari_blind_deconv.__file__).parent

# Records all sockets except local ones, and all files that are opened for writing, moved, created
# or removed. No socket is opened.
RECORDING_PROGRAM = """
import json, os, sys
seen = []
def watch(event, arguments):
    local = event == "socket.__new__" and arguments[1] == 1  # event loops use these
    if event.startswith("socket.") and not local and event != "socket.gethostname":
        seen.append((event, str(arguments)))
        raise PermissionError("no network in this test")
    if event == "open":
        path, mode, flags = arguments
        writes = any(c in (mode or "") for c in "wxa+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
        if writes and isinstance(path, str):
            seen.append((event, path))
    if event == "os.rename":
        seen.append((event, str(arguments[1])))
    if event in ("os.mkdir", "os.remove", "os.rmdir") and arguments[-1] == -1:
        seen.append((event, str(arguments[0])))  # others lie in a folder being removed
sys.addaudithook(watch)
from napari_blind_deconv.cli import app
for words in json.loads(sys.argv[1]):
    seen.append(("command", " ".join(words)))
    app(words, standalone_mode=False)
print()
print(json.dumps(seen))
"""


def recorded_events(folder: Path, commands: list[list[str]]) -> list[list[str]]:
    """Run commands in one process, and return their events on sockets and files."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TORCHINDUCTOR")}
    done = subprocess.run(
        [sys.executable, "-B", "-c", RECORDING_PROGRAM, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
        timeout=guard.SECONDS,
        cwd=folder,
        env={**inherited, "TMPDIR": str(folder / "tmp"), "MPLCONFIGDIR": str(folder / "tmp")},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def folder(tmp_path) -> Path:
    image = fluorescence_scene((40, 48)).observed
    tifffile.imwrite(tmp_path / "plane.tif", image)
    stack = np.stack([image, image[::-1]]).astype(np.float32)
    tifffile.imwrite(tmp_path / "stack.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.skipif(sys.platform == "win32", reason="temporary folders lie elsewhere")
def test_no_network_is_used_and_only_named_files_are_written(folder):
    runs = [
        ["run", "plane.tif", "out/plane.tif", "--kernel-out", "out/k.tif", *FAST],
        ["run", "stack.tif", "out/stack.ome.tif", *LINEAR],
        ["run", "stack.tif", "out/stack.ome.zarr", *LINEAR],
        ["report", "out/plane.tif", "--out", "out/page.png"],
        ["run", "out/stack.ome.zarr", "out/again.ome.tif", *LINEAR],
    ]
    allowed = tuple(str(folder / name) for name in ("out", "tmp"))
    command = ""
    for event, target in recorded_events(folder, runs):
        if event == "command":
            command = target
            continue
        assert not event.startswith("socket"), (command, target)
        path = str((folder / target).absolute())
        assert path.startswith(allowed) or path == os.devnull, (command, event, target)
    assert command == " ".join(runs[-1]), "all commands ran"
    results = {path.name for path in (folder / "out").iterdir()}
    named = {"plane.tif", "k.tif", "stack.ome.tif", "stack.ome.zarr", "page.png", "again.ome.tif"}
    sidecars = {f"{name}.json" for name in named - {"k.tif", "page.png"}}
    assert results == named | sidecars


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_no_module_loads_pickles_or_runs_text(path):
    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not forbidden & {name.name.split(".")[0] for name in node.names}
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in forbidden
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "torch.load", "os.system"}
            if called == "np.load":
                assert "allow_pickle=False" in ast.unparse(node)
            assert not any(keyword.arg == "shell" for keyword in node.keywords)


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


@pytest.mark.parametrize("kind", ["<u2", "|O"])
@pytest.mark.parametrize("field", ["filters", "compressor", "codecs"])
def test_a_zarr_whose_codec_is_pickle_is_refused(tmp_path, kind, field):
    """Codecs of Zarr can contain pickles; none is loaded."""
    store, mark = tmp_path / "evil.zarr", tmp_path / "mark"
    level = store / "0"
    level.mkdir(parents=True)
    axes = [{"name": name, "type": "space"} for name in "yx"]
    transform = [{"type": "scale", "scale": [1, 1]}]
    multiscales = [
        {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": transform}]}
    ]
    bomb = pickle.dumps(Trap(mark))
    pickled = {"id": "pickle", "protocol": 5}
    if field == "codecs":
        ome = {"ome": {"version": "0.5", "multiscales": multiscales}}
        group = {"zarr_format": 3, "node_type": "group", "attributes": ome}
        (store / "zarr.json").write_text(json.dumps(group))
        array = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [40, 48],
            "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [40, 48]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "numcodecs.pickle", "configuration": {"protocol": 5}}],
            "attributes": {},
        }
        (level / "zarr.json").write_text(json.dumps(array))
        (level / "c" / "0").mkdir(parents=True)
        (level / "c" / "0" / "0").write_bytes(bomb)
    else:
        (store / ".zgroup").write_text('{"zarr_format": 2}')
        multiscales[0]["version"] = "0.4"
        (store / ".zattrs").write_text(json.dumps({"multiscales": multiscales}))
        array = {
            "zarr_format": 2,
            "shape": [40, 48],
            "chunks": [40, 48],
            "dtype": kind,
            "compressor": pickled if field == "compressor" else None,
            "filters": [pickled] if field == "filters" else None,
            "order": "C",
            "fill_value": 0,
        }
        (level / ".zarray").write_text(json.dumps(array))
        (level / "0.0").write_bytes(bomb)
    with pytest.raises(ValueError, match="cannot be read"):  # noqa: SIM117
        with open_image(store) as opened:
            opened.image.pixels.compute()
    assert not mark.exists()
