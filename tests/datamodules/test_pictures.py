"""Decoding of pictures: what is read, and what is unreadable instead of grey, black, slow or larger than the memory."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from affect.frames import unlabelled
from datamodules.loading import FaceDataset
from datamodules.pictures import UnreadableImageError, decode_image, read_image
from datamodules.transforms import EvalTransform

REAL = Path(__file__).parents[2] / "../shared/real_faces_small"


def jpeg(**options: object) -> bytes:
    """A JPEG of Pillow's, 40 x 30, whose left half is red."""
    pixels = np.zeros((30, 40, 3), dtype=np.uint8)
    pixels[:, :20, 0] = 255
    pixels[:, 20:] = np.random.default_rng(0).integers(0, 256, (30, 20, 3))
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def with_thumbnail(data: bytes) -> bytes:
    """Put a complete JPEG into a header segment, as cameras do."""
    thumbnail = jpeg()
    return data[:2] + b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail + data[2:]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_decodes_rgb_as_pillow_does_and_refuses_every_truncation(options: dict) -> None:
    for data in (jpeg(**options), with_thumbnail(jpeg(**options))):
        wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        for tail in (b"", b"\0" * 7, b"\r\n", b"some camera's own bytes"):
            image = decode_image(data + tail)
            assert image.dtype == np.uint8
            assert np.abs(image.astype(int) - wanted).mean() < 2
            assert image[15, 5, 0] > 240
            assert image[15, 5, 2] < 15
        for length in range(0, len(data) - 1, 7):
            with pytest.raises(UnreadableImageError):
                decode_image(data[:length])


def test_other_formats_and_non_images(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 9), (10, 20, 30)).save(stream, "PNG")
    np.testing.assert_array_equal(decode_image(stream.getvalue()), np.full((9, 8, 3), (10, 20, 30), dtype=np.uint8))
    with pytest.raises(UnreadableImageError, match="not an image"):
        decode_image(b"<html>not found</html>")
    with pytest.raises(UnreadableImageError, match="empty"):
        decode_image(b"")
    with pytest.raises(UnreadableImageError, match=r"gone\.jpg"):
        read_image(tmp_path / "gone.jpg")


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared photographs are not here")
def test_every_shared_photograph_is_readable() -> None:
    files = sorted(REAL.glob("cropped_aligned/*/*.jpg"))
    assert len(files) == 2000
    assert all(read_image(file).shape == (112, 112, 3) for file in files)


def with_size(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says another size; its data are as they were."""
    at = next(data.index(marker) for marker in (b"\xff\xc0\x00\x11", b"\xff\xc2\x00\x11") if marker in data)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def png(width: int, height: int, data: bytes, depth: int = 8) -> bytes:
    """A PNG with this header over this data, and correct checksums."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))
    parts = [struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
             for kind, body in chunks]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def other(form: str, size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        with_size(jpeg(), 20000, 20000),
        with_thumbnail(with_size(jpeg(progressive=True), 20000, 20000)),
        jpeg()
        .replace(b"\xff\xc0\x00\x11", b"\xff\xff\xff\xc0\x00\x11")
        .replace(struct.pack(">HH", 30, 40), struct.pack(">HH", 20000, 20000)),
        png(20000, 20000, zlib.compress(bytes(10_000))),
        png(30000, 30000, zlib.compress(bytes(30_000_000))),
        *(other(form, (9000, 8000)) for form in ("GIF", "WEBP")),
    ],
    ids=["JPEG", "progressive, thumbnail", "padded marker", "PNG", "PNG bomb", "GIF", "WebP"],
)
def test_a_header_that_announces_too_many_pixels_is_refused_before_decoding(data: bytes, monkeypatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(UnreadableImageError, match=r"\d+ x \d+ pixels, more than data\.max_pixels=67108864"):
        decode_image(data)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "JPEG2000", "PPM"])
