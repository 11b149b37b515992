"""Pictures of a run: bounded memory, even steps, and a slider over them."""

import numpy as np
import pytest

from napari_blind_deconv.plugin import kept_estimates
from napari_blind_deconv.plugin.estimate_slider import EstimateSlider
from napari_blind_deconv.plugin.kept_estimates import KeptEstimate, KeptEstimates

KERNEL = np.ones((3, 3), np.float32) / 9


def picture(iteration: int) -> KeptEstimate:
    return KeptEstimate(iteration, np.full((8, 8), iteration, np.float32), KERNEL)


def iterations(pictures: KeptEstimates) -> list[int]:
    return [pictures[place].iteration for place in range(len(pictures))]


def test_a_long_run_keeps_even_steps_and_its_first():
    pictures = KeptEstimates()
    for iteration in range(1, 1001):
        pictures.offer(picture(iteration))
    kept = iterations(pictures)
    assert 20 <= len(kept) <= 40
    assert kept[0] == 1
    assert len(set(np.diff(kept))) == 1


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(kept_estimates, "_MAX_BYTES", 5 * picture(1).image.nbytes)
    pictures = KeptEstimates()
    for iteration in range(1, 200):
        pictures.offer(picture(iteration))
        assert len(pictures) <= 5
    assert len(pictures) >= 2


def test_the_runs_choice_joins_in_its_place_once():
    pictures = KeptEstimates()
    for iteration in (1, 10, 20):
        pictures.offer(picture(iteration))
    assert pictures.add_result(picture(10)) == 1
    assert iterations(pictures) == [1, 10, 20]
    assert pictures.add_result(picture(15)) == 2
    assert iterations(pictures) == [1, 10, 15, 20]


@pytest.fixture
def slider(qtbot):
    widget = EstimateSlider()
    qtbot.addWidget(widget)
    widget.set_iterations([1, 10, 20], 1)
    return widget


def test_the_slider_tells_where_it_stands(slider):
    looked = []
    slider.previewed.connect(looked.append)
    assert slider.label.text() == "Iteration 10: the run's choice, in use"
    assert not slider.use_button.isEnabled()
    slider.slider.setValue(2)
    assert slider.label.text() == "Iteration 20"
    assert looked == [2]


def test_another_picture_is_taken(slider):
    taken = []
    slider.chosen.connect(taken.append)
    slider.slider.setValue(0)
    slider.use_button.click()
    assert taken == [0]
    assert slider.label.text() == "Iteration 1: in use"
    slider.slider.setValue(1)
    assert slider.label.text() == "Iteration 10: the run's choice"
    assert slider.use_button.isEnabled()


def test_nothing_to_choose_is_said(slider):
    for offer in ([], [3]):
        slider.set_iterations(offer, 0)
        for widget in (slider.slider, slider.use_button):
            assert not widget.isEnabled()
            assert widget.toolTip()
    assert "only estimate" in slider.label.text()
