"""What an exported network says of itself: the metadata in its file, and the model card beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from affect.errors import UserError
from affect.labels import AU_NAMES, Task
from evaluators.names import MAIN
from evaluators.report import read_scores
from runs.exported import OPSET
from runs.licences import FREE, UNKNOWN, UNSTATED, Start
from runs.networks import origin
from runs.portable import Portable
from runs.to_onnx import TOLERANCE

RESIZE: Final = "area averaging where a face is larger (cv2.INTER_AREA), {} where it is smaller"

_TITLES: Final[Mapping[str, str]] = {
    "pictures": "faces that are cut out",
    "frame features": "stored features of single frames",
    "windows of features": "windows of stored features",
    "features as they come": "stored features as they come, with its state",
}

_PICTURE: Final = """\
import cv2, onnxruntime

session = onnxruntime.InferenceSession("{file}")
face = cv2.cvtColor(cv2.imread("face.png"), cv2.COLOR_BGR2RGB)  # a face, cut out as predict.py does it
how = cv2.INTER_AREA if max(face.shape) > {side} else cv2.{enlarged}
image = cv2.resize(face, ({side}, {side}), interpolation=how).transpose(2, 0, 1)[None]  # (1, 3, {side}, {side})
said = dict(zip([one.name for one in session.get_outputs()], session.run(None, {{"image": image}})))
"""

_FEATURES: Final = """\
import numpy, onnxruntime

session = onnxruntime.InferenceSession("{file}")
kinds = {{"tensor(float)": "float32", "tensor(bool)": "bool"}}  # here: two batches of ones, {frames} frames
sizes = {{one.name: [{{"batch": 2, "frames": {frames}}}.get(n, n) for n in one.shape] for one in session.get_inputs()}}
given = {{one.name: numpy.ones(sizes[one.name], kinds[one.type]) for one in session.get_inputs()}}
said = dict(zip([one.name for one in session.get_outputs()], session.run(None, given)))
"""

_WEIGHTS: Final = """\
from safetensors.torch import load_file

