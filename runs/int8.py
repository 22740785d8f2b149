"""Have an exported network compute with integers of eight bits, and measure how far that moves what it says."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np

from affect.errors import DataError, UserError
from affect.preprocessing import Preprocessing
from datamodules.pictures import UnreadableImageError, read_image
from datamodules.resizing import Image
from runs.asking import shaped
from runs.portable import Portable
from videos.sources import PICTURES

MOST: Final = 256
"""Faces of a folder that are looked at: every second one for the ranges, the others to measure."""

_BATCH: Final = 16
_PRODUCTS: Final = ("MatMul", "Gemm")


class Moved(NamedTuple):
    """How far outputs are from those of the same file in float32."""

    where: str  # on which inputs
    mean: Mapping[str, float]  # by task
    most: Mapping[str, float]


def faces_of(folder: Path, wanted: Preprocessing) -> Image:
    """Return faces of a folder as inputs, (N, 3, H, W) uint8: ``MOST`` of them at most, evenly spaced by name.

    Raises:
        DataError: there is no such folder, or fewer than two pictures in it; a picture cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"int8={folder}: no such folder. Give one of cut-out faces, or int8=true")
    files = sorted(one for one in folder.iterdir() if one.suffix.lower() in PICTURES)
    if len(files) < 2:
        raise DataError(f"int8={folder}: {len(files)} pictures; give a folder of cut-out faces, 100 or more")
    chosen = [files[len(files) * number // min(len(files), MOST)] for number in range(min(len(files), MOST))]
    try:
        return shaped([read_image(one) for one in chosen], wanted)
    except UnreadableImageError as error:
        raise DataError(f"int8={folder}: {error}") from error


def to_int8(made: bytes, network: Portable, metadata: Mapping[str, str], faces: Image | None) -> tuple[bytes, Moved]:
    """Return a file of ONNX with integers, and what that has moved.

    Args:
        made: the file.
        network: what it is of.
        metadata: of the new file.
        faces: None: the products of matrices alone, whose ranges are found anew for each input; weights take a byte,
            activations between them stay floats. Else convolutions, too, with ranges that every second of these faces
            leads to; the others are those on which it is measured.

    Raises:
        UserError: it cannot be done.
    """
    import onnx

    with TemporaryDirectory() as place, _silent():
        given, result = Path(place) / "float.onnx", Path(place) / "int8.onnx"
        given.write_bytes(made)
        try:
            _quantise(given, result, network, faces)
            model = onnx.load(result)
        except Exception as error:  # onnxruntime's errors have no common base
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"int8: this network cannot be written with integers: {reason}") from error
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    content: bytes = model.SerializeToString()
    return content, _moved(made, content, network, faces)


def _quantise(given: Path, result: Path, network: Portable, faces: Image | None) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = given.with_name("ready.onnx")
    quant_pre_process(given, ready, skip_symbolic_shape=True)
    if faces is None:
        # signed weights overflow in processors without VNNI
        quantize_dynamic(ready, result, list(_PRODUCTS), per_channel=True, weight_type=QuantType.QUInt8)
        return
    batches = iter(np.array_split(faces[::2], -(-len(faces[::2]) // _BATCH)))
    (name,) = network.inputs

    class Reader:
        def get_next(self) -> dict[str, Image] | None:
            batch = next(batches, None)
            return None if batch is None else {name: batch}

    quantize_static(
        ready, result, Reader(), QuantFormat.QDQ, ["Conv", *_PRODUCTS], per_channel=True, reduce_range=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip  # seven bits of weights: eight overflow in processors without VNNI


def _moved(before: bytes, after: bytes, network: Portable, faces: Image | None) -> Moved:
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(one, providers=["CPUExecutionProvider"]) for one in (before, after)]
    if faces is None:
        examples = network.examples(_BATCH, 0)
        batches = [{name: one.numpy() for name, one in zip(network.inputs, examples, strict=True)}]
        where = f"{_BATCH} made-up inputs"
    else:
        rest, (name,) = faces[1::2], network.inputs
        batches = [{name: rest[start : start + _BATCH]} for start in range(0, len(rest), _BATCH)]
        where = f"{len(rest)} other faces of that folder"
    tasks = [name for name in network.outputs if not name.startswith("next_")]
    far: dict[str, list[np.ndarray[Any, Any]]] = {task: [] for task in tasks}
    for batch in batches:
        for task, one, other in zip(tasks, *(session.run(tasks, batch) for session in sessions), strict=True):
            far[task].append(np.abs(one - other).ravel())
    joined = {task: np.concatenate(parts) for task, parts in far.items()}
    if not all(np.isfinite(values).all() for values in joined.values()):
        raise UserError("int8: what the file says is not finite: nothing was written")
    return Moved(
        where,
        {task: float(values.mean()) for task, values in joined.items()},
        {task: float(values.max()) for task, values in joined.items()},
    )


def sentence(moved: Moved, before: int, after: int) -> str:
    """Say what integers cost and save."""
    told = "; ".join(
        f"{task} {moved.mean[task]:.4f} on average, {value:.3f} at most" for task, value in moved.most.items()
    )
    return (
        f"int8: {after / 1e6:.1f} MB, not {before / 1e6:.1f}; on {moved.where} its outputs are away from those of the "
        f"network by: {told}. Measure its scores before you rely on it: evaluate.py checkpoint=<this file>"
    )


@contextmanager
def _silent() -> Iterator[None]:
    """Silence advice of onnxruntime's tools, which they give to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
