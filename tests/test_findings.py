"""What is found in an image besides the scene, and how it is told: text, records, files."""

import json

import numpy as np
import pytest
import tifffile
from tests.command import LINEAR, blind_deconv
from typer.testing import CliRunner

from napari_blind_deconv import Image, Kernel, Settings, deconvolve, deconvolve_stack
from napari_blind_deconv.batch import run_batch
from napari_blind_deconv.cli import app
from napari_blind_deconv.engine.inspection import fault_map
from napari_blind_deconv.engine.sampling import faults_of, judge_block
from napari_blind_deconv.figures import report_figure
from napari_blind_deconv.findings import FoundInPlanes, added_up, finding_lines, findings_in
from napari_blind_deconv.image import BlockKind
from napari_blind_deconv.jobs import Job, Summary, run_job, sidecar_of
from napari_blind_deconv.kernel import KernelSource
from napari_blind_deconv.numerics.pixel_faults import PixelFault
from napari_blind_deconv.reasons import Finding, QualityFlag, SkipReason, StopReason
from napari_blind_deconv.report import Report
from napari_blind_deconv.synthetic import fluorescence_scene

QUICK = Settings(solver="wiener", kernel_start=1.5)
HOT = Finding.HOT.text(3)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return fluorescence_scene((48, 56), seed=1).observed


@pytest.fixture(scope="module")
def hot(clean) -> np.ndarray:
    """A scene with three hot pixels."""
    image = clean.copy()
    image[[10, 20, 30], [12, 40, 25]] = 20 * clean.max()
    return image


class TestText:
    def test_every_finding_is_a_sentence_with_and_without_a_number(self):
        for finding in Finding:
            for count in (None, 1, 37):
                text = finding.text(count)
                assert text[0].isupper()
                assert text.endswith(".")
                assert text.count(".") == finding.sentence.count(".")

    @pytest.mark.parametrize(
        ("finding", "count", "end"),
        [
            (Finding.HOT, 1, "and replaced (1 pixel)."),
            (Finding.HOT, 37, "and replaced (37 pixels)."),
            (Finding.ROW_OFFSETS, 192, "which were subtracted (192 rows)."),
            (Finding.REPEATED, 4, "each pixel is repeated (4 times)."),
            (Finding.FILTERED, None, "use the original image."),
            (Finding.FILTERED, 37, "use the original image."),
        ],
    )
    def test_the_number_is_that_of_its_unit(self, finding, count, end):
        assert finding.text(count).endswith(end)

    @pytest.mark.parametrize("reason", [*Finding, *QualityFlag, *SkipReason, *StopReason])
    def test_a_volume_has_voxels_in_place_of_pixels(self, reason):
        assert "voxel" not in reason.sentence.replace("So many voxels", "")  # of volumes only
        assert reason.sentence_of(BlockKind.PLANE) == reason.sentence
        of_volume = reason.sentence_of(BlockKind.VOLUME)
        assert "pixel" not in of_volume.lower()
        assert of_volume.count(" ") == reason.sentence.count(" ")

    def test_the_number_is_that_of_voxels_in_a_volume(self):
        text = "Hot or dead voxels were left out and replaced (3 voxels)."
        assert Finding.HOT.text(3, BlockKind.VOLUME) == text
        found = {Finding.HOT: FoundInPlanes(2, 3)}
        assert finding_lines(found, 2, BlockKind.VOLUME) == [f"2 volumes: {text}"]

    def test_findings_of_planes_are_added_up(self):
        planes = [
            {Finding.REPEATED: 4, Finding.FILTERED: None, Finding.HOT: 3},
            {},
            {Finding.HOT: 5, Finding.REPEATED: 4},
        ]
        found = added_up(planes)
        assert found == {
            Finding.HOT: FoundInPlanes(2, 8),
            Finding.FILTERED: FoundInPlanes(1, None),
            Finding.REPEATED: FoundInPlanes(2, 4),
        }
        assert finding_lines(found, 3) == [
            f"2 planes: {Finding.HOT.text(8)}",
            f"1 plane: {Finding.FILTERED.sentence}",
            f"2 planes: {Finding.REPEATED.text(4)}",
        ]
        assert finding_lines(added_up(planes[2:]), 1)[0] == Finding.HOT.text(5)

    def test_records_are_read_also_of_other_versions(self, hot):
        result = deconvolve(hot, QUICK)
        record = json.loads(json.dumps(result.provenance()))
        assert findings_in(record) == result.findings
        assert findings_in({}) == {}
        assert findings_in({"findings": {"of a later version": 3, "masked": 2}}) == {
            Finding.MASKED: 2
        }


