"""Runs as iterators: what they report, and what they come to."""

import pytest

from napari_blind_deconv import Result, Settings, Snapshot, iterate
from napari_blind_deconv.steps import Run, mapped, run_to_end


def counting(most: int, seen: list[int] | None = None):
    """Reports 1 to `most`, writes down what was computed, and comes to their sum."""
    for number in range(1, most + 1):
        if seen is not None:
            seen.append(number)
        yield number
    return sum(range(most + 1))


def test_it_is_read_to_its_end_and_asked():
    run = Run(counting(3))
    assert list(run) == [1, 2, 3]
    assert run.result() == 6


def test_the_result_can_be_asked_for_alone():
    seen = []
    assert Run(counting(3, seen)).result() == 6
    assert seen == [1, 2, 3]


def test_what_is_left_is_run_when_the_result_is_asked_for():
    seen = []
    run = Run(counting(4, seen))
    assert next(run) == 1
    for number in run:
        if number == 2:
            break
    assert seen == [1, 2]
    assert run.result() == 10
    assert seen == [1, 2, 3, 4], "each once"


def test_the_result_can_be_asked_for_again():
    seen = []
    run = Run(counting(2, seen))
    assert run.result() == run.result() == 3
    assert list(run) == []
    assert run.result() == 3
    assert seen == [1, 2]


def test_a_result_of_none_is_a_result():
    def nothing():
        yield 1

    run = Run(nothing())
    assert run.result() is None
    assert run.result() is None


def test_another_generator_can_go_through_it():
    def twice():
        first = yield from Run(counting(2))
        second = yield from Run(counting(3))
        return first, second

    run = Run(twice())
    assert list(run) == [1, 2, 1, 2, 3]
    assert run.result() == (3, 6)


def test_one_that_has_ended_still_gives_its_result_to_another():
    run = Run(counting(2))
    run.result()

    def later():
        return (yield from run)

    assert run_to_end(later()) == 3


def test_one_that_was_begun_is_gone_on_with():
    run = Run(counting(3))
    next(run)

    def later():
        return (yield from run)

    rest = Run(later())
    assert list(rest) == [2, 3]
    assert rest.result() == 6


def test_closing_gives_it_up():
    ended = []

    def steps():
        try:
            yield from counting(5)
        finally:
            ended.append(True)

    run = Run(steps())
    next(run)
    run.close()
    assert ended == [True]
    assert list(run) == []
    with pytest.raises(RuntimeError, match="has no result"):
        run.result()


def test_what_goes_wrong_is_raised_to_whom_is_reading():
    def failing():
        yield 1
        raise ValueError("broken")

    run = Run(failing())
    assert next(run) == 1
    with pytest.raises(ValueError, match="broken"):
        run.result()


@pytest.mark.parametrize("wrap", [Run, lambda steps: steps])
def test_steps_can_be_changed_on_the_way(wrap):
    run = Run(mapped(wrap(counting(3)), lambda number: 10 * number))
    assert list(run) == [10, 20, 30]
    assert run.result() == 6


def test_iterate_gives_one(small_scene):
    settings = Settings(channels=(8,), max_iterations=3, kernel_features=16, stop_at_noise=False)
    run = iterate(small_scene[1], settings)
    first = next(run)
    assert isinstance(first, Snapshot)
    result = run.result()
    assert isinstance(result, Result)
    assert len(result.trace) == 3
    assert run.result() is result


def test_a_run_that_failed_has_no_result():
    def failing():
        yield 1
        raise ValueError("on the way")

    run = Run(failing())
    with pytest.raises(ValueError, match="on the way"):
        run.result()
    with pytest.raises(RuntimeError, match="has no result"):
        run.result()
