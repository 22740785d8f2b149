"""Decode anybody's pictures: what is not one, is cut off or would fill the memory is unreadable. Write JPEGs."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from affect.errors import DataError
from datamodules.packs import read_file

if TYPE_CHECKING:  # what is imported there takes a second
    from datamodules.resizing import Image

MAX_PIXELS: Final = 2**26
"""Most pixels that a picture may have unless more are allowed: 8192 x 8192, which take 200 MB."""

_FLAGS: Final = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8"
_END: Final = b"\xff\xd9"
_NO_SIZE: Final = (0xC4, 0xC8, 0xCC)  # markers in the range of frame headers that begin something else
_PIECES: Final = [bytes((0xFF, 0xD0 + number)) for number in range(8)]  # restart markers
_NOISE: Final = (
    np.random.default_rng(0).integers(0, 255, 1024, dtype=np.uint8).tobytes()
)  # without 255, with which a marker begins


class UnreadableImageError(DataError):
    """An image that is missing, truncated, not an image, or more than may be decoded."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode an image file's content.

    16-bit values are divided by 257. Where none needs more than 14 bits, the picture may come from a camera with 10, 12
    or 14 bits, or may be dark: nothing tells which, so it counts as unreadable.

    Args:
        data: content of a JPEG or PNG file, or of another that OpenCV reads and Pillow knows.
        max_pixels: most pixels that are decoded; the header is read first.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UnreadableImageError: the content is empty, truncated, no image, too large, or of another depth; the message
            says which.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    width, height = _size(data)
    if width * height > max_pixels:
        raise UnreadableImageError(
            f"{width} x {height} pixels, more than data.max_pixels={max_pixels}: make it smaller, or raise that"
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _FLAGS)
    except cv2.error as error:
        raise UnreadableImageError(f"OpenCV cannot decode it ({error})") from error
    if image is None:  # for a truncated JPEG too, since OpenCV 4.11
        raise UnreadableImageError("truncated, or not an image")
    if data.startswith(_JPEG) and _has_grey_corner(image) and not _is_complete(data):
        raise UnreadableImageError(f"truncated: its header says {width} x {height} pixels, its data end before them")
    return image.astype(np.uint8, copy=False) if image.dtype == np.uint8 else _to_bytes(image)


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> Image:
    """Read an image file, from its pack if it is in one, and decode it as ``decode_image`` does.

    Raises:
        UnreadableImageError: the file is missing, not a regular one, or cannot be decoded; the message names it.
        PackError: its pack cannot be used.
    """
    try:
        # no format needs more than 8 bytes a pixel; the rest is for what cameras add
        return decode_image(read_file(path, 8 * max_pixels + 2**24), max_pixels)
    except (OSError, UnreadableImageError) as error:
        reason = getattr(error, "strerror", None) or str(error)  # without the path, which stands before it
        raise UnreadableImageError(f"{path}: {reason}") from error


def write_jpeg(picture: Image, quality: int, path: Path) -> None:
    """Write a picture as JPEG.

    Args:
        picture: (H, W, 3) uint8 BGR, as OpenCV has colours.
        quality: 0..100, as libjpeg understands it.
        path: path of the file.
    """
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise RuntimeError(f"{path}: OpenCV could not encode the picture")
    path.write_bytes(data.tobytes())


def _size(data: bytes) -> tuple[int, int]:
    """Return width and height as the header says; Pillow takes half as long as decoding, so not for JPEG and PNG."""
    if data.startswith(_JPEG):
        return _jpeg_size(data)
    if data.startswith(_PNG):
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    try:
        with warnings.catch_warnings(action="ignore"), PIL.Image.open(io.BytesIO(data)) as image:
            return image.size
    except Exception as error:  # damaged files fail in many ways
        reason = "" if isinstance(error, PIL.UnidentifiedImageError) else f" ({error})"
        raise UnreadableImageError(f"truncated, or not an image{reason}") from error


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Return width and height of the frame, found as libjpeg finds it: from marker to marker."""
    at = len(_JPEG)
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 8:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_SIZE:
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        if marker in (0xD9, 0xDA):  # the end, or pixels
            break
        if marker == 0xFF:  # padding
            at += 1
        elif marker <= 0x01 or 0xD0 <= marker <= 0xD7:  # no segment
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    raise UnreadableImageError("truncated, or not an image")


def _has_grey_corner(image: npt.NDArray[Any]) -> bool:
    """Return whether a corner is middle grey, with which libjpeg fills missing data; headers may turn pictures."""
    for row in (0, -1):
        for column, part in ((0, slice(8)), (-1, slice(-8, None))):
            if image.item(row, column, 0) == 128 and (image[row, part] == 128).all():  # one value nearly always decides
                return True
    return False


def _is_complete(data: bytes) -> bool:
    """Return whether a JPEG's data reach its last pixel: if so, what stands between them and the end changes nothing.

    OpenCV does not tell, and prints its complaints about such data to the terminal; Pillow does neither.
    """
    body, end, rest = data.rpartition(_END)
    try:
        wanted = _pixels(data)
    except (OSError, PIL.Image.DecompressionBombError):  # larger than Pillow accepts, which says nothing about the data
        return True
    # if the data come in numbered pieces and the next one is missing, the second noise is that piece
    last = max(_PIECES, key=body.rfind)
    piece = _PIECES[(_PIECES.index(last) + 1) % len(_PIECES)] if last in body else _PIECES[0]
    try:
        return _pixels(body + _NOISE + piece + _NOISE + end + rest) == wanted
    except OSError:
        return False


def _pixels(data: bytes) -> bytes:
    with PIL.Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        if "progressive" not in image.info:  # in a progressive file, the last data hold details
            image.draft(None, (1, 1))  # an eighth of each side, which takes all data
        return image.tobytes()


def _to_bytes(image: npt.NDArray[Any]) -> Image:
    """Return the picture with 8 bits a value, or raise UnreadableImageError where it is not clear how."""
    if image.dtype != np.uint16:
        raise UnreadableImageError(f"its values are {image.dtype}; convert it to 8 bits")
    most = int(image.max())
    if 0 < most < 2**14:
        raise UnreadableImageError(
            f"its values of 16 bits end at {most}: they are of {max(most.bit_length(), 10)} to 14 bits, or the picture "
            "is dark, and nothing tells which. Convert it to 8 bits"
        )
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
