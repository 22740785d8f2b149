"""Valid files, made by the writers of the framework (whichever version is imported), that the campaign then changes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from .strict_lists import MTL, UNITS

VARIANTS = ("plain", "windows", "marked")
"""As written; with CRLF and a comma at each end; with a byte order mark and blank lines at its end."""


def _variants(folder: Path, name: str, text: str) -> None:
    changed = {
        "plain": text,
        "windows": text.replace(",\n", "\n").replace("\n", ",\r\n"),
        "marked": "\ufeff" + text + "\n\n",
    }
    for variant in VARIANTS:
        _write(folder / variant / name, changed[variant])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def mtl(folder: Path) -> None:
    """A drawn label file, and the same with 16 names in its header."""
    from rendering.cache import draw as draw_faces

    drawn = draw_faces(folder / ".drawn", "mtl", seed=1, train_videos=2, val_videos=1, frames_per_video=6, workers=1)
    text = (drawn / "training_set_annotations.txt").read_text()
    _variants(folder, "training_set_annotations.txt", text)
    names = ",".join([*MTL[:4], *(f"AU{unit}" for unit in UNITS)])
    _write(folder / "named" / "training_set_annotations_22.txt", f"{names}\n{text.partition(chr(10))[2]}")


def _drawn_uni(folder: Path, task: str) -> None:
    from rendering.cache import draw as draw_faces

    drawn = draw_faces(folder / ".drawn", "uni", seed=2, train_videos=3, val_videos=3, frames_per_video=10, workers=1)
    for file in sorted(drawn.glob(f"{task}*/*/*.txt"))[:2]:
        _variants(folder / file.stem, file.name, file.read_text())


def va(folder: Path) -> None:
    """Drawn label files of valence and arousal."""
    _drawn_uni(folder, "VA")


def expr(folder: Path) -> None:
    """Drawn label files of expressions."""
    _drawn_uni(folder, "EXPR")


def au(folder: Path) -> None:
    """Drawn label files of action units."""
    _drawn_uni(folder, "AU")


def test_lists(folder: Path) -> None:
    """Lists as ABAW4 and 7 had them, and those of the uni-task challenges, by the name of their folder."""
    images = [f"{video}/{frame:05d}.jpg" for video in ("video45_1", "119", "8-30-1280x720_left") for frame in (1, 2, 7)]
    images.append(images[0])
    plain, comma = "\n".join(images), ",\n".join(images) + ","
    filled = "\n".join(f"{image},0.1,-0.2" for image in images)
    _variants(folder / "mtl4", "MTL_Challenge_test_set_release.txt", f"{','.join(MTL)}\n{plain}\n")
    _variants(folder / "mtl7", "MTL.txt", f"{','.join(MTL)}\n{comma}\n")
    _variants(folder / "va", "CVPR_5th_ABAW_VA_test_set_sample.txt", f"image_location,valence,arousal\n{comma}\n")
    _variants(folder / "va6", "CVPR_6th_ABAW_VA_test_set_sample.txt", f"image_location,valence,arousal\n{filled}\n")
    units = ",".join(f"AU{unit}" for unit in UNITS)
    _variants(folder / "au", "CVPR_5th_ABAW_AU_test_set_sample.txt", f"image_location,{units}\n{comma}\n")
    expressions = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    _variants(folder / "expr", "CVPR_5th_ABAW_EXPR_test_set_sample.txt", f"image_location,{expressions}\n{comma}\n")


def video_lists(folder: Path) -> None:
    """A list as of ABAW3, and one with the suffixes of the files."""
    names = ["video45_1", "119", "8-30-1280x720_left", "8-30-1280x720_right", "122-60-1920x1080-1", "video30"]
    for variant, suffix in (("names", ""), ("files", ".mp4")):
        text = "".join(f"{name}{suffix}\n" for name in names)
        _write(folder / variant / "Action_Unit_Detection_Challenge_test_set_release.txt", text)
        _write(folder / f"{variant} windows" / "list.txt", "\ufeff" + text.replace("\n", "\r\n"))


def frame_counts(folder: Path) -> None:
    """``video,n`` as of ABAW2 and 3, and ABAW1's sentences."""
    counts = {"video45_1": 321, "119": 4578, "8-30-1280x720": 77, "122-60-1920x1080-1": 1200}
    text = "".join(f"{video},{count}\n" for video, count in counts.items())
    _variants(folder / "commas", "AU_ABAW_Challenge_test_files_expected_frames.txt", text)
    said = "".join(f"The video {v} has a total number of frames: {n} frames\n" for v, n in counts.items())
    assert said.split("\n")[0].split()[2:10:7] == ["video45_1", "321"], said
    _write(folder / "words" / "Expr_Challenge_video_and_total_number_of_frames.txt", said)


def partition(folder: Path) -> None:
    """CelebA's partition as of its archive, and with commas."""
    rows = [(f"{number:06d}.jpg", number % 3) for number in range(1, 13)]
    _write(folder / "spaces" / "list_eval_partition.txt", "".join(f"{image} {part}\n" for image, part in rows))
    text = "".join(f"{image},{part}\n" for image, part in rows)
    _write(folder / "commas" / "list_eval_partition.csv", "image_id,partition\n" + text)


def videos_csv(folder: Path) -> None:
    """The table of prepare.py faces, as it is written."""
    from videos.folder import Finished, write_finished

    known = len(fields(Finished)) > 10  # not to an earlier version
    videos = {
        name: Finished(name, f"/videos/{name}.mp4", 90 + place, 70, 5, fps, 640, 480, announced, 12.5, *known * file)
        for place, (name, fps, announced, file) in enumerate(
            (
                ("a", 30.0, 91, (2, 31415, "0f" * 32)),
                ("b 2", 29.97, None, (0, 5_000_000_000, "31" * 32)),
                ("ü", None, 92, (None, None, None)),
            )
        )
    }
    (folder / "faces").mkdir(parents=True)
    write_finished(folder / "faces", videos)


