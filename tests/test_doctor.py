"""``blind-deconv doctor``, and all commands when PyTorch is missing or broken."""

import math
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from rich.console import Console
from tests.command import blind_deconv_process

from napari_blind_deconv import doctor
from napari_blind_deconv.engine import deconvolve as pipeline

BROKEN = {
    "missing": "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')",
    "no library": "raise ImportError('libtorch_cpu.so: cannot open shared object file')",
    "no DLL": "raise OSError(126, 'The specified module could not be found')",
}


def run_with_shim(folder, *arguments) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder / "shim"), "COLUMNS": "200"}
    return blind_deconv_process(*arguments, cwd=folder, env=environment)


@pytest.fixture
def folder(tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((20, 20), np.uint8))
    return tmp_path


def break_torch(folder, how: str) -> None:
    (folder / "shim" / "torch").mkdir(parents=True)
    (folder / "shim" / "torch" / "__init__.py").write_text(BROKEN[how])


@pytest.mark.parametrize(
    ("arguments", "how"),
    [
        (("run", "image.tif", "out.tif"), "missing"),
        (("batch", "image.tif", "--out", "out"), "no library"),
        (("demo", "--out", "out"), "no DLL"),
        (("doctor",), "no library"),
    ],
)
def test_without_torch_a_command_ends_in_one_sentence(folder, arguments, how):
    break_torch(folder, how)
    done = run_with_shim(folder, *arguments)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    *progress, sentence = done.stderr.splitlines()
    assert sentence.startswith("error: PyTorch ")
    assert "pip install" in sentence
    assert not any("error" in line for line in progress)
    assert not (folder / "out.tif").exists()


def test_commands_that_do_not_need_torch_work_without_it(folder):
    break_torch(folder, "no library")
    assert run_with_shim(folder, "presets").returncode == 0
    assert run_with_shim(folder, "--help").returncode == 0


def test_a_missing_file_is_not_attributed_to_torch():
    with pytest.raises(FileNotFoundError) as caught:
        Path("/no/such/file").read_text()
    assert doctor.torch_trouble(caught.value) is None
    assert doctor.torch_trouble(ModuleNotFoundError("No module named 'x'", name="x")) is None


def test_doctor_passes_on_this_machine(folder):
    done = run_with_shim(folder, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert torch.__version__ in done.stdout
    assert "GiB free" in done.stdout
    assert "The self-test passed." in done.stdout


def test_doctor_fails_if_the_result_is_no_better_than_the_image(monkeypatch):
    def spoil(image, *_, **__):
        return SimpleNamespace(image=np.random.default_rng(0).permuted(image.astype(np.float32)))

    monkeypatch.setattr(pipeline, "deconvolve", spoil)
    console = Console(record=True, width=200)
    assert not doctor.examine(console)
    text = console.export_text()
    assert "the result is no better than the image" in text
    assert "The self-test failed." in text


def test_a_device_that_fails_or_gives_wrong_results_is_reported():
    missing = doctor.try_device("cuda:99")
    assert math.isnan(missing.gain)
    assert "'cuda:99' was not found" in missing.trouble
    wrong = doctor.try_device("cpu", expected_gain=9.0)
    assert "but the CPU +9.00 dB" in wrong.trouble
    assert not doctor.try_device("cpu", expected_gain=wrong.gain).trouble


@pytest.mark.parametrize(
    ("cuda", "driver", "usable", "free", "start"),
    [
        ("13.0", "/usr/bin/nvidia-smi", False, 16, "PyTorch has CUDA 13.0 but finds no GPU"),
        ("13.0", None, False, 16, "PyTorch has CUDA but finds no NVIDIA driver"),
        (None, "/usr/bin/nvidia-smi", False, 16, "There is an NVIDIA driver but no CUDA"),
        (None, None, False, 2, "Only 2.0 GiB of memory are free"),
        ("13.0", "/usr/bin/nvidia-smi", True, 16, None),
        (None, None, False, 16, None),
    ],
)
def test_advice(monkeypatch, cuda, driver, usable, free, start):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: driver)
    memory = SimpleNamespace(available=free * 2**30)
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: memory)
    sentences = list(doctor.advice())
    assert len(sentences) == (start is not None)
    assert all(sentence.startswith(start) for sentence in sentences)


@pytest.mark.parametrize(
    ("python", "pyside", "count"),
    [((3, 11), "6.12.0", 1), ((3, 12), "6.12.0", 0), ((3, 11), "6.11.3", 0), ((3, 11), None, 0)],
)
def test_a_pyside_that_crashes_napari_is_reported(monkeypatch, python, pyside, count):
    monkeypatch.setattr(doctor.sys, "version_info", python)
    monkeypatch.setattr(doctor, "installed_version", lambda _: pyside)
    assert sum("PySide6" in sentence for sentence in doctor.advice()) == count
