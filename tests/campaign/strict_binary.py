"""Strict readers of binary files: NumPy arrays, prediction tables, feature stores, checkpoints, ONNX.

They return plain containers and arrays.
"""

from __future__ import annotations

import ast
import json
import math
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .strict_text import RefusedError, number


def npy(path: Path) -> np.ndarray[Any, Any]:
    """Reads a NumPy file of one plain type: magic, version 1, an exact header, and not a byte more than its data."""
    data = path.read_bytes()
    if data[:8] != b"\x93NUMPY\x01\x00" or len(data) < 10:
        raise RefusedError("no NumPy file of version 1")
    (length,) = struct.unpack("<H", data[8:10])
    try:
        header = ast.literal_eval(data[10 : 10 + length].decode("ascii"))
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise RefusedError(f"no header: {error}") from error
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise RefusedError("another header")
    descr, shape = header["descr"], header["shape"]
    if not isinstance(descr, str) or descr[:2] not in ("<f", "<i", "<U", "|S", "|i", "<u", "|u"):
        raise RefusedError(f"no plain type: {descr!r}")
    if header["fortran_order"] is not False or not isinstance(shape, tuple):
        raise RefusedError("another order, or no shape")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise RefusedError(f"no shape: {shape}")
    try:
        kind = np.dtype(descr)
    except TypeError as error:
        raise RefusedError(f"no type: {descr!r}") from error
    if kind.itemsize * math.prod(shape) != len(data) - 10 - length or kind.itemsize == 0:
        raise RefusedError("not as long as its header says")
    return np.frombuffer(data[10 + length :], kind).reshape(shape)


def annotation(path: Path, kind: str) -> float:
    """Reads an annotation of AffectNet: one number, or a string that is one, in the range of its kind."""
    array = npy(path)
    if array.size != 1:
        raise RefusedError("not one number")
    value = array.ravel()[0].item()
    if isinstance(value, bytes):
        try:
            value = value.decode("ascii")
        except UnicodeDecodeError as error:
            raise RefusedError("no text") from error
    found = number(value.strip(" ")) if isinstance(value, str) else float(value)
    legal = found in range(11) if kind == "exp" else found == -2 or -1 <= found <= 1
    if not legal:
        raise RefusedError(f"out of range: {found}")
    return found


def table(path: Path) -> dict[str, Any]:
    """Reads a prediction table: its columns and what made it; checks rows, ranges and nulls."""
    import pyarrow.parquet

    try:
        content = pyarrow.parquet.read_table(path, page_checksum_verification=True)
        made = json.loads(content.schema.metadata[b"prediction_table"])
        columns = {name: content[name].to_pylist() for name in content.column_names}
    except Exception as error:
        raise RefusedError(f"no table: {error!r}") from error
    if columns["row"] != list(range(len(content))) or made["schema_version"] != 1:
        raise RefusedError("rows are out of order, or another version")
    for name, values in columns.items():
        least = -1 if name in ("valence", "arousal") else 0
        if name.startswith(("valence", "arousal", "expr_", "au")):
            for value in values:
                if value is not None and not least <= value <= 1:
                    raise RefusedError(f"{name} out of range: {value}")
    return {"columns": columns, "made": made}


def store(root: Path) -> dict[str, Any]:
    """Reads all arrays of a feature store by video and part."""
    parts = {}
    for part in sorted(root.glob("*/part-[0-9][0-9][0-9][0-9][0-9]")):
        arrays = {kind: npy(part / f"{kind}.npy") for kind in ("frame", "embedding", "outputs")}
        rows = {len(array) for array in arrays.values()}
        frame = arrays["frame"]
        if len(rows) != 1 or frame.ndim != 1 or len(set(frame.tolist())) < len(frame) or (frame < 0).any():
            raise RefusedError(f"{part}: arrays do not belong together")
        if not (np.isfinite(arrays["embedding"]).all() and np.isfinite(arrays["outputs"]).all()):
            raise RefusedError(f"{part}: values that are not finite")
        parts[f"{part.parent.name}/{part.name}"] = arrays
    if not parts:
        raise RefusedError("no part")
    return parts


def checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint whose zip is whole: weights, what rebuilds the model, and the preprocessing."""
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise RefusedError("a checksum of the zip is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except RefusedError:
        raise
    except Exception as error:
        raise RefusedError(f"no checkpoint: {error!r}") from error
    return plain_checkpoint(content)


def plain_checkpoint(content: Any) -> dict[str, Any]:
    """Puts what matters of a checkpoint into plain containers."""
    return {
        "state_dict": {key: (str(value.dtype), value.numpy()) for key, value in content["state_dict"].items()},
        "model_config": content["model_config"],
        "preprocessing": content["preprocessing"],
    }


def onnx(path: Path) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """Reads the tensors of an ONNX file: finite, whole, of the size that their dims say, in this file."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except (DecodeError, ValueError, RecursionError) as error:
        raise RefusedError(f"no ONNX: {error}") from error
    found = []
    for tensor in model.graph.initializer:
        if not isinstance(tensor.name, str):
            raise RefusedError("a name that is no text")
        if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
            raise RefusedError("data in another file")
        if tensor.data_type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64) or not tensor.dims:
            raise RefusedError(f"{tensor.name}: another type, or no dims")
        kind = np.dtype("<f4" if tensor.data_type == onnx.TensorProto.FLOAT else "<i8")
        if min(tensor.dims) < 1 or math.prod(tensor.dims) * kind.itemsize != len(tensor.raw_data):
            raise RefusedError(f"{tensor.name}: not as long as its dims say")
        values = np.frombuffer(tensor.raw_data, kind).reshape(tuple(tensor.dims))
        if not np.isfinite(values).all():
            raise RefusedError(f"{tensor.name}: values that are not finite")
        found.append((tensor.name, values))
    if not found:
        raise RefusedError("no tensor")
    return found
