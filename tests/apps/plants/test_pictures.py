"""Whatever a stranger gives as an image is read as what it is, or refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.pictures import (
    MAX_BYTES,
    MOST_MARKERS,
    MOST_SCANS,
    Transform,
    expect_whole,
    read_picture,
    says_many_pixels,
)
from tests.apps.plants.photos import (
    animation,
    encoded,
    jpeg_of_passes,
    jpeg_of_segments,
    photo,
    png_that_says,
)
from tests.conftest import SHARED


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a JPEG, PNG or WebP"),
        (b"a leaf is green", "not a JPEG, PNG or WebP"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" width="99" height="99"/>', "not a JPEG, PNG or WebP"),
        (animation("GIF"), "not a JPEG, PNG or WebP"),
        (encoded(Image.new("RGB", (32, 32)), "BMP"), "not a JPEG, PNG or WebP"),
        (photo(1)[:-200], "damaged"),
        (photo(1, format="PNG")[:-200], "damaged"),
        (photo(1, format="WEBP")[:-50], "damaged|not a JPEG"),
        (photo(1, size=(15, 90)), "at least 16"),
        (png_that_says(20_000, 20_000), "pixels"),
        (png_that_says(60_000, 60_000), "pixels"),
        (bytes(MAX_BYTES + 1), "bytes"),
        (jpeg_of_passes(MOST_SCANS + 1), "passes"),
        (jpeg_of_segments(MOST_MARKERS + 1), "segments"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_usable_image_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        read_picture(data)


def test_a_jpeg_that_goes_over_its_pixels_again_and_again_is_refused_and_one_of_a_few_passes_is_not() -> None:
    assert read_picture(jpeg_of_passes(9)).width == 64
    assert read_picture(photo(3, progressive=True)).format == "JPEG"
    assert read_picture(jpeg_of_segments(300)).format == "JPEG"
    assert not says_many_pixels(jpeg_of_passes(MOST_SCANS + 1, 8000))
    # What lies behind the end, such as the film of a moving photo, is not looked through.
    assert read_picture(photo(3) + b"\xff\xda\0\2" * 2000).format == "JPEG"


def test_an_image_is_turned_as_its_camera_says() -> None:
    image = Image.new("RGB", (60, 30), "blue")
    image.paste("red", (0, 0, 30, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: the left becomes the top
    picture = read_picture(encoded(image, "JPEG", exif=exif, quality=95))
    assert (picture.width, picture.height) == picture.image.size == (30, 60)
    top, bottom = (np.asarray(picture.image)[y, 15] for y in (5, 55))
    assert top[0] > 200 > 60 > top[2]
    assert bottom[2] > 200 > 60 > bottom[0]


@pytest.mark.parametrize("mode", ["CMYK", "L", "YCbCr", "RGB"])
def test_every_kind_of_jpeg_becomes_rgb(mode: str) -> None:
    grey = Image.new("RGB", (32, 32), (128, 128, 128)).convert(mode)
    picture = read_picture(encoded(grey, "JPEG"))
    assert picture.image.mode == "RGB"
    assert np.abs(np.asarray(picture.image).astype(int) - 128).max() < 12


def test_a_grey_png_of_16_bits_keeps_its_greys() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64, dtype=np.uint16), (32, 1))
    read = np.asarray(read_picture(encoded(Image.fromarray(ramp))).image)
    assert read.shape == (32, 64, 3)
    assert np.abs(read[0, :, 0].astype(int) - np.linspace(0, 255, 64)).max() <= 1


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert np.asarray(read_picture(encoded(clear)).image).min() == 255
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([0, 0, 0, 0, 255, 0])
    palette.paste(1, (0, 0, 16, 32))
    image = np.asarray(read_picture(encoded(palette, transparency=0)).image)
    assert tuple(image[0, 20]) == (255, 255, 255)
    assert tuple(image[0, 5]) == (0, 255, 0)


@pytest.mark.parametrize("format", ["WEBP", "PNG"])
def test_of_an_animation_the_first_image_is_taken(format: str) -> None:
    red = np.asarray(read_picture(animation(format)).image)[12, 16]
    assert red[0] > 240 > 20 > red[1]


def test_a_photo_with_a_second_one_behind_it_is_a_jpeg() -> None:
    first, second = (Image.new("RGB", (64, 48), colour) for colour in ("red", "green"))
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    picture = read_picture(data)
    assert picture.format == "JPEG"
    assert np.asarray(picture.image)[5, 5][0] > 240
    expect_whole(data)


def test_a_large_jpeg_is_decoded_smaller_and_keeps_its_size() -> None:
    picture = read_picture(photo(3, size=(1600, 1200)), side=64)
    assert (picture.width, picture.height) == (1600, 1200)
    assert min(picture.image.size) >= 128
    assert max(picture.image.size) <= 400


@pytest.mark.parametrize("options", [{}, {"quality": 95}, {"restart_marker_blocks": 4}])
def test_a_whole_jpeg_passes_and_one_that_lacks_bytes_before_its_end_does_not(
    options: dict[str, object],
) -> None:
    data = photo(4, size=(200, 150), **options)
    expect_whole(data)
    expect_whole(data + b"what a telephone writes behind the image")
    expect_whole(photo(4, size=(200, 150), progressive=True))
    expect_whole(photo(4, format="PNG"))
    shortened = data[:-42] + data[-2:]
    assert read_picture(shortened).width == 200  # decoders invent the rest
    with pytest.raises(UnreadableImage, match="missing"):
        expect_whole(shortened)


@pytest.mark.skipif(not (SHARED / "plants").is_dir(), reason="the shared images are not here")
def test_all_of_the_shared_images_are_whole() -> None:
    paths = sorted((SHARED / "plants" / "dandelion_grass").rglob("*.jpg"))
    assert len(paths) == 400
    for path in paths:
        expect_whole(path.read_bytes())


# Pillow warns of damaged metadata, and the image is taken without it.
@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=150)
@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.data())
def test_damaged_bytes_give_an_image_or_a_reason_and_nothing_else(format: str, data: st.DataObject) -> None:
    whole = bytearray(photo(5, format=format, exif=_exif()))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(whole)))
    try:
        picture = read_picture(bytes(whole[:end]), side=64)
        expect_whole(bytes(whole[:end]))
    except UnreadableImage as error:
        assert str(error).endswith((".", "smaller."))
    else:
        assert picture.image.mode == "RGB"


def test_an_image_and_its_transform_are_the_same_numbers_each_time() -> None:
    picture, transform = read_picture(photo(6, size=(300, 260))), Transform(resize=64, crop=56)
    first, again = transform(picture.image), Transform.from_dict(transform.to_dict())(picture.image)
    assert first.shape == (3, 56, 56)
    assert first.dtype == np.float32
    assert np.array_equal(first, again)


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 3
    exif[0x010F] = "a camera"
    return exif.tobytes()
