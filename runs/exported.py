"""A network that export.py wrote as ONNX, to be asked as one in a checkpoint is: onnxruntime runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from affect.errors import CheckpointError, UserError
from affect.files import read_file
from affect.frames import FloatArray
from affect.labels import EXPRESSION_LISTS, TASKS, Task, label_names
from affect.preprocessing import Preprocessing
from datamodules.resizing import Image
from runs.asking import shaped
from training.tta import mean, versions

OPSET: Final = 18
"""Version of ONNX's operators."""

LARGEST: Final = 2**31 - 2**24
"""Bytes of weights that one ONNX file takes, whose format ends at 2 GiB."""

INSTALL: Final = 'pip install --constraint constraints.txt --editable ".[export]"'

_INPUT: Final = "image"


class Exported:
    """What ``runs.predictor`` asks of a network, answered by a file.

    Nothing in the file is run but its graph, and no file that it names is read.

    Args:
        path: a file that export.py wrote, of a network that sees pictures.

    Attributes:
        tasks: what it predicts.
        expressions: names of its classes.
        preprocessing: how faces are prepared for it.
        learnt_from: what it has learnt from.

    Raises:
        UserError: onnxruntime is not installed.
        CheckpointError: the file cannot be read or run, is not one of export.py, or sees no pictures.
    """

    def __init__(self, path: Path) -> None:
        check_installed("a checkpoint in an ONNX file")
        import onnx
        import onnxruntime

        try:
            content = read_file(path, LARGEST + 2**24)
            model = onnx.load_model_from_string(content)
            if _names_files(model):  # onnxruntime would read whatever it names
                raise ValueError("it names other files, which export.py never does")
            operators = [one.version for one in model.opset_import if not one.domain]
            if operators != [OPSET]:
                told = ", ".join(map(str, operators)) or "no version"
                raise ValueError(f"it is of ONNX's operators {told}, and this version reads those of {OPSET}")
            self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"{path} is not a readable ONNX file: {reason}") from error
        told = self._session.get_modelmeta().custom_metadata_map
        if "made_by" not in told or "kind" not in told:
            raise CheckpointError(f"{path} was not written by export.py: nothing says what goes in and what comes out")
        if told["kind"] != "pictures":
            raise CheckpointError(
                f"{path} reads {told['kind']}, and sees no picture: give the export of a network that does"
            )
        try:
            self._take(told)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} does not say what it is, or is something else: {error}") from error

    def _take(self, told: Mapping[str, str]) -> None:
        """Take what the file says of itself, and compare it with its inputs and outputs."""
        read: dict[str, Any] = {
            name: json.loads(told[name]) for name in ("tasks", "expressions", "preprocessing", "learnt_from")
        }
        wanted = read["preprocessing"]
        self.preprocessing = Preprocessing(
            tuple(wanted["mean"]), tuple(wanted["std"]), wanted["image_size"], wanted["interpolation"]
        )
        self.expressions = tuple(read["expressions"])
        self.tasks: tuple[Task, ...] = tuple(task for task in TASKS if task in read["tasks"])
        self.learnt_from = dict(read["learnt_from"])
        if self.expressions not in EXPRESSION_LISTS:
            raise ValueError(f"unknown classes {', '.join(map(str, self.expressions))}")
        side = self.preprocessing.image_size
        inputs = [(one.name, one.type, list(one.shape[1:])) for one in self._session.get_inputs()]
        if inputs != [(_INPUT, "tensor(uint8)", [3, side, side])]:
            raise ValueError(f"its inputs are {inputs}, and not {_INPUT} of uint8 with {side} x {side} pixels")
        sizes = {task: len(names) for task, names in label_names(self.expressions).items()}
        outputs = [(one.name, one.type, list(one.shape[1:])) for one in self._session.get_outputs()]
        if not self.tasks or outputs != [(task, "tensor(float)", [sizes[task]]) for task in self.tasks]:
            raise ValueError(f"its outputs are {outputs}, and its tasks {', '.join(self.tasks) or 'none'}")

    def __call__(self, images: Image) -> dict[str, FloatArray]:
        """Return the predictions of (B, 3, H, W) uint8 images, by task."""
        return dict(zip(self.tasks, self._session.run(list(self.tasks), {_INPUT: images}), strict=True))

    def ask(self, faces: Sequence[Image], *, tta: bool = False) -> dict[str, FloatArray]:
        """Return the predictions of B RGB crops of any size; with ``tta`` the means over their versions."""
        images = shaped(faces, self.preprocessing)
        return mean([self(one) for one in versions(images)]) if tta else self(images)


def check_installed(what: str) -> None:
    """Check that there is what writes ONNX files, and what runs them.

    Args:
        what: needs it.

    Raises:
        UserError: there is not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UserError(f"{what} needs onnx and onnxruntime ({error}): {INSTALL}") from error


def _names_files(message: Any) -> bool:
    """Return whether any tensor of a file, in branches and functions of its graph, too, lies in another file."""
    for field, value in message.ListFields():
        if field.name == "external_data":
            return True
        parts = value if field.is_repeated else [value]
        if field.type == field.TYPE_MESSAGE and any(_names_files(one) for one in parts):
            return True
    return False
