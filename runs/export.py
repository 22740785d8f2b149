"""What export.py does: a trained network as a file for other programs, with a model card beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypedDict

from omegaconf import DictConfig
from safetensors.torch import save

from affect.checksums import file_sha256
from affect.errors import ConfigError, UserError
from affect.files import check_output, whole_file, write_whole
from affect.hints import key_errors
from backbones.registry import REGISTRY
from datamodules.resizing import Image
from runs.card import About, card, metadata
from runs.checkpoints import load_module, read_checkpoint
from runs.config import resolve
from runs.earlier import upgraded
from runs.exported import check_installed
from runs.folder import checkpoint_of
from runs.int8 import faces_of, sentence, to_int8
from runs.licences import Start, check_licences, of_published, starts
from runs.networks import load_networks, origin
from runs.portable import Portable, portable
from runs.quiet import quiet
from runs.to_onnx import to_onnx
from runs.to_web import export_page


class _Web(TypedDict):
    runtime: str | None


class _Settings(TypedDict):
    """Keys of conf/export.yaml."""

    checkpoint: str
    to: Literal["onnx", "safetensors", "web"]
    int8: bool | str
    out: str | None
    accept_licence: str | Sequence[str]
    web: _Web
    overwrite: bool


def export(config: DictConfig) -> None:
    """Write the network and its card, both or neither.

    Raises:
        UserError: no such checkpoint, or one that cannot be exported; a licence that is not accepted; a file that is
            there already, or a place that cannot be written to.
    """
    quiet(first=True)
    plain = resolve(config, _problems)
    accepted = [plain["accept_licence"]] if isinstance(plain["accept_licence"], str) else plain["accept_licence"]
    to = plain["to"]
    if to != "safetensors":
        check_installed(f"to={to}")
    about = _about(plain["checkpoint"], accepted)
    if to == "web":
        export_page(about, plain["out"], plain["web"]["runtime"], overwrite=plain["overwrite"])
        return
    path = Path(plain["out"] or f"exports/{about.method}.{to}").expanduser()
    beside = path.with_suffix(".md")
    if path.suffix != f".{to}":
        raise ConfigError([f"out={path}: the name of such a file ends in .{to}"], "the command line")
    for one in (path, beside):
        if check_output(one).exists() and not plain["overwrite"]:
            raise UserError(f"{one} is there already: give overwrite=true to replace it, or another out=…")
    network = portable(about.module, about.tasks)
    told = metadata(about, network)
    faces = _faces(plain["int8"], about, network)
    made = to_onnx(network, told) if to == "onnx" else _safetensors(about, told)
    cost = None
    if plain["int8"]:
        size = len(made)
        made, moved = to_int8(made, network, told | {"int8": "products" if faces is None else "convolutions"}, faces)
        cost = sentence(moved, size, len(made))
    text = card(about, network, path.name, to=to, cost=cost)
    with whole_file(path) as file:
        file.write_bytes(made)
        write_whole(beside, text)  # when the large file is on the disk, and before it has its name
    _tell(path, beside, about, network, len(made))
    if cost is not None:
        print(cost)


def _problems(plain: Mapping[str, Any]) -> Iterator[str]:
    yield from key_errors(plain, _Settings)
    if plain["int8"] and plain["to"] != "onnx":
        yield "int8 is for to=onnx: leave one out"


def _faces(int8: bool | str, about: About, network: Portable) -> Image | None:
    """Return the faces that integers are fitted to; None where none are asked for."""
    if isinstance(int8, bool):
        return None
    if network.kind != "pictures":
        raise ConfigError([f"int8={int8}: this network sees {network.kind}, and no faces: give int8=true"])
    return faces_of(Path(int8).expanduser(), about.module.preprocessing)


def _about(given: str, accepted: Sequence[str]) -> About:
    """Load a network, if its licences let it go."""
    if given in REGISTRY and not Path(given).exists():
        network, start = load_networks([given])[0], of_published(given)
        check_licences([start], accepted)
        return _made(given, network.module, network.tasks, given, network.sha256, [start], accepted, None)
    path = checkpoint_of("checkpoint", given, "best")
    if path.suffix in (".onnx", ".safetensors"):
        raise ConfigError([f"checkpoint={given} is an export already: give the checkpoint that it was made from"])
    found = list(starts(upgraded(read_checkpoint(path)["model_config"])))
    check_licences(found, accepted)
    module = load_module(path).eval()
    scores = path.parent.parent / "scores.json"
    method = type(module.network).__module__.partition(".")[0]
    return _made(
        method, module, module.scores.tasks, path.name, file_sha256(path), found, accepted,
        scores if path.name == "best.ckpt" and scores.is_file() else None,
    )  # fmt: skip


def _made(
    method: str, module: Any, tasks: Sequence[Any], checkpoint: str, sha256: str, found: Sequence[Start],
    accepted: Sequence[str], scores: Path | None,
) -> About:  # fmt: skip
    return About(method, module, tasks, checkpoint, sha256, found, accepted, scores, version("emma-cotex"))


def _safetensors(about: About, told: Mapping[str, str]) -> bytes:
    """Return the weights of the network, by the names that its code has for them."""
    state = {name: tensor.contiguous() for name, tensor in about.module.network.state_dict().items()}
    return save(state, metadata=dict(told))


def _tell(path: Path, beside: Path, about: About, network: Portable, size: int) -> None:
    print(f"model: {about.checkpoint} ({', '.join(about.tasks)}; {origin(about.learnt_from)})")
    print(f"licence: {about.licence}")
    print(f"inputs: {'; '.join(f'{name} {what}' for name, what in network.inputs.items())}")
    print(f"written: {path} ({size / 1e6:.1f} MB), and its card {beside}")
