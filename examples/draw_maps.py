"""Draw where EmotionNet looks: ``python -m examples.draw_maps best.ckpt drawing.png face.jpg …``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure

from affect.labels import AU_NAMES
from datamodules.pictures import read_image
from datamodules.transforms import EvalTransform
from emotionnet.network import EmotionNet
from runs.checkpoints import load_module


def draw(checkpoint: Path, destination: Path, pictures: Sequence[Path]) -> None:
    """Write a row for each face: the face, then the map of each action unit over it, with its lowest and highest value.

    Blue is the lowest value of all maps of the face, red the highest: maps of one colour tell no place from another.

    Args:
        checkpoint: ``checkpoints/best.ckpt`` of a run of EmotionNet.
        destination: a PNG file.
        pictures: faces, cut out as the network's training faces were.
    """
    module = load_module(checkpoint).eval()
    network, wanted = module.network, module.preprocessing
    if not isinstance(network, EmotionNet):
        sys.exit(f"error: {checkpoint} is no EmotionNet: give the checkpoint of a run of experiment=emotionnet")
    transform = EvalTransform(image_size=wanted.image_size, interpolation=wanted.interpolation)
    figure = Figure(figsize=(13.2, 1.3 * len(pictures)), dpi=100, layout="constrained")
    rows = figure.subplots(len(pictures), 1 + len(AU_NAMES), squeeze=False)
    for panels, picture in zip(rows, pictures, strict=True):
        face = transform(read_image(picture), epoch=0, row=0)
        with torch.no_grad():
            maps, _ = network.regions(torch.from_numpy(face).permute(2, 0, 1)[None])
        named = maps[0, : len(AU_NAMES)].numpy()
        low, high = named.min(), named.max()
        panels[0].imshow(face)
        for axes, name, values in zip(panels[1:], AU_NAMES, named, strict=True):
            large = cv2.resize(values, face.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            axes.imshow(np.repeat(face.mean(axis=2, keepdims=True) / 255, 3, axis=2))
            axes.imshow(large, cmap="jet", alpha=0.45, vmin=low, vmax=high)
            axes.set_title(f"{name.upper()}\n{values.min():.2f} to {values.max():.2f}", fontsize=7)
    for axes in rows.flat:
        axes.axis("off")
    figure.savefig(destination, format="png", metadata={"Software": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
