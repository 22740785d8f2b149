"""Find faces with CenterFace (Xu et al. 2019, https://arxiv.org/abs/1911.03599), from its ONNX file.

Every cell of a grid of four pixels says how likely a face has its centre there, where in the cell, and the logarithm
of its height and width. The file says what it was trained on and its terms: ``prepare.py weights --verbose``.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from affect.checksums import file_sha256
from affect.errors import DataError
from videos.decoding import INSTALL, Image
from videos.detector import Boxes, scaled_down

CELL: Final = 4
"""Side of a cell, px."""

STEP: Final = 32
"""Height and width of the input are multiples of this, px: the network halves them five times."""

OVERLAP: Final = 0.3
"""Intersection over union from which on two faces are one; the authors' value."""


class CenterFace:
    """CenterFace on the CPU.

    Args:
        file: its ONNX file.
        confidence: lowest confidence with which a face counts, 0..1.
        longest: pictures with a longer side, px, are scaled down to it before the search.

    Raises:
        DataError: onnx or onnxruntime is not installed, or the file is not CenterFace's.
    """

    def __init__(self, file: Path, *, confidence: float, longest: int) -> None:
        self.version = f"centerface {file_sha256(file)[:12]}"
        self._session = _session(file)
        self._confidence = confidence
        self._longest = longest

    def __call__(self, image: Image) -> Boxes:
        """Return (N, 5) faces of a picture, the most certain first; see ``videos.detector.Detector``."""
        image, scale = scaled_down(image, self._longest)
        below, right = (-side % STEP for side in image.shape[:2])
        padded = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT)
        batch = padded[None, ..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)  # RGB, 0..255
        names = [output.name for output in self._session.get_outputs()[:3]]  # the fourth: points of the faces
        heat, log_size, shift = self._session.run(names, {self._session.get_inputs()[0].name: batch})
        faces = decode(heat[0, 0], log_size[0], shift[0], self._confidence)
        faces[:, :4] /= scale
        return faces


def decode(
    heat: npt.NDArray[np.float32],
    log_size: npt.NDArray[np.float32],
    shift: npt.NDArray[np.float32],
    confidence: float,
) -> Boxes:
    """Turn the network's outputs into faces, each once.

    Args:
        heat: (h, w) confidence that a face has its centre in a cell.
        log_size: (2, h, w) logarithm of its height and width, in cells.
        shift: (2, h, w) y and x of the centre, in cells from the cell's middle.
        confidence: lowest that counts.

    Returns:
        (N, 5) left, top, width, height in px of the input and confidence, the highest first.
    """
    rows, columns = np.nonzero(heat >= confidence)
    certain = heat[rows, columns].astype(np.float64)
    centre = np.stack((rows, columns)) + 0.5 + shift[:, rows, columns].astype(np.float64)
    size = np.exp(log_size[:, rows, columns].astype(np.float64))
    (top, left), (height, width) = CELL * (centre - size / 2), CELL * size
    faces: Boxes = np.column_stack((left, top, width, height, certain))
    return distinct(faces[np.argsort(-certain, kind="stable")])


def distinct(faces: Boxes) -> Boxes:
    """Leave out the faces of (N, 5), the most certain first, that overlap with a more certain one which is kept."""
    kept = []
    while len(faces):
        kept.append(faces[0])
        faces = faces[1:][_overlap(faces[0], faces[1:]) < OVERLAP]
    return np.array(kept, dtype=np.float64).reshape(-1, 5)


def _overlap(one: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Return (N,) intersection over union of a face and N others."""
    ends = np.minimum(one[:2] + one[2:4], others[:, :2] + others[:, 2:4])
    common: npt.NDArray[np.float64] = (ends - np.maximum(one[:2], others[:, :2])).clip(min=0).prod(axis=1)
    either: npt.NDArray[np.float64] = one[2:4].prod() + others[:, 2:4].prod(axis=1) - common
    return common / either


def any_size(file: Path) -> bytes:
    """Return CenterFace's ONNX file for pictures of any size; it fixes one of 32 x 32 px.

    Raises:
        DataError: onnx is not installed, or the file is not CenterFace's.
    """
    try:
        model = _package("onnx").load(file, load_external_data=False)
        for value in (*model.graph.input, *model.graph.output):
            for side in value.type.tensor_type.shape.dim:
                side.Clear()
        made: bytes = model.SerializeToString()
    except DataError:
        raise
    except Exception as error:  # a file that is something else raises whatever its bytes lead to
        raise _not_it(file, error) from error
    return made


def _session(file: Path) -> Any:
    """Make the session that runs the network on pictures of any size."""
    onnxruntime, model = _package("onnxruntime"), any_size(file)
    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # the file lists its weights as inputs, too, at each of which it would warn
        options.intra_op_num_threads = 1  # several pictures at a time: videos.detector.search
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # likewise
        raise _not_it(file, error) from error


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"CenterFace runs in the packages onnx and onnxruntime, which cannot be loaded ({error}): {INSTALL}"
        ) from error


def _not_it(file: Path, error: Exception) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{file}: not the ONNX file of CenterFace ({reason}). Delete it, and fetch it again.")
