"""Images: axes, blocks and channels."""

import numpy as np
import pytest

from napari_blind_deconv import Image

STACK = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)


def test_a_stack_has_blocks_and_channels():
    image = Image(STACK, "CZYX", {"Z": 0.3, "Y": 0.1, "X": 0.1}, "µm", ("red", "green"))
    assert (image.stack_axes, image.stack_shape, image.block_shape) == ("CZ", (2, 3), (4, 5))
    assert (image.blocks, image.channels) == (6, 2)
    assert list(image.indices()) == list(np.ndindex(2, 3))
    assert [image.channel_of(index) for index in ((0, 2), (1, 0))] == [0, 1]
    assert image.pixel_size == (0.1, 0.1)


def test_a_block_is_an_image():
    block = Image(STACK, "CZYX", {"Y": 0.1, "X": 0.2}, "µm").read((1, 2))
    np.testing.assert_array_equal(block.array, STACK[1, 2])
    assert (block.axes, block.blocks, block.pixel_size, block.unit) == ("YX", 1, (0.1, 0.2), "µm")


def test_a_volume_is_one_block_if_space_has_three_axes():
    image = Image(STACK, "CZYX", {"Z": 1.0, "Y": 0.1, "X": 0.1}, space="ZYX")
    assert (image.stack_axes, image.block_shape, image.blocks) == ("C", (3, 4, 5), 2)
    assert image.pixel_size == (1.0, 0.1, 0.1)
    assert image.read((1,)).by_channel().shape == (1, 3, 4, 5)


@pytest.mark.parametrize("samples", [3, 4])
def test_channels_can_be_separated_and_joined(samples):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, samples), dtype=np.uint8)
    image = Image(pixels, "YXS")
    assert image.is_colour
    assert image.by_channel().shape == (3, 4, 5)
    np.testing.assert_array_equal(image.with_channels(image.by_channel()), pixels)
    np.testing.assert_allclose(image.luminance(), pixels[..., :3].mean(axis=-1))


def test_the_luminance_of_a_grey_image_is_the_image():
    image = Image(STACK[0, 0].astype(">u2"))
    np.testing.assert_array_equal(image.luminance(), STACK[0, 0])
    assert image.luminance().dtype == np.float64
    np.testing.assert_array_equal(image.with_channels(image.by_channel()), STACK[0, 0])


def test_pixel_size_needs_all_axes():
    assert Image(STACK[0, 0], "YX", {"Y": 0.1}).pixel_size is None


@pytest.mark.parametrize(
    ("shape", "axes", "sentence"),
    [
        ((1, 2, 3, 16, 16, 4), "TCZYXS", None),
        ((16, 16), "YX", None),
        ((16, 16), "XY", "got 'XY'"),
        ((2, 16, 16), "SYX", "Expected axes with the letters T, C and Z"),
        ((2, 2, 16, 16), "ZZYX", "each at most once"),
        ((2, 16, 16), "YX", "one letter for each axis"),
        ((16, 16, 2), "YXS", "length 3 or 4 .* got length 2"),
    ],
)
def test_axes_are_checked_against_the_shape(shape, axes, sentence):
    if sentence is None:
        image = Image(np.zeros(shape), axes)
        assert (*image.stack_shape, *image.block_shape, *image.samples) == shape
        return
    with pytest.raises(ValueError, match=sentence):
        Image(np.zeros(shape), axes)


def test_an_array_with_more_than_two_axes_needs_their_names():
    with pytest.raises(ValueError, match=r"Expected a 2D image .* got shape \(2, 3, 4, 5\)"):
        Image.of(STACK)
    assert Image.of(STACK, "CZYX").blocks == 6
    assert Image.of(STACK[0, 0]).axes == "YX"


def test_a_plane_that_cannot_be_read_is_reported_with_the_reason():
    class Damaged:
        shape, dtype = (2, 16, 16), np.dtype(float)

        def __getitem__(self, index):
            raise OSError("bad sector")

    with pytest.raises(ValueError, match=r"plane \(1,\) cannot be read \(bad sector\)"):
        Image(Damaged(), "ZYX").read((1,))