class TestCounts:
    def test_a_pixel_of_a_colour_image_counts_once(self, hot):
        colours = np.stack([hot, hot, hot], axis=-1)
        assert deconvolve(colours, QUICK, axes="YXS").findings[Finding.HOT] == 3
        assert np.count_nonzero(fault_map(Image(colours, "YXS"))) == 3

    def test_a_clean_image_has_none(self, clean):
        assert not any(finding.unit == "pixel" for finding in deconvolve(clean, QUICK).findings)

    def test_planes_of_a_stack_are_added_up(self, clean, hot):
        result = deconvolve_stack(np.stack([hot, clean, hot]), QUICK, axes="ZYX").result()
        assert result.findings[Finding.HOT] == FoundInPlanes(2, 6)


class TestRepeatedPixels:
    """A result on the grid of the samples is judged and shown on that grid."""

    @pytest.fixture
    def repeated(self, hot) -> np.ndarray:
        return hot.repeat(3, 0).repeat(3, 1)

    def test_the_faults_are_those_of_the_samples(self, hot, repeated):
        faults = faults_of(Image(repeated), None)
        expected = fault_map(Image(hot)).repeat(3, 0).repeat(3, 1)
        np.testing.assert_array_equal(faults, expected)

    def test_a_result_that_is_judged_again_has_the_same_judgement(self, repeated):
        result = deconvolve(repeated, QUICK)
        again = judge_block(Image(repeated), result.image, result.kernel, reason=result.stop_reason)
        assert again.findings == result.findings
        assert again.findings[Finding.REPEATED] == 3
        assert again.trust.residual.shape == repeated.shape
        assert again.trust.residual_level == pytest.approx(result.trust.residual_level)

    def test_a_given_kernel_is_on_the_grid_of_the_pixels(self, repeated):
        given = Kernel.point(source=KernelSource.GIVEN)
        np.testing.assert_array_equal(faults_of(Image(repeated), given), fault_map(Image(repeated)))


class TestFiles:
    @pytest.fixture
    def plane(self, hot, tmp_path):
        tifffile.imwrite(tmp_path / "plane.tif", hot.astype(np.float32))
        return tmp_path / "plane.tif"

    @pytest.fixture
    def stack(self, clean, hot, tmp_path):
        planes = np.stack([hot, clean, hot]).astype(np.float32)
        tifffile.imwrite(tmp_path / "stack.tif", planes, imagej=True, metadata={"axes": "ZYX"})
        return tmp_path / "stack.tif"

    def test_the_sidecar_states_them_and_the_report_repeats_them(self, plane, tmp_path):
        job = Job(input=plane, output=tmp_path / "out.tif", settings=QUICK)
        summary = run_job(job).result()
        assert HOT in summary.finding_lines()
        assert not any("Hot" in line for line in summary.warning_lines())
        (record,) = json.loads(sidecar_of(job.output).read_text(encoding="utf-8"))["planes"]
        assert record["findings"]["hot or dead"] == 3
        report = Report.of(job.output)
        assert report.as_record()["findings"] == record["findings"]
        text = " ".join(
            text.get_text() for axes in report_figure(report).axes for text in axes.texts
        )
        assert HOT in " ".join(text.split())
        assert run_job(job, resume=True).result().findings == summary.findings

    def test_a_stack_adds_them_up(self, stack, tmp_path):
        job = Job(input=stack, output=tmp_path / "out.tif", settings=QUICK)
        assert f"2 planes: {Finding.HOT.text(6)}" in run_job(job).result().finding_lines()

    def test_records_of_earlier_versions_have_none(self):
        record = {"failure": None, "warnings": []}
        summary = Summary.of_records({(): record}, finished=True, planes=1, done=0, seconds=0)
        assert summary.finding_lines() == []

    def test_the_command_prints_them_as_notes(self, plane, tmp_path):
        done = blind_deconv("run", plane, tmp_path / "out.tif", *LINEAR)
        assert done.returncode == 0, done.stderr
        assert f"note: {HOT}" in done.stderr
        assert "warning: Hot" not in done.stderr

    def test_a_batch_prints_them_for_each_file(self, plane, stack, tmp_path):
        jobs = [
            Job(input=path, output=tmp_path / f"{path.stem}.ome.tif", settings=QUICK)
            for path in (plane, stack)
        ]
        notes = {job.input: report.notes for job, report in run_batch(jobs)}
        assert HOT in notes[plane]
        assert f"2 planes: {Finding.HOT.text(6)}" in notes[stack]
        command = ["batch", str(plane), "--out", str(tmp_path), "--suffix", "_2.ome.tif"]
        done = CliRunner().invoke(app, [*command, *LINEAR])
        assert f"plane.tif: note: {HOT}" in done.stderr


def test_every_fault_of_a_pixel_has_a_finding():
    for fault in PixelFault:
        assert fault is PixelFault.NONE or Finding[fault.name].unit == "pixel"