def test_the_bound_on_pixels_is_that_of_the_whole_picture(form: str) -> None:
    data = other(form, (50, 40))
    assert decode_image(data, max_pixels=2000).shape == (40, 50, 3)
    with pytest.raises(UnreadableImageError, match=r"50 x 40 pixels, more than data\.max_pixels=1999"):
        decode_image(data, max_pixels=1999)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"optimize": True}])
@pytest.mark.parametrize("orientation", [None, 3, 6, 8])
def test_a_jpeg_whose_data_end_before_the_picture_is_unreadable(options: dict, orientation: int | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation or 1
    data = jpeg(**options, **({"exif": exif} if orientation else {}))
    assert decode_image(data).shape in ((30, 40, 3), (40, 30, 3))
    for width, height in ((40, 50), (72, 30), (300, 200), (2000, 2000)):
        with pytest.raises(UnreadableImageError, match="truncated"):
            decode_image(with_size(data, width, height))


def test_flat_pictures_are_complete() -> None:
    for options in ({}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 1}):
        for pixels in (np.zeros((33, 47, 3), np.uint8), np.full((64, 64), 128, np.uint8)):
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "JPEG", **options)
            for tail in (b"", b"\0\0", b"camera \xff\xd9 bytes"):
                assert (decode_image(stream.getvalue() + tail) == pixels.flat[0]).all()


def sixteen(values: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", values.astype(np.uint16))
    assert done
    return data.tobytes()


def test_sixteen_bits_are_scaled_to_eight() -> None:
    values = np.linspace(0, 65535, 400).round().reshape(20, 20)
    wanted = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(sixteen(values)), wanted[:, :, None].repeat(3, axis=2))
    of_eight = np.arange(256).reshape(16, 16)
    np.testing.assert_array_equal(decode_image(sixteen(of_eight * 257))[:, :, 0], of_eight)
    assert not decode_image(sixteen(np.zeros((8, 8)))).any()


@pytest.mark.parametrize(("most", "bits"), [(4095, 12), (1023, 10), (16383, 14), (300, 10)])
def test_values_of_fewer_bits_in_sixteen_are_unreadable_not_nearly_black(most: int, bits: int) -> None:
    values = np.linspace(0, most, 100).reshape(10, 10)
    with pytest.raises(UnreadableImageError, match=rf"end at {most}: .*{bits} to 14 bits, or the picture is dark"):
        decode_image(sixteen(values))


def test_eight_bits_are_decoded_as_opencv_does_by_default() -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (24, 31, 4), dtype=np.uint8), "RGBA")
    for mode in ("L", "LA", "P", "RGB", "RGBA", "1", "CMYK"):
        for form in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"):
            stream = io.BytesIO()
            try:
                picture.convert("RGB").convert(mode).save(stream, form)
            except (OSError, ValueError):
                continue  # no such picture in this format
            plain = cv2.imdecode(np.frombuffer(stream.getvalue(), np.uint8), cv2.IMREAD_COLOR_RGB)
            if plain is not None:
                np.testing.assert_array_equal(decode_image(stream.getvalue()), plain)


def test_only_regular_files_of_a_fitting_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(10**12)
    tracemalloc.start()
    for name, message in (
        ("pipe", "a pipe, a device"),
        ("device", "a pipe, a device"),
        ("folder", "directory|Permission"),
        ("sparse", "1000000000000 bytes"),
    ):
        with pytest.raises(UnreadableImageError, match=rf"{name}\.jpg: .*({message})"):
            read_image(tmp_path / f"{name}.jpg")
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def test_the_bound_is_an_option_of_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "v.jpg").write_bytes(jpeg())
    frames = unlabelled(["v.jpg"], ["v"], np.arange(1), {})
    dataset = FaceDataset(frames, [tmp_path / "v.jpg"], EvalTransform(image_size=32), max_pixels=1199)
    with pytest.raises(UnreadableImageError, match=r"v\.jpg: 40 x 30 pixels, more than data\.max_pixels=1199"):
        dataset[0, 0]
