"""Imports, manifest and metadata of the package."""

import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points, metadata, requires
from pathlib import Path

import pytest
from npe2 import PluginManifest

import napari_blind_deconv

ROOT = Path(__file__).parents[1]


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import napari_blind_deconv",
        "from napari_blind_deconv import Settings, Result; Settings.presets()",
        "from napari_blind_deconv import Image, Kernel, KernelChoice; KernelChoice.find()",
        "import napari_blind_deconv.cli",
    ],
)
def test_import_is_light(statement):
    heavy = {"torch", "napari", "qtpy", "PyQt6", "PySide6", "skimage", "magicgui", "matplotlib"}
    assert not heavy & modules_after(statement)


def test_inputs_are_checked_without_torch():
    assert "torch" not in modules_after("import napari_blind_deconv.engine.inputs")


def test_public_names_resolve():
    for name in napari_blind_deconv.__all__:
        assert getattr(napari_blind_deconv, name).__name__ == name
    assert set(napari_blind_deconv.__all__) <= set(dir(napari_blind_deconv))
    with pytest.raises(AttributeError, match="no attribute 'sharpen'"):
        napari_blind_deconv.sharpen  # noqa: B018 (the access is the test)


def test_manifest_is_found_and_every_command_resolves():
    manifest = PluginManifest.from_distribution("napari-blind-deconv")
    assert manifest.display_name == "Blind deconvolution"
    pytest.importorskip("napari")  # the command line does not need it
    for command in manifest.contributions.commands:
        module, _, name = str(command.python_name).partition(":")
        assert callable(getattr(import_module(module), name))
    menus = manifest.contributions.menus["napari/layers/filter"]
    assert [item.command for item in menus] == [
        "napari-blind-deconv.widget",
        "napari-blind-deconv.sharpen",
    ]


def test_the_manifest_at_the_top_is_the_packaged_one():
    link = ROOT / "napari.yaml"
    packaged = ROOT / "src" / "napari_blind_deconv" / "napari.yaml"
    if link.is_symlink():
        assert link.resolve() == packaged.resolve()
    else:  # git on Windows may store a link as a file that contains its target
        assert link.read_text().strip() in (
            packaged.relative_to(ROOT).as_posix(),
            packaged.read_text().strip(),
        )


def test_metadata_for_the_hub():
    assert "Framework :: napari" in metadata("napari-blind-deconv").get_all("Classifier")
    base = [r for r in requires("napari-blind-deconv") or [] if "extra ==" not in r]
    assert not any(r.startswith(("napari", "PyQt", "pyqt", "PySide")) for r in base)
    assert any(r.startswith("torch>=") for r in base)
    assert entry_points(group="console_scripts", name="blind-deconv")


def test_the_page_on_pypi_has_all_fields():
    fields = metadata("napari-blind-deconv")
    assert fields["Description-Content-Type"] == "text/markdown"
    assert fields["License-Expression"] == "BSD-3-Clause AND CC-BY-4.0"
    assert fields["Requires-Python"] == ">=3.11"
    assert fields["Summary"]
    assert fields["Keywords"]
    pythons = {f"Programming Language :: Python :: {v}" for v in ("3.11", "3.12", "3.13")}
    assert pythons <= set(fields.get_all("Classifier"))


def page_of_a_build(monkeypatch, **environment) -> dict:
    """Return the metadata that `hatch_build.py` adds with these environment variables."""
    pytest.importorskip("hatchling")
    for name in ("GITHUB_REPOSITORY", "GITHUB_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(ROOT)
    page = {"version": "1.2.3"}
    import_module("hatch_build").PackagePage(str(ROOT), {}).update(page)
    return page


def targets(page: dict) -> list[str]:
    return re.findall(r"\]\(([^)]*)\)", page["readme"]["text"])


def test_the_page_of_a_release_leads_into_its_repository(monkeypatch):
    base = "https://github.com/someone/napari-blind-deconv"
    page = page_of_a_build(
        monkeypatch,
        GITHUB_SERVER_URL="https://github.com",
        GITHUB_REPOSITORY="someone/napari-blind-deconv",
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(targets(page)) == len(re.findall(r"\]\(([^)]*)\)", readme))
    assert all(target.startswith("https://") for target in targets(page))
    assert f"]({base}/raw/v1.2.3/docs/images/scene_summary.png)" in page["readme"]["text"]
    own = [target.removeprefix(base) for target in targets(page) if target.startswith(base)]
    for kind, tag, path in (target.strip("/").split("/", 2) for target in own):
        assert tag == "v1.2.3"
        assert (ROOT / path.partition("#")[0]).is_file()
        assert path.endswith(".png") == (kind == "raw")
    assert page["urls"]["Source"] == base
    assert page["urls"]["Documentation"] == "https://someone.github.io/napari-blind-deconv/"


def test_the_page_of_another_build_has_no_link_into_the_repository(monkeypatch):
    page = page_of_a_build(monkeypatch)
    assert "blind-deconv run INPUT.tif OUTPUT.tif" in page["readme"]["text"]
    assert targets(page)
    assert all(target.startswith("https://") for target in targets(page))
    assert "![" not in page["readme"]["text"]
    assert set(page["urls"]) == {"Paper"}


def test_the_installed_page_is_the_readme():
    text = metadata("napari-blind-deconv")["Description"]
    assert "# napari-blind-deconv" in text
    assert "blind-deconv run INPUT.tif OUTPUT.tif" in text


def test_the_plugin_loads_torch_without_triton(tmp_path):
    """Triton and the OpenGL of Mesa crash a process, because each brings an LLVM of its own."""
    (tmp_path / "triton.py").write_text("print('triton was loaded')")
    program = (
        "from napari_blind_deconv.plugin.torch_loading import load_torch\n"
        "load_torch()\n"
        "import sys, torch\n"
        "weight = torch.nn.Parameter(torch.zeros(2))\n"
        "optimiser = torch.optim.Adam([weight])\n"
        "weight.sum().backward()\n"
        "optimiser.step()\n"
        "assert 'triton' not in sys.modules\n"
        "print(float(weight.sum()) < 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"
