"""Runs as iterators: their steps and their result."""

import pytest

from napari_blind_deconv import Result, Settings, Snapshot, iterate
from napari_blind_deconv.steps import Run, mapped, run_to_end


def counting(maximum: int, seen: list[int] | None = None):
    """Yield 1 to `maximum`, append each number to `seen`, and return the sum."""
    for number in range(1, maximum + 1):
        if seen is not None:
            seen.append(number)
        yield number
    return sum(range(maximum + 1))


def test_a_run_is_read_to_its_end_and_has_a_result():
    run = Run(counting(3))
    assert list(run) == [1, 2, 3]
    assert run.result() == 6


def test_the_result_can_be_requested_without_the_steps():
    seen = []
    assert Run(counting(3, seen)).result() == 6
    assert seen == [1, 2, 3]


def test_the_remaining_steps_run_when_the_result_is_requested():
    seen = []
    run = Run(counting(4, seen))
    assert next(run) == 1
    for number in run:
        if number == 2:
            break
    assert seen == [1, 2]
    assert run.result() == 10
    assert seen == [1, 2, 3, 4], "each step once"


def test_the_result_can_be_requested_again():
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


def test_another_generator_can_yield_from_a_run():
    def twice():
        first = yield from Run(counting(2))
        second = yield from Run(counting(3))
        return first, second

    run = Run(twice())
    assert list(run) == [1, 2, 1, 2, 3]
    assert run.result() == (3, 6)


def test_a_finished_run_returns_its_result_to_another_generator():
    run = Run(counting(2))
    run.result()

    def later():
        return (yield from run)

    assert run_to_end(later()) == 3


def test_another_generator_continues_a_started_run():
    run = Run(counting(3))
    next(run)

    def later():
        return (yield from run)

    rest = Run(later())
    assert list(rest) == [2, 3]
    assert rest.result() == 6


def test_a_closed_run_has_no_result():
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


def test_an_error_is_raised_to_the_reader():
    def failing():
        yield 1
        raise ValueError("broken")

    run = Run(failing())
    assert next(run) == 1
    with pytest.raises(ValueError, match="broken"):
        run.result()


@pytest.mark.parametrize("wrap", [Run, lambda steps: steps])
def test_steps_can_be_mapped(wrap):
    run = Run(mapped(wrap(counting(3)), lambda number: 10 * number))
    assert list(run) == [10, 20, 30]
    assert run.result() == 6


def test_iterate_returns_a_run(small_scene):
    settings = Settings(channels=(8,), max_iterations=3, kernel_features=16, stop_at_noise=False)
    run = iterate(small_scene[1], settings)
    first = next(run)
    assert isinstance(first, Snapshot)
    result = run.result()
    assert isinstance(result, Result)
    assert result.trace["stage"].tolist().count("double-dip") == 3
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
