"""What trained networks say of anybody's faces: crops, whole pictures, videos; in Python or by predict.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import PIL.Image

from affect.errors import ConfigError, DataError
from affect.frames import FloatArray
from affect.labels import Task
from datamodules.pictures import UnreadableImageError, read_image
from datamodules.resizing import Image
from evaluators.found import Found
from evaluators.postprocess.chain import process_people
from evaluators.postprocess.options import PostProcess, check_gap
from evaluators.table import Table, column_names
from runs.asking import Asked, OneByOne, Weights, as_array
from runs.detectors import make_detector
from runs.exported import Exported
from runs.networks import Network, common_tasks, load_networks, with_torch
from videos.decoding import Container, Picture, decode, inspect
from videos.detector import Boxes, search
from videos.faces import cut
from videos.settings import CropSettings
from videos.tracks import to_squares
from videos.watching import Watched, cut_out, watch

if TYPE_CHECKING:
    from torch import Tensor

Given: TypeAlias = "str | Path | PIL.Image.Image | Tensor | np.ndarray[Any, Any]"
"""A picture: the path of a file; a PIL image; (H, W, 3) uint8 RGB; a tensor (3, H, W), uint8 or floats in [0, 1]."""

Shown: TypeAlias = Callable[[Iterable[Any], str, int | None], Iterable[Any]]
"""Shows the progress of what it hands on: the items, a title, and how many there are."""


class Predictor:
    """Trained networks, ready to look at faces: in evaluation mode, on a device, in batches.

    Args:
        checkpoint: a checkpoint, a run folder, or several, whose predictions are averaged.
        tasks: what is wanted; None: all that they have.
        faces: how faces are found and cut out of whole pictures and videos.
        postprocess: how tables are processed, each person's rows by themselves; by default not at all.
        device: ``cpu``, ``cuda``, or ``auto``: a GPU where there is one.
        batch_size: faces that are looked at together.
        tta: test-time augmentation (``training.tta``), which takes six times as long.
        weights: of heads on stored features: where the network that made them is now (``features.weights``).

    Attributes:
        tasks: what is predicted.
        expressions: class names, in the order of the columns.
        columns: names of their columns in a table, by task.
        networks: the networks, with path and SHA-256 of each.

    Raises:
        UserError: no such checkpoint, one that cannot be read or that predicts nothing from pictures, or several that
            do not predict the same.
    """

    def __init__(
        self,
        checkpoint: str | Path | Sequence[str | Path],
        *,
        tasks: Sequence[Task] | None = None,
        faces: CropSettings | None = None,
        postprocess: PostProcess | None = None,
        device: str = "auto",
        batch_size: int = 64,
        tta: bool = False,
        weights: Weights = None,
    ) -> None:
        given = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
        self.device = _device_of(device, given)
        self.networks = load_networks(given, weights)
        self.tasks = common_tasks(self.networks, tasks)
        self.expressions = self.networks[0].module.expressions
        self.columns = {task: column_names(task, self.expressions) for task in self.tasks}
        self.faces = faces or CropSettings()
        self.postprocess = postprocess or PostProcess()
        self.batch_size, self.tta = batch_size, tta
        in_time = any(hasattr(one.module, "laid") for one in self.networks)  # windows, which temporal heads alone have
        check_gap(self.postprocess, in_time=in_time)
        for network in self.networks:
            if tta and network.frozen:
                raise ConfigError([f"tta=true: {network.path} holds heads on features, one of each face: leave it out"])
            if not isinstance(network.module, Exported):
                with_torch(network.path).put_on(network, self.device)

    def crops(self, images: Given | Iterable[Given]) -> dict[Task, FloatArray]:
        """Return what the networks say of B faces that are cut out already.

        Args:
            images: the crops, or one, of any size, cut out as the networks' training faces were (``videos.faces.cut``);
                of whole photographs something is said, too, and it is wrong.

        Returns:
            ``valence_arousal`` (B, 2) in [-1, 1]; ``expression`` (B, classes) and ``action_units`` (B, 12), both
            probabilities: float32, the means over the networks. ``columns`` names the columns.

        Raises:
            UserError: something that is no picture.
        """
        said = self._say(map(as_rgb, _several(images)))
        means: dict[Task, FloatArray] = {}
        for task in self.tasks:
            means[task] = np.stack([one[task] for one in said]).mean(axis=0, dtype=np.float64).astype(np.float32)
        return means

    def pictures(
        self, images: Given | Iterable[Given], names: Sequence[str] | None = None, *, shown: Shown | None = None
    ) -> Table:
        """Find every face in P whole pictures, and return what the networks say of each.

        Args:
            images: the pictures, or one.
            names: a name for each; None: the file's, without its suffix, or ``picture1``, ``picture2`` …
            shown: shows the progress.

        Returns:
            A table in which each picture is a video of one frame, with its faces from left to right. A picture without
            a face, or a file that cannot be read, is a row of nulls; ``metadata["unreadable"]`` says why, by file.

        Raises:
            UserError: something that is no picture, or none of the files can be read, or there is no detector.
        """
        detector, images = make_detector(self.faces), list(_several(images))
        files = [Path(one).name if isinstance(one, str | Path) else "" for one in images]
        called = names or [Path(file).stem or f"picture{number}" for number, file in enumerate(files, 1)]
        found: list[Boxes] = []
        unreadable: dict[str, str] = {}
        lost: list[int] = []

        def read() -> Iterator[Image | None]:
            for number, image in enumerate(shown(images, "looking", len(images)) if shown else images):
                try:
                    yield as_rgb(image)
                except UnreadableImageError as error:
                    unreadable[files[number]] = str(error)
                    lost.append(number)
                    yield None

        def find(rgb: Image | None) -> Boxes:
            return np.empty((0, 5)) if rgb is None else detector(np.ascontiguousarray(rgb[..., ::-1]))

        def faces() -> Iterator[Image]:
            for rgb, boxes in search(read(), find):
                found.append(boxes[np.argsort(boxes[:, 0], kind="stable")])
                if rgb is not None:
                    yield from (cut(rgb, square, self.faces) for square in to_squares(found[-1]))

        said = self._say(faces())
        if lost and len(lost) == len(images):
            raise DataError(next(iter(unreadable.values())))
        counts = np.array([len(boxes) for boxes in found], dtype=np.int64)
        picture = np.repeat(np.arange(len(images)), counts)
        ids = np.concatenate([np.zeros(0, np.int64), *(np.arange(1, count + 1) for count in counts)])
        times = np.full(len(images), np.nan)
        watched = Watched(
            np.ones(len(images), np.int64), times, picture, ids, np.concatenate([np.empty((0, 5)), *found]),
            np.empty((0, 3)), by_time=False,
        )  # fmt: skip
        tables = self.tables_of(said, watched, called, files, {"unreadable": unreadable} if unreadable else {})
        return process_people(tables, self.postprocess)

    def video(self, path: str | Path, *, shown: Shown | None = None) -> Table:
        """Follow every face through a video, and return what the networks say of each in each frame.

        Args:
            path: of the file.
            shown: shows the progress.

        Returns:
            A table of all frames, those without a face, too (one row of nulls).

        Raises:
            DataError: the file is missing, is no video, or cannot be decoded; PyAV or the detector is not installed.
        """
        path = Path(path)
        container = inspect(path)
        detector = make_detector(self.faces)

        def pictures(title: str) -> Iterable[Picture]:
            return shown(decode(path), title, container.announced) if shown else decode(path)

        watched = watch(pictures("finding faces"), detector, container.fps)
        said = self._say(cut_out(pictures("looking at them"), watched, self.faces, path), watched)
        count = len(watched.frame)
        tables = self.tables_of(said, watched, [path.stem] * count, [path.name] * count, _about(container, watched))
        return process_people(tables, self.postprocess)

    def _say(self, faces: Iterable[Image], watched: Watched | None = None) -> list[dict[Task, FloatArray]]:
        """Return the predictions of each network for a stream of RGB crops, of which it holds one batch at a time.

        ``watched`` says whose faces they are, and when; without it each is alone.
        """
        asked = [self._asked(network, watched) for network in self.networks]
        stream = iter(faces)
        while batch := list(islice(stream, self.batch_size)):
            for one in asked:
                one.add(batch)
        said = [one.said() for one in asked]
        return [
            {task: rows_of(of_network.get(task), len(names)) for task, names in self.columns.items()}
            for of_network in said
        ]

    def asking(self, network: Network) -> Callable[[Sequence[Image]], Mapping[str, Any]]:
        """Return what asks one of the networks, which is not a temporal head, about B RGB crops, each alone."""
        if isinstance(network.module, Exported):
            return partial(network.module.ask, tta=self.tta)
        asked: Callable[[Sequence[Image]], Mapping[str, Any]]
        asked = with_torch(network.path).asking(network, self.device, tta=self.tta)
        return asked

    def _asked(self, network: Network, watched: Watched | None) -> Asked:
        if isinstance(network.module, Exported):
            return OneByOne(self.asking(network))
        trained: Asked = with_torch(network.path).asked_of(
            network, watched, self.postprocess.max_gap, self.device, tta=self.tta
        )
        return trained

    def tables_of(
        self,
        said: Sequence[Mapping[Task, FloatArray]],
        watched: Watched,
        video: Sequence[str],
        image: Sequence[str],
        metadata: Mapping[str, Any],
    ) -> list[Table]:
        """Make the table of each network: a row for each face, and one for each picture without any.

        Args:
            said: what each network says of the faces.
            watched: the faces.
            video: name of the video, by picture.
            image: name of the file, by picture.
            metadata: what made the table; what is known of the network is added.
        """
        empty = np.setdiff1d(np.arange(len(watched.frame)), watched.picture)
        picture = np.concatenate([watched.picture, empty])
        order = np.argsort(picture, kind="stable")
        ids = np.concatenate([watched.face_id, np.zeros(len(empty), np.int64)])
        order = order[np.lexsort((ids[order], picture[order]))]
        picture, nulls = picture[order], len(empty)

        def rows(values: Any) -> FloatArray:
            padded = np.concatenate([values, np.full((nulls, *values.shape[1:]), np.nan)])
            return padded[order].astype(np.float32)

        found = Found(watched.time[picture], ids[order], rows(watched.box[:, 4]), rows(watched.box[:, :4]))
        names, files = ([values[number] for number in picture.tolist()] for values in (video, image))
        tables = []
        frames = watched.frame[picture]
        for network, of_network in zip(self.networks, said, strict=True):
            made = {**metadata, **network.described}
            predictions: dict[str, FloatArray] = {task: rows(values) for task, values in of_network.items()}
            tables.append(Table(names, frames, files, predictions, self.expressions, made, network.path, found))
        return tables


def _device_of(name: str, given: Sequence[str | Path]) -> Any:
    """Return the device of networks: torch's, or ``cpu`` where onnxruntime runs them all.

    Raises:
        ConfigError: there is no such device here, or files of ONNX are to be run on it.
    """
    if given and all(Path(one).suffix == ".onnx" for one in given):
        if name == "cuda":
            raise ConfigError(["device=cuda: ONNX files are run on the CPU: give device=cpu, or auto"])
        return "cpu"
    return with_torch(f"checkpoint={', '.join(map(str, given))}").device_of(name)


def rows_of(values: Any, columns: int) -> FloatArray:
    """Return the predictions of N faces as (N, columns); of none where nothing was said."""
    return np.zeros((0, columns), np.float32) if values is None else as_array(values)


def _several(images: Given | Iterable[Given]) -> Iterable[Given]:
    """Return one picture, or any number of them, as several."""
    if getattr(images, "ndim", 0) == 3 or isinstance(images, str | Path | PIL.Image.Image):
        return [cast("Given", images)]
    return cast("Iterable[Given]", images)


def as_rgb(image: Given) -> Image:
    """Return a picture as (H, W, 3) uint8 RGB.

    Raises:
        UnreadableImageError: a file that cannot be read.
        DataError: something that is no picture in one of the forms of ``Given``.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image))
    if isinstance(image, PIL.Image.Image):
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
    if not isinstance(image, np.ndarray) and hasattr(image, "detach"):
        image = _of_tensor(image.detach().cpu())
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"{what} is no picture: give a path, a PIL image, (H, W, 3) uint8 RGB, or a (3, H, W) tensor")
    return image


def _of_tensor(image: Tensor) -> np.ndarray[Any, Any]:
    if image.ndim == 3 and image.shape[0] == 3:
        image = image.permute(1, 2, 0)
    if not image.is_floating_point():
        return image.numpy()
    if float(image.min()) < 0 or float(image.max()) > 1:
        raise DataError("a tensor of floats must be in [0, 1]: undo its normalisation, or give uint8")
    return (image * 255).round().byte().numpy()


def _about(container: Container, watched: Watched) -> dict[str, Any]:
    """Return what the table's metadata say of the video."""
    lost = int(watched.frame[-1]) - len(watched.frame) if len(watched.frame) and watched.by_time else None
    about = {**vars(container), "frames": len(watched.frame), "lost": lost}
    return {"video_file": about}