def postprocess(folder: Path) -> None:
    """What a search has found, as it is written."""
    from evaluators.postprocess.settings import write_stored

    found = {
        "weights": {"valence_arousal": [0.3, 0.7], "expression": [0.5, 0.5], "action_units": [1.0, 0.0]},
        "au_thresholds": {f"au{unit}": round(0.05 + 0.07 * place, 2) for place, unit in enumerate(UNITS)},
        "temperature": {"expression": 1.5, "action_units": 0.8},
        "coverage": {"share": 0.9, "seed": 0, "valence": 0.31, "arousal": 0.25, "expression": 0.93},
    }
    for variant, keys in (("both", list(found)), ("thresholds", ["au_thresholds"])):
        (folder / variant).mkdir(parents=True)
        kept = {key: found[key] for key in keys}
        files = {"validation_set_annotations.txt": "0123456789abcdef" * 4}
        write_stored(
            folder / variant / "postprocess.json",
            kept,
            split="val",
            rows=100,
            files=files,
            expressions=["neutral", "anger"],
        )


def affectnet(folder: Path) -> None:
    """Annotations as they are given out: strings; and numbers."""
    for kind, values in (("exp", ("3", 10, 7.0)), ("val", ("0.25", -2.0, -0.5)), ("aro", ("-0.75", 1, -2))):
        for place, value in enumerate(values):
            at = folder / f"{kind} {place}"
            at.mkdir(parents=True)
            np.save(at / f"17_{kind}.npy", np.array(value))


def table(folder: Path) -> None:
    """A prediction table with all tasks and a null row."""
    from evaluators.table import EXPRESSIONS, Table, write_table

    rng = np.random.default_rng(5)
    count, units = 24, 12
    predictions: dict[str, Any] = {
        "valence_arousal": rng.uniform(-1, 1, (count, 2)),
        "expression": rng.dirichlet(np.ones(8), count),
        "action_units": rng.uniform(0, 1, (count, units)),
    }
    for values in predictions.values():
        values[3] = np.nan
    predictions = {key: values.astype(np.float32) for key, values in predictions.items()}
    frames = np.arange(1, count + 1)
    images = [f"video1/{frame:05d}.jpg" for frame in frames]
    made = {"experiment": "emma", "label_files": {"a.txt": "0" * 64}}
    whole = Table(["video1"] * count, frames, images, predictions, EXPRESSIONS, made, "table")
    folder.joinpath("table").mkdir(parents=True)
    write_table(whole, folder / "table" / "val.parquet")


def store(folder: Path) -> None:
    """A feature store of two videos, as it is written."""
    from features.store import open_store
    from features.store_files import FeatureWriter, StoreInfo

    info = StoreInfo("efficientnet_b0", "ab" * 32, 6, ("happiness", "anger", "fear"), "cropped_aligned", 224)
    root = folder / "store"
    open_store(root, info)
    rng = np.random.default_rng(6)
    for video, count in (("video1", 9), ("video2_left", 5)):
        writer = FeatureWriter(root, video, info)
        writer.add(
            np.arange(1, count + 1),
            rng.normal(size=(count, 6)).astype(np.float32),
            rng.normal(size=(count, 3)).astype(np.float32),
        )
        writer.finish()


SMALLEST = [
    *("experiment=cotex", "data=lsd", "data.root=/data", "scale=tiny", "trainer=cpu"),
    *(f"model.network.{key}" for key in ("image_size=32", "width=16", "depth=1", "heads=2")),
]
"""Overrides of train.py that give the smallest network."""


def composed(*overrides: str) -> dict[str, Any]:
    """The resolved configuration of a training of the smallest network."""
    from hydra import compose, initialize_config_dir

    from runs.config import CONFIG_DIR, resolve

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", overrides=[*SMALLEST, "paths.run_dir=/run", *overrides])
    return resolve(config)


def checkpoint(folder: Path) -> None:
    """A checkpoint of the smallest network."""
    import torch

    from runs.assembly import build_module

    torch.manual_seed(0)
    module = build_module(composed()["model"], initialise=False)
    content: dict[str, Any] = {"state_dict": module.state_dict(), "epoch": 1, "global_step": 7}
    module.on_save_checkpoint(content)
    folder.joinpath("run").mkdir(parents=True)
    torch.save(content, folder / "run" / "best.ckpt")


def config(folder: Path) -> None:
    """The configuration that a run keeps."""
    _write(folder / "run" / "config.yaml", yaml.safe_dump(composed(), sort_keys=False))


def onnx(folder: Path) -> None:
    """A small network as torch writes it."""
    import torch

    torch.manual_seed(0)
    folder.joinpath("network").mkdir(parents=True)
    torch.onnx.export(
        small_network(),
        (torch.zeros(1, 3, 16, 16),),
        str(folder / "network" / "network.onnx"),
        input_names=["input"],
        dynamo=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )


def small_network() -> Any:
    """A convolution, a batch norm and a linear layer."""
    from torch import nn

    class Network(nn.Sequential):
        pretrained_cfg = {"input_size": (3, 16, 16), "classifier": "classifier"}  # noqa: RUF012

    network = Network()
    layers = (
        nn.Conv2d(3, 4, 3, 2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 8),
    )
    for name, layer in zip(("conv_stem", "bn1", "act", "pool", "flat", "classifier"), layers, strict=True):
        network.add_module(name, layer)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1)  # equal tensors would be written once
    return network.eval()