weights = load_file("{file}")  # the state dict of the network: names as in this framework's code
"""


@dataclass(frozen=True)
class About:
    """What is known of a network.

    Attributes:
        method: the folder of its code.
        module: an ``AffectModule``, or what has its ``predict_float32``.
        tasks: what it predicts.
        checkpoint: name of the file that it was in.
        sha256: of that file.
        starts: the weights that its training began with.
        accepted: licences that the person who exported it accepted.
        scores: ``scores.json`` of its run; None: there is none.
        version: of this framework.
    """

    method: str
    module: Any
    tasks: Sequence[Task]
    checkpoint: str
    sha256: str
    starts: Sequence[Start]
    accepted: Sequence[str]
    scores: Path | None
    version: str

    @property
    def licence(self) -> str:
        """The licences that bind the file: those of the weights that it began with."""
        found = dict.fromkeys(one.licence for one in self.starts)
        return ", ".join(found) if found else "no weights of others are in it"

    @property
    def learnt_from(self) -> Mapping[str, Any]:
        """What the network has learnt from, as its checkpoint says (``runs.origin``)."""
        found: Mapping[str, Any] = self.module.learnt_from
        return found


def metadata(about: About, network: Portable) -> dict[str, str]:
    """Return what the file says of itself: texts, and JSON where a value has parts."""
    config = getattr(about.module, "model_config", {})
    parts: dict[str, Any] = {
        "tasks": list(network.outputs) if network.kind == "pictures" else list(about.tasks),
        "expressions": list(about.module.expressions),
        "action_units": list(AU_NAMES) if "action_units" in about.tasks else [],
        "inputs": dict(network.inputs),
        "outputs": dict(network.outputs),
        "preprocessing": _preprocessing(about) if network.kind == "pictures" else None,
        "features": getattr(about.module.network, "features", None) if network.kind != "pictures" else None,
        "network": config.get("network"),
        "module": {name: value for name, value in config.items() if name != "network"} or None,
        "learnt_from": dict(about.learnt_from),
        "weights": [one._asdict() for one in about.starts],
        "accepted_licences": list(about.accepted),
    }
    texts = {
        "made_by": f"emma-cotex {about.version}",
        "method": about.method,
        "kind": network.kind,
        "licence": about.licence,
        "checkpoint": about.checkpoint,
        "checkpoint_sha256": about.sha256,
    }
    return texts | {name: json.dumps(value, default=str) for name, value in parts.items() if value is not None}


def _preprocessing(about: About) -> dict[str, Any]:
    """Say how faces become an input; the mean and the deviation are for the record, as the graph applies them."""
    wanted = about.module.preprocessing
    return {
        **asdict(wanted),
        "range": "uint8, 0 to 255",
        "channels": "RGB",
        "resize": RESIZE.format(wanted.interpolation),
        "normalised": "inside the network: (image / 255 - mean) / std",
    }


def card(about: About, network: Portable, file: str, *, to: str, cost: str | None = None) -> str:
    """Return the model card, Markdown.

    Args:
        about: the network.
        network: what of it was exported.
        file: name of the exported file, which stands beside the card.
        to: ``onnx`` or ``safetensors``.
        cost: of integers, in a sentence (``runs.int8``); None: there are none.
    """
    units = ", ".join(name.upper() for name in AU_NAMES)
    lines = [
        f"# {file}",
        "",
        f"A network of the method `{about.method}` that reads {_TITLES[network.kind]}. Written by `export.py` of "
        f"emma-cotex {about.version} from the checkpoint `{about.checkpoint}` (SHA-256 `{about.sha256}`).",
        "",
        "## Inputs and outputs",
        "",
        "| name | what it is |",
        "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in [*network.inputs.items(), *network.outputs.items()]),
        "",
    ]
    if "expression" in about.tasks:
        lines.append(f"- Expressions, in order: {', '.join(about.module.expressions)}.")
    if "action_units" in about.tasks:
        lines.append(f"- Action units, in order: {units}.")
    lines += _how(about, network, to) if cost is None else [*_how(about, network, to)[:-1], f"- {cost}."]
    lines += ["", "## How to use it", "", "```python", snippet(about, network, file, to=to).rstrip(), "```"]
    lines += ["", "## What it has learnt from", "", f"- {_sentence(origin(about.learnt_from))}"]
    for start in about.starts:
        lines.append(f"- Its training began with `{start.weights}` (`{start.key}`), licence: {start.licence}.")
    before = ["These are of the network before its weights became integers.", ""]
    lines += ["", "## Scores", "", *before * (cost is not None), *_scores(about.scores)]
    lines += ["", "## Licence", "", *_licences(about)]
    return "\n".join(lines) + "\n"


def _how(about: About, network: Portable, to: str) -> list[str]:
    """Say how inputs are made and outputs are meant."""
    lines = []
    if network.kind == "pictures":
        wanted = about.module.preprocessing
        size = f"{wanted.image_size} x {wanted.image_size}"
        lines = [
            f"- A picture is one face, cut out as `predict.py` cuts it, and resized to {size} pixels: "
            f"{RESIZE.format(wanted.interpolation)}. It is normalised inside the network.",
        ]
    else:
        lines = ["- Features are those of a store that `extract.py` makes, with the network named in `features`."]
    if network.kind == "windows of features":
        lines.append("- `evaluate.py` averages raw scores of overlapping windows; here each window is by itself.")
    if network.kind == "features as they come":
        lines.append("- Give each `next_state…` back as `state…` with the frames that follow, and zeros at the start.")
    if to != "onnx":
        lines.append(
            "- The file has weights alone. Their network gives raw scores, and the outputs above are what its module "
            "makes of them. `network` in the metadata is the configuration that builds it."
        )
    else:
        lines.append(f"- ONNX, operators {OPSET}; any batch. Made-up inputs gave what the source does, to {TOLERANCE}.")
    return lines


def snippet(about: About, network: Portable, file: str, *, to: str) -> str:
    """Return the few lines of Python that use the file; tests run them."""
    if to != "onnx":
        return _WEIGHTS.format(file=file)
    if network.kind == "pictures":
        wanted = about.module.preprocessing
        enlarged = {"bilinear": "INTER_LINEAR", "bicubic": "INTER_CUBIC"}[wanted.interpolation]
        return _PICTURE.format(file=file, side=wanted.image_size, enlarged=enlarged)
    return _FEATURES.format(file=file, frames=16)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return f"{text[:1].upper()}{text[1:]}."


def _scores(path: Path | None) -> list[str]:
    """Return the main scores of the run, or say that there are none."""
    if path is None:
        return ["No `scores.json` stood beside the checkpoint: measure it before you rely on it."]
    try:
        scores = read_scores(path)
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not the scores of a run ({error}); restore the file, or take it away") from error
    rows = [f"| {name} | {value:.3f} |" for name in MAIN if (value := scores.get(name)) is not None]
    if not rows:
        return ["Its `scores.json` has no main score."]
    lines = ["Of the run's own evaluation, as its `scores.json` has them:", "", "| score | value |", "|---|---|", *rows]
    changed = [name for name in ("postprocess", "tuned_on_these_labels") if name in notes]
    if changed:
        lines += ["", f"They are of a table that was processed ({', '.join(changed)}), which the file does not do."]
    return lines


def _licences(about: About) -> list[str]:
    """Say what binds whoever takes the file."""
    lines = []
    for licence in dict.fromkeys(one.licence for one in about.starts):
        of = ", ".join(f"`{one.weights}`" for one in about.starts if one.licence == licence)
        if licence in FREE:
            lines.append(f"- {licence}: of {of}.")
        elif licence == UNKNOWN:
            lines.append(f"- {of}: the checkpoint does not record a licence. Find out before you pass the file on.")
        else:
            told = "whose authors state no licence" if licence == UNSTATED else f"which are under {licence}"
            lines.append(
                f"- **{licence}**: of {of}, {told}. Whoever exported this file gave `accept_licence={licence}`; their "
                "terms reach this file."
            )
    if not lines:
        lines.append("- No weights of others are in it; it is its trainer's to pass on.")
    lines.append("- The pictures it has learnt from have terms of their own, which may reach what is learnt from them.")
    return lines
