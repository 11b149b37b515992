"""The benchmark harness, on small synthetic images: measurements, records, failures and reports."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage
from skimage.io import imsave
from typer.testing import CliRunner

pytest.importorskip("torchmetrics", reason="the benchmarks need the extra 'bench'")

from benchmarks import report, runner
from benchmarks.__main__ import main
from benchmarks.cases import Case, camera_shake, fluorescence, levin_synthetic, natural
from benchmarks.comparison import Comparison
from benchmarks.methods import Context, find_methods, version_of
from benchmarks.methods.double_dip import SCORING_INTERVAL, DoubleDip, Kernel
from benchmarks.runner import read_records, results_file, run_suite
from benchmarks.scoring import score
from benchmarks.suites import Options, find_suites, speed
from benchmarks.tables import by_case, latest, summary
from typer import Typer

from napari_blind_deconv import Settings
from napari_blind_deconv.numerics.convolution import Convolution
from napari_blind_deconv.numerics.metrics import align
from napari_blind_deconv.numerics.optics import gaussian_kernel

TINY = Settings(
    max_iterations=40,
    channels=(8, 8),
    skip_channels=4,
    kernel_size=9,
    window=5,
    stop_at_noise=False,
)
app = Typer()
app.command()(main)


@pytest.fixture(scope="module")
def case() -> Case:
    """A sharp image of 80² pixels and its blurred, noisy version, in counts above an offset."""
    random = np.random.default_rng(0)
    scene = 300 * np.clip(ndimage.gaussian_filter(random.random((96, 96)), 1) - 0.5, 0, 1)
    kernel = gaussian_kernel((13, 13), 1.6)
    blurred = ndimage.convolve(scene, kernel)
    field = np.s_[8:88, 8:88]
    noise = random.normal(0, 0.3, (80, 80))
    return Case("made up", 100 + blurred[field] + noise, 100 + scene[field], 60.0, kernel, 100.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory, case) -> Path:
    """A folder like that of the benchmark images, with small images."""
    folder = tmp_path_factory.mktemp("data") / "levin"
    for name in ("blurry", "gt", "kernel"):
        (folder / name).mkdir(parents=True)
    grey = {
        name: np.clip(2 * (image - 100), 0, 255).astype(np.uint8)
        for name, image in (("blurry", case.observed), ("gt", case.truth))
    }
    for kernel in (1, 3, 5, 7):
        # The last kernel is larger than the image.
        side = 81 if kernel == 7 else 5
        point = np.full((side, side), 9, np.uint8)
        imsave(folder / "kernel" / f"kernel{kernel}.png", point, check_contrast=False)
        for image in (1, 2):
            imsave(folder / "gt" / f"im{image}.png", grey["gt"])
            imsave(folder / "blurry" / f"im{image}_kernel{kernel}_img.png", grey["blurry"])
    return folder.parent


class TestMethods:
    @pytest.mark.parametrize("name", [name for name in find_methods() if "RL" in name])
    def test_richardson_lucy_improves_the_image(self, case, name):
        outcome = find_methods()[name].run(case, Context())
        assert outcome.image.shape == case.observed.shape
        before = score(case, case.observed, None)["psnr"]
        assert score(case, outcome.image, outcome.kernel)["psnr"] > before + 0.3

    def test_the_true_psf_gives_the_best_result(self, case):
        methods = find_methods()
        scores = {
            name: score(case, methods[name].run(case, Context()).image, None)["psnr"]
            for name in methods
            if "RL" in name or "least squares" in name
        }
        assert max(scores, key=scores.__getitem__) in (
            "RL, true PSF (best iteration)",
            "least squares, true PSF (best weight)",
        )

    def test_methods_that_know_the_psf_have_it_in_their_name(self):
        methods = {name for name, m in find_methods().items() if getattr(m, "kernel", None)}
        for name in methods:
            kernel = find_methods()[name].kernel
            assert (kernel is Kernel.TRUE) == ("true PSF" in name)
            assert (kernel is Kernel.SIZE) == ("true size" in name)

    def test_the_estimates_of_a_run_are_compared_with_the_truth(self, case):
        figures = DoubleDip("tiny", TINY).run(case, Context()).figures
        assert len(figures["curve"]) == figures["iterations"] // SCORING_INTERVAL
        assert figures["peak"] == pytest.approx(max(figures["curve"]), abs=0.006)
        assert figures["stopping_gap"] >= 0
        assert figures["last_gap"] >= 0
        assert figures["iterations"] > 40

    def test_early_stopping_is_evaluated_on_a_run_to_the_end(self, case):
        hasty = TINY.with_changes(patience=10, max_iterations=100)
        stopped = DoubleDip("hasty", hasty).run(case, Context()).figures
        complete = DoubleDip("hasty", hasty, to_the_end=True).run(case, Context()).figures
        assert complete["iterations"] >= 100
        assert complete["iterations"] > stopped["iterations"]
        assert complete["kept"] == stopped["kept"]
        assert complete["psnr"] == pytest.approx(stopped["at_kept"])

    def test_a_run_with_a_known_size_uses_it(self, case):
        sized = DoubleDip("sized", TINY.with_changes(max_iterations=2), Kernel.SIZE)
        assert sized.run(case, Context()).kernel.shape == case.kernel.shape
        given = DoubleDip("given", TINY.with_changes(max_iterations=2), Kernel.TRUE)
        assert given.run(case, Context()).kernel is None


class TestScoring:
    def test_the_truth_has_the_highest_scores(self, case):
        figures = score(case, case.truth, case.kernel)
        assert figures["ssim"] == pytest.approx(1)
        assert figures["vif"] == pytest.approx(1, abs=1e-3)
        assert figures["flux"] == pytest.approx(1)
        assert figures["kernel_similarity"] == pytest.approx(1)
        assert figures["width_error"] == 0

    def test_no_gain_is_fitted(self, case):
        assert score(case, 100 + 1.1 * (case.truth - 100), None)["psnr"] < 35

    def test_a_point_has_a_large_width_error(self, case):
        point = np.zeros((9, 9))
        point[4, 4] = 1
        figures = score(case, case.observed, point)
        assert figures["width_error"] < -0.6
        assert figures["kernel_similarity"] < 0.6


class TestCases:
    @pytest.mark.parametrize("kernel", [1, 7])
    def test_the_levin_kernels_blur_the_truth_like_the_capture(self, shared_data, kernel):
        captured = camera_shake(shared_data, 1, kernel)
        right = levin_synthetic(shared_data, 1, kernel)
        top, left = (side // 2 for side in right.kernel.shape)
        visible = captured.observed[top:-top, left:-left]
        mirrored = torch.from_numpy(right.kernel[::-1, ::-1].copy())
        wrong = Convolution(mirrored).forward(torch.from_numpy(captured.truth))
        assert align(visible, right.observed).psnr(1) > align(visible, wrong.numpy()).psnr(1) + 3

    def test_photographs_are_blurred_within_their_scene(self, shared_data):
        case = natural(shared_data, "camera", 1, field=64)
        assert case.observed.shape == case.truth.shape == (64, 64)
        assert case.observed.std() < case.truth.std()
        sharp = natural(shared_data, "camera", None, field=64)
        np.testing.assert_allclose(sharp.observed, sharp.truth, atol=1e-5)

    def test_an_estimate_is_clipped_at_the_saturation_of_the_detector(self, case):
        bright = replace(case, ceiling=case.truth.max())
        beyond = np.where(case.truth == case.truth.max(), 1e4, case.truth)
        assert score(bright, beyond, None)["ssim"] == pytest.approx(1)

    @pytest.mark.parametrize("optics", ["Airy", "defocused", "drift"])
    def test_exposures_keep_the_flux(self, shared_data, optics):
        case = fluorescence(shared_data, "neuron", optics, 100.0)
        assert case.observed.shape == (256, 256)
        # Light crosses the border both ways.
        assert score(case, case.observed, None)["flux"] == pytest.approx(1, abs=0.15)


def run(data: Path, results: Path, *, methods: tuple[str, ...] = ("input",), **changes):
    options = Options(data, device="cpu", methods=methods)
    arguments = {"jobs": 1, "again": False, "only": "", "command": "make", **changes}
    return list(run_suite(find_suites()["levin"], options, results, **arguments))


@pytest.fixture
def in_this_process(monkeypatch):
    """Measure in a thread, because a process would have to import everything first."""

    def pool(suite, options, *_):
        tasks = {task.key: task for task in suite.tasks(options)}
        return ThreadPoolExecutor(1, initializer=lambda: runner._tasks.update(tasks))

    monkeypatch.setattr(runner, "_pool", pool)


class TestRunning:
    @pytest.mark.usefixtures("in_this_process")
    def test_a_run_continues_where_it_stopped(self, data, tmp_path):
        first = run(data, tmp_path, only="im1")
        assert {record["case"] for record in first} == {f"im1_kernel{k}" for k in (1, 3, 5, 7)}
        with results_file(tmp_path, "levin").open("a") as file:
            file.write('{"suite": "levin", "case": "im2_ke')  # killed here
        rest = run(data, tmp_path)
        assert {record["case"] for record in rest} == {f"im2_kernel{k}" for k in (1, 3, 5, 7)}
        again = run(data, tmp_path, again=True, only="im1_kernel1")
        assert len(again) == 1
        assert len(latest(read_records(results_file(tmp_path, "levin")))) == 8

    @pytest.mark.usefixtures("in_this_process")
    def test_a_failure_is_recorded_and_the_other_tasks_continue(self, data, tmp_path):
        names = ("RL, true PSF (best iteration)", "fast, true PSF", "input")
        records = run(data, tmp_path, methods=names, only="im2_kernel7")
        failed = [record for record in records if "failure" in record]
        assert [record["method"] for record in failed] == ["fast, true PSF"]
        assert "image of 80 × 80 pixels, got 81 × 81 pixels" in failed[0]["failure"]
        assert len(records) == 3
        table = summary(latest(records))
        assert table.loc["fast, true PSF", "failed"] == 1
        assert pd.isna(table.loc["fast, true PSF", "PSNR"])

    @pytest.mark.usefixtures("in_this_process")
    def test_records_contain_their_origin(self, data, tmp_path):
        (record,) = run(data, tmp_path, only="im1_kernel1", command="python -m benchmarks levin")
        assert set(record["origin"]) >= {"date", "commit", "device", "threads", "jobs", "torch"}
        assert json.loads(json.dumps(record, allow_nan=False)) == record
        assert str(tmp_path) not in json.dumps(record)

    def test_missing_images_are_reported_in_one_sentence(self, tmp_path):
        done = CliRunner().invoke(app, ["levin", "--data", str(tmp_path / "nowhere")])
        assert done.exit_code == 0
        assert "Suite levin was skipped: its images are missing" in done.output

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["best"], "no suite 'best'"),
            (["levin", "--method", "magic"], "no method 'magic'"),
            (["levin", "--preset", "best"], "no preset 'best'"),
            (["levin", "--set", "sparsity=-1"], "'sparsity' got -1"),
            (
                ["levin", "--preset", "fast", "--method", "input"],
                "Expected --method, or --preset with",
            ),
            (["paper", "--method", "input"], "has fixed methods"),
            (["iterations", "--method", "input"], "Expected presets for the suite 'iterations'"),
        ],
    )
    def test_bad_arguments_are_refused(self, arguments, sentence):
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
        assert done.exit_code == 2
        assert sentence in done.output


def record(case: str, method: str, psnr: float | None, group: str = "", **more):
    origin = {"date": "d", "commit": "c", "device": "cpu", "threads": 1, "jobs": 1, "torch": "t"}
    figures = {"psnr": psnr, "ssim": 0.5, "vif": 0.5, "flux": 1.0, "seconds": 1.0, **more}
    return {
        "group": group,
        "case": case,
        "method": method,
        "seed": 0,
        **figures,
        "origin": {**origin, "command": "make"},
    }


class TestSuites:
    @pytest.mark.parametrize("name", list(find_suites()))
    def test_the_names_of_tasks_are_unique(self, shared_data, name):
        keys = [task.key for task in find_suites()[name].tasks(Options(shared_data, device="cpu"))]
        assert len(set(keys)) == len(keys) > 3

    def test_a_changed_setting_is_measured_again(self, data):
        usual, changed = (
            next(iter(find_suites()["levin"].tasks(Options(data, device="cpu", changes=changes))))
            for changes in (("patience=7",), ("patience=8",))
        )
        assert usual.version != changed.version

    def test_device_and_seed_do_not_change_the_version(self):
        usual = DoubleDip("fast")
        elsewhere = DoubleDip("fast", Context("cuda:1", 7).applied_to(usual.settings))
        assert version_of(elsewhere) == version_of(usual)

    def test_each_experiment_reports_a_table(self, tmp_path):
        gaps = {"kept": 9, "peak": 23.0, "peak_iteration": 10, "stopping_gap": 1, "last_gap": 2}
        rows = [
            record("camera, kernel 1, Gaussian 0.05", "paper", 22.0, **gaps),
            record("brick, kernel 5, Gaussian 0.05", "paper", 24.0, **gaps),
        ]
        frame = latest([{**row, "group": "early stopping"} for row in rows])
        text = find_suites()["paper"].report(frame, tmp_path / "figures")
        assert "### Early stopping (4.2.4, Fig. 26)" in text
        assert "| Gaussian 0.05 | paper    | 2          | 23.00  |" in text
        assert (tmp_path / "figures" / "early_stopping.png").is_file()

    def test_iterations_compare_sizes(self, tmp_path):
        figures = {
            "canvas": "168²",
            "seconds_per_iteration": 0.1,
            "seconds_to_start": 1.0,
            "flops": 1e9,
            "machine_rate": 1e11,
            "peak_memory": 1.0,
        }
        rows = [
            record("512²", "fast", None, **{**figures, "seconds_per_iteration": 0.4}),
            record("256²", "fast", None, **figures),
        ]
        text = find_suites()["iterations"].report(latest(rows), tmp_path)
        assert text.index("| 256²") < text.index("| 512²")
        assert "| 4.00 " in text

    def test_speed_is_relative_to_another_package_in_the_same_run(self, tmp_path):
        others = {"s": {speed.PEER: 0.1, "fast": 0.5}, "db": {speed.PEER: 25.0, "fast": 28.0}}
        rows = [
            record("256²", "all", None, group="beside others", **others),
            record("256²", "fast", None, group="memory", first_image=0.2, peak_memory=1.0),
        ]
        text = find_suites()["speed"].report(latest(rows), tmp_path)
        assert "| 5.00 " in text
        assert "| 28.00 " in text

    def test_programs_that_are_not_installed_are_left_out(self, monkeypatch):
        def absent(scene):
            raise ModuleNotFoundError

        monkeypatch.setattr(speed, "REPEATS", {64: 1})
        figures = speed._compare(64, {"input": lambda scene: scene.observed, "absent": absent})
        assert set(figures["s"]) == set(figures["db"]) == {"input"}

    def test_seeds_report_their_spread(self, tmp_path):
        rows = [{**record("a", "fast", 20.0 + seed), "seed": seed} for seed in range(3)]
        assert "| 2.00" in find_suites()["seeds"].report(latest(rows), tmp_path)


class TestReport:
    RECORDS = (
        record("a, x", "input", 20.0),
        record("b, x", "input", 30.0),
        record("a, x", "RL, true PSF (best iteration)", 24.0),
        record("b, x", "RL, true PSF (best iteration)", 36.0),
        record("a, x", "ours", 21.0, curve=[20.5, 21.5]),
        record("b, x", "ours", 33.0, curve=[33.0]),
        record("a, x", "ours", 22.0, curve=[20.5, 22.5]),  # measured again
    )

    def test_gains_are_relative_to_the_input_of_the_same_cases(self):
        table = summary(latest(list(self.RECORDS)))
        assert table.loc["ours", "cases"] == 2
        assert table.loc["ours", "gain"] == pytest.approx(2.5)
        assert table.loc["ours", "worst gain"] == pytest.approx(2.0)
        assert table.loc["ours", "of the way to the oracle, %"] == pytest.approx(50)

    def test_psnr_is_averaged_by_case(self):
        frame = latest(list(self.RECORDS))
        assert by_case(frame).loc["ours"].tolist() == [22.0, 33.0]

    def test_a_suite_reports_tables_and_figures(self, tmp_path):
        suite = Comparison("mine", lambda data: (), (), parts={"letter": 0})
        text = suite.report(latest(list(self.RECORDS)), tmp_path / "figures")
        assert "| ours" in text
        assert "Mean PSNR by letter" in text
        assert (tmp_path / "figures" / "mine_gains.png").stat().st_size > 1000
        assert (tmp_path / "figures" / "mine_curves.png").stat().st_size > 1000

    def test_a_section_is_replaced_and_the_rest_kept(self):
        text = "before\n<!-- begin x -->\nold\n<!-- end x -->\nafter\n"
        new = report.replaced(text, "x", "new \\1")
        assert new == "before\n<!-- begin x -->\nnew \\1\n<!-- end x -->\nafter\n"
        with pytest.raises(ValueError, match="no <!-- begin y -->"):
            report.replaced(text, "y", "new")

    def test_the_readme_has_a_section_for_every_suite(self):
        text = report.README.read_text(encoding="utf-8")
        for name in find_suites():
            assert f"<!-- begin {name} -->" in text
            assert f"<!-- end {name} -->" in text
