"""What is said of a result in plain words."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from napari_blind_deconv import Kernel, Result, Settings, deconvolve, deconvolve_stack
from napari_blind_deconv.engine.inputs import check_sides, kernel_window
from napari_blind_deconv.image import Image
from napari_blind_deconv.numerics.optics import elliptic_gaussian, gaussian_kernel
from napari_blind_deconv.reasons import Finding, QualityFlag
from napari_blind_deconv.verdict import NextStep, verdict

LINEAR = Settings(solver="wiener")


@pytest.fixture(scope="module")
def blurred() -> np.ndarray:
    image = ndimage.gaussian_filter(data.camera()[100:260, 150:310].astype(float), 2.5)
    return image + np.random.default_rng(0).normal(0, 0.5, image.shape)


@pytest.fixture(scope="module")
def result(blurred) -> Result:
    image = Image(blurred, spacing={"Y": 0.1, "X": 0.1}, unit="µm")
    return deconvolve(image, LINEAR)


def changed(
    result: Result, *, before=None, after=None, flags=(), findings=None, level=1.0
) -> Result:
    trust = replace(
        result.trust, resolution_before=before, resolution_after=after, residual_level=level
    )
    return replace(result, trust=trust, flags=tuple(flags), findings=findings or {})


def test_a_sharper_image(result):
    told = verdict(result)
    before, after = result.trust.resolution_before, result.trust.resolution_after
    detail = f"Sharper: detail down to {after / 10:.2g} µm (was {before / 10:.2g})."
    assert told.sentence.startswith(detail)
    width, margin = re.search(r"Kernel (\S+) ± (\S+) µm wide\.$", told.sentence).groups()
    assert float(width) == pytest.approx(0.589, rel=0.15)
    assert 0 < float(margin) < 0.2
    assert len(width) == len(margin), "both have the same number of decimals"
    assert told.next_steps == ()


def test_sizes_are_in_pixels_if_those_are_not_known(result):
    unknown = replace(result, kernel=Kernel(result.kernel.weights))
    assert verdict(unknown).sentence.endswith(" px wide.")
    assert "nm" in verdict(unknown, (100.0, 100.0), "nm").sentence


def test_a_long_kernel_has_two_widths(blurred):
    psf = elliptic_gaussian(31, (4.0, 2.0), 30)
    sentence = verdict(deconvolve(blurred, LINEAR, kernel=psf)).sentence
    assert sentence.endswith("The given kernel is 9.3 × 4.7 px wide.")


@pytest.mark.parametrize(
    ("before", "after", "flags", "expected"),
    [
        (5.0, 3.0, (), "Sharper: detail down to 0.3 µm (was 0.5)."),
        (None, 3.0, (), "Sharper: detail down to 0.3 µm (noise hid it before)."),
        (5.0, None, (), "Deconvolved; noise hides how fine its detail is."),
        (5.0, 5.0, (QualityFlag.NOT_SHARPER,), "No sharper: detail down to 0.5 µm, as before."),
        (4.0, 8.0, (QualityFlag.NOT_SHARPER,), "No sharper: detail down to 0.8 µm (was 0.4)."),
        (2.0, 2.4, (), "No sharper: detail down to 0.24 µm (was 0.2)."),
        (2.0, 2.0, (), "Deconvolved: detail down to 0.2 µm, as before; contrast was restored."),
    ],
)
def test_the_finest_detail(result, before, after, flags, expected):
    told = verdict(changed(result, before=before, after=after, flags=flags))
    assert told.sentence.startswith(expected)
    assert told.flags == frozenset(flags)


@pytest.mark.parametrize(
    "flag",
    [
        QualityFlag.NO_BLUR,
        QualityFlag.TOO_NOISY,
        QualityFlag.TOO_SMALL,
    ],
)
def test_nothing_sharpened_is_said_with_what_to_try(result, flag):
    told = verdict(changed(result, before=3.0, after=2.0, flags=[flag, QualityFlag.LOW_SIGNAL]))
    assert told.sentence.startswith("Nothing sharpened: ")
    assert told.sentence.endswith("; noise was taken off.")
    assert told.next_steps == (NextStep.GAUSSIAN, NextStep.MICROSCOPE)
    assert told.flags == {flag}


@pytest.mark.parametrize("level", [None, 0.1])
def test_noise_that_stayed_is_not_said_to_be_taken_off(result, level):
    told = verdict(changed(result, flags=[QualityFlag.NO_BLUR], level=level))
    assert told.sentence == "Nothing sharpened: the image is as sharp as its pixels."


def test_pixels_that_are_too_coarse_leave_nothing_to_try(result):
    told = verdict(changed(result, flags=[QualityFlag.TOO_COARSE]))
    assert "too coarse" in told.sentence
    assert told.next_steps == ()


def test_an_uneven_blur_suggests_a_region(result):
    told = verdict(changed(result, before=5.0, after=3.0, findings={Finding.UNEVEN: None}))
    assert told.next_steps == (NextStep.REGION,)


def test_a_kernel_that_was_found_for_a_stack_is_not_called_given(blurred):
    for plane in deconvolve_stack(np.stack([blurred, blurred]), LINEAR, axes="ZYX"):
        assert plane.result.kernel_is_held
        assert ". Kernel " in verdict(plane.result).sentence


def test_a_round_kernel_of_a_known_width(blurred):
    given = deconvolve(blurred, LINEAR, kernel=gaussian_kernel((31, 31), 2.5))
    assert verdict(given).sentence.endswith("The given kernel is 5.9 px wide.")


def test_what_a_volume_consists_of_is_called_voxels(result):
    kernel = Kernel(gaussian_kernel((5, 5, 5), 1.0))
    told = verdict(replace(changed(result, flags=[QualityFlag.NO_BLUR], level=None), kernel=kernel))
    assert told.sentence == "Nothing sharpened: the image is as sharp as its voxels."
    narrow = Image(np.ones((12, 10, 36)), "ZYX", space="ZYX")
    with pytest.raises(ValueError, match="at least 16 voxels along Y and X, got shape"):
        check_sides(narrow)
    with pytest.raises(ValueError, match="image of 12 × 10 × 36 voxels, got 11 × 11 × 11 voxels"):
        kernel_window(Settings(kernel_size=11), narrow.block_shape)
