"""Real images in the benchmarks: planes of files, pairs of exposures, and the contact sheet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.io import imread

pytest.importorskip("torchmetrics", reason="the benchmarks need the extra 'bench'")

from benchmarks.contact_sheet import entry_of, page_of, write_pages
from benchmarks.methods import Context, find_methods
from benchmarks.real_images import real_planes
from benchmarks.scoring import quality, score
from benchmarks.suites import Options, find_suites
from benchmarks.suites.real import real_pair

from napari_blind_deconv import Settings
from napari_blind_deconv.numerics.optics import gaussian_kernel
from napari_blind_deconv.reasons import Finding

LINEAR = Settings(solver="wiener", kernel_start=1.5)


@pytest.fixture(scope="module")
def pair():
    """A blurred exposure in counts, and a sharp one of another instrument."""
    random = np.random.default_rng(0)
    scene = ndimage.gaussian_filter(random.random((100, 100)), 1.0)
    observed = 100 + 500 * ndimage.gaussian_filter(scene, 2.5)
    return real_pair("pair, 1", observed, 40 * scene, offset=100.0)


class TestPlanes:
    @pytest.mark.parametrize(
        ("shape", "planes"),
        [((20, 30), 1), ((3, 20, 30), 3), ((20, 30, 3), 3), ((9, 20, 30), 1), ((9, 2, 20, 30), 2)],
    )
    def test_channels_and_the_middle_plane_are_used(self, tmp_path, shape, planes):
        (tmp_path / "io").mkdir()
        tifffile.imwrite(
            tmp_path / "io" / "a.tif", np.zeros(shape, np.uint8), photometric="minisblack"
        )
        found = list(real_planes(tmp_path, "io"))
        assert [plane.name for plane in found] == [f"a {number}" for number in range(planes)]
        assert all(plane.pixels.shape == (20, 30) for plane in found)


class TestPairs:
    def test_units_offset_and_gain_of_the_two_exposures_do_not_matter(self, pair):
        other = replace(pair, observed=7 * pair.observed + 1000)
        assert quality(other, other.observed) == pytest.approx(quality(pair, pair.observed))
        assert quality(pair, 3 * pair.truth + 5) > 100
        assert score(pair, pair.truth, None)["flux"] is None

    def test_a_shift_of_up_to_8_pixels_does_not_matter(self, pair):
        shifted = 3 * np.roll(pair.truth, (8, -5), (0, 1)) + 5
        figures = score(pair, shifted, None)
        assert figures["psnr"] > 100
        assert figures["shift"] == [-8, 5]

    def test_a_sharper_estimate_scores_higher(self, pair):
        sharper = find_methods()["RL, guessed PSF, 20 iterations"].run(pair, Context()).image
        assert quality(pair, sharper) > quality(pair, pair.observed) + 1

    def test_an_image_without_contrast_has_a_score(self, pair):
        flat = np.ones_like(pair.truth)
        assert quality(pair, flat) < quality(pair, pair.observed)

    @pytest.mark.parametrize("method", ["RL, true PSF (best iteration)", "fast, true PSF"])
    def test_nobody_knows_the_kernel_of_a_pair(self, pair, method):
        with pytest.raises(ValueError, match="Expected a case whose kernel is known"):
            find_methods()[method].run(pair, Context())
        figures = score(pair, pair.observed, gaussian_kernel((9, 9), 1.5))
        assert "kernel_similarity" not in figures

    def test_inputs_score_as_published_with_the_data(self, shared_data):
        """The values of SOURCES.md, which another program measured; it shifted more finely."""
        tasks = find_suites()["real"].tasks(Options(shared_data, methods=("input",)))
        first = {task.case: task for task in tasks}
        assert first["focus, −0.75 µm"].run()["psnr"] == pytest.approx(26.72, abs=0.2)
        assert first["confocal/STED, axon 0"].run()["psnr"] == pytest.approx(21.69, abs=0.2)
        coarse = first["repeated pixels, axon 0 on a coarse grid"].run.case.observed
        assert (coarse[::4, ::4].repeat(4, 0).repeat(4, 1) == coarse).all()


class TestContactSheet:
    def test_input_and_result_have_the_same_contrast(self, small_scene):
        entry = entry_of("scene 0", small_scene[1], LINEAR)
        before, after, kernel = page_of([entry]).axes
        assert before.images[0].get_clim() == after.images[0].get_clim()
        assert before.images[0].get_array().std() < after.images[0].get_array().std()
        assert kernel.images[0].get_array().shape == entry.outcome.kernel.shape

    def test_the_verdict_states_kernel_warnings_and_findings(self, small_scene):
        image = small_scene[1].copy()
        image[20, 30] = 20
        entry = entry_of("scene 0", image, LINEAR)
        assert entry.verdict.startswith("scene 0, 48 × 48: kernel set, 3.5 × 3.5 px; signal to")
        assert Finding.HOT.text(1) in entry.verdict
        assert all(flag.sentence in entry.verdict for flag in entry.outcome.flags)

    def test_an_error_is_the_verdict(self):
        entry = entry_of("nothing", np.zeros((48, 48)), LINEAR)
        page = page_of([entry])
        assert entry.verdict.startswith("nothing: Expected an image")
        assert len(page.axes) == 1
        assert page.texts[0].get_text().startswith("nothing: Expected")

    def test_pages_replace_those_of_an_earlier_run(self, tmp_path, small_scene):
        (tmp_path / "page_07.png").touch()
        entry = entry_of("scene 0", small_scene[1], LINEAR)
        pages = list(write_pages(iter([entry] * 5), tmp_path))
        assert sorted(tmp_path.iterdir()) == pages
        assert [page.name for page in pages] == ["page_01.png", "page_02.png"]
        tall, short = (imread(page).shape[0] for page in pages)
        assert tall == 4 * short
