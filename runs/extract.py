"""What extract.py does: the features of a frozen network, in a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict, get_args

import numpy as np
import torch
from omegaconf import DictConfig

from affect.errors import ConfigError
from affect.hints import key_errors
from affect.settings import Positive
from datamodules.base import FaceDataModule, Listed, Split
from emotieffnet.rules import pretrained
from evaluators.table import table_of_rows, write_table
from features.extraction import extract_split, weights_sha256
from features.store import FeatureStore, Places, open_store, writing
from features.store_files import Dtype, MadeBy, StoreInfo
from runs.assembly import build_data, build_trainer
from runs.building import build, signature
from runs.checkpoints import load_embedder
from runs.folder import Run, checkpoint_of, opened_run
from runs.limits import limit_errors
from runs.slurm import is_first_process


def extract(config: DictConfig) -> None:
    """Add to the store what it does not have, and write a table of what the network itself says of each split."""
    if config.checkpoint is not None:
        config.model = None
        config.checkpoint = str(checkpoint_of("checkpoint", config.checkpoint, "best").absolute())
    with opened_run(config, _problems) as run:
        root = Path(run.config["store"]).expanduser().absolute()
        # one process keeps other extractions out for all processes of this one
        with writing(root) if is_first_process() else nullcontext():
            _extract(run, root)


def _extract(run: Run, root: Path) -> None:
    """Extract while no other process writes to the store."""
    plain, folder = run.config, run.folder
    checkpoint = plain["checkpoint"]
    network = build(plain["model"], "model") if checkpoint is None else load_embedder(Path(checkpoint))
    data = build_data(plain, network.preprocessing)
    if data.crops is None:
        raise ConfigError(
            ["data: features are of frames, or of photographs in Aff-Wild2's layout: give data=affwild2_…"]
        )
    store = open_store(root, _describe(network, data.crops, plain))
    for split in plain["splits"]:
        data.frames(split)  # errors of the lists, before hours are spent
    trainer = build_trainer(plain, folder)
    run.started()
    for split in plain["splits"]:
        extract_split(trainer, network, data, split, root)
    if trainer.is_global_zero:
        for split in plain["splits"]:
            print(_summary(data, split, FeatureStore(root), folder))
        print(f"feature store: {root} ({store.info.network}, {store.info.embedding} features)")
        print(f"run folder: {folder}")


class _Settings(TypedDict):
    """Keys of conf/extract.yaml that no node below it has."""

    timeout_s: Positive
    splits: Sequence[Listed]
    dtype: Dtype
    overwrite: bool


def _problems(plain: Mapping[str, Any]) -> Iterator[str]:
    yield from key_errors(plain, _Settings)
    yield from limit_errors(plain["trainer"])
    if plain["splits"] == []:
        yield f"splits=[]: give some of {', '.join(get_args(Listed))}"


def _describe(network: Any, crops: str, plain: dict[str, Any]) -> StoreInfo:
    size = network.preprocessing.image_size
    with torch.no_grad():
        embedding, outputs = network.eval().embed(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    assert outputs.shape[1] == len(network.output_names)
    name = plain["checkpoint"] or f"{plain['model']['backbone']} ({plain['model']['weights']})"
    return StoreInfo(
        network=str(name),
        sha256=weights_sha256(network),
        embedding=embedding.shape[1],
        outputs=tuple(network.output_names),
        images=crops,
        image_size=size,
        dtype=plain["dtype"],
        made_by=_made_by(network, plain),
    )


def _made_by(network: Any, plain: dict[str, Any]) -> MadeBy:
    """Return what rebuilds the network; what its weights say of images is told apart, as others may replace them."""
    how = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(network.preprocessing).items()
    }
    if plain["checkpoint"] is not None:
        return MadeBy(target=None, options={}, source=plain["checkpoint"], preprocessing=how)
    options = dict(plain["model"])
    target, source = options.pop("_target_"), options.pop("weights", None)
    if source is not None and Path(source).expanduser().is_file():
        source = str(Path(source).expanduser().absolute())
    options |= {key: value for key, value in how.items() if key in signature(target)[0]}
    return MadeBy(target=target, options=options, source=source, preprocessing=how)


def _summary(data: FaceDataModule, split: Split, store: FeatureStore, folder: Path) -> str:
    """Write the network's own predictions of a split, where it has some, and return a line to print."""
    frames = data.frames(split)
    places = store.find(frames.video, frames.frame)
    rows = np.flatnonzero(places.found)
    outputs = store.read_outputs(Places(places.part[rows], places.position[rows]))
    said: dict[str, Any] = dict(pretrained(torch.from_numpy(outputs), store.info.outputs))
    if said:
        path = folder / "predictions" / f"{split}.parquet"
        made = {"network": store.info.network, "network_sha256": store.info.sha256, "split": split}
        predictions = {key: values.numpy() for key, values in said.items()}
        write_table(table_of_rows(frames, rows, predictions, made, str(path)), path)
    return f"{split}: {len(rows)} of {len(frames)} rows have features"
