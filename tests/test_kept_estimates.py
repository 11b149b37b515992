"""Estimates that a run keeps: bounded memory, equal intervals, and the slider for them."""

import numpy as np
import pytest

from napari_blind_deconv.plugin import kept_estimates
from napari_blind_deconv.plugin.estimate_slider import EstimateSlider
from napari_blind_deconv.plugin.kept_estimates import KeptEstimate, KeptEstimates

KERNEL = np.ones((3, 3), np.float32) / 9


def estimate(iteration: int) -> KeptEstimate:
    return KeptEstimate(iteration, np.full((8, 8), iteration, np.float32), KERNEL)


def iterations(estimates: KeptEstimates) -> list[int]:
    return [estimates[index].iteration for index in range(len(estimates))]


def test_a_long_run_keeps_equal_intervals_and_the_first_estimate():
    estimates = KeptEstimates()
    for iteration in range(1, 1001):
        estimates.offer(estimate(iteration))
    kept = iterations(estimates)
    assert 20 <= len(kept) <= 40
    assert kept[0] == 1
    assert len(set(np.diff(kept))) == 1


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(kept_estimates, "_MAX_BYTES", 5 * estimate(1).image.nbytes)
    estimates = KeptEstimates()
    for iteration in range(1, 200):
        estimates.offer(estimate(iteration))
        assert len(estimates) <= 5
    assert len(estimates) >= 2


def test_the_result_is_inserted_once_in_order():
    estimates = KeptEstimates()
    for iteration in (1, 10, 20):
        estimates.offer(estimate(iteration))
    assert estimates.add_result(estimate(10)) == 1
    assert iterations(estimates) == [1, 10, 20]
    assert estimates.add_result(estimate(15)) == 2
    assert iterations(estimates) == [1, 10, 15, 20]


@pytest.fixture
def slider(qtbot):
    widget = EstimateSlider()
    qtbot.addWidget(widget)
    widget.set_iterations([1, 10, 20], 1, 1)
    return widget


def test_the_slider_shows_its_iteration(slider):
    previews = []
    slider.previewed.connect(previews.append)
    assert slider.label.text() == "Iteration 10: the run's choice, in use"
    assert not slider.use_button.isEnabled()
    slider.slider.setValue(2)
    assert slider.label.text() == "Iteration 20"
    assert previews == [2]


def test_another_estimate_can_be_chosen(slider):
    choices = []
    slider.chosen.connect(choices.append)
    slider.slider.setValue(0)
    slider.use_button.click()
    assert choices == [0]
    assert slider.label.text() == "Iteration 1: in use"
    slider.slider.setValue(1)
    assert slider.label.text() == "Iteration 10: the run's choice"
    assert slider.use_button.isEnabled()


def test_a_slider_without_a_choice_is_disabled_with_a_reason(slider):
    for offered in ([], [3]):
        slider.set_iterations(offered, 0, 0)
        for widget in (slider.slider, slider.use_button):
            assert not widget.isEnabled()
            assert widget.toolTip()
    assert "only estimate" in slider.label.text()
