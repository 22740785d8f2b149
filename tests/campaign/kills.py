"""Commands that are killed at random points; given again, they must end with what an unkilled one gives."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import strict_binary, strict_settings
from .commands import SMALL
from .forks import Points, command, forked
from .outcomes import difference
from .strict_text import RefusedError

Line = tuple[str, list[str]]


@dataclass(frozen=True)
class Scenario:
    """A command that is killed.

    Attributes:
        kills: how often.
        start: the command line, from the folder it works in and the one of what was made before.
        again: the command line after a kill.
        result: plain values of what it leaves.
        memory: whether it works in a file system that is not that of temporary files.
        below: only points in this folder, relative to the one it works in, count.
    """

    kills: int
    start: Callable[[Path, Path], Line]
    again: Callable[[Path, Path], Line]
    result: Callable[[Path], Any]
    memory: bool = False
    below: str = ""


def make(folder: Path) -> None:
    """Draws faces and videos, trains a network, extracts features: what the commands start from."""
    from rendering.cache import draw as draw_faces

    from . import commands

    folder = folder / "made"
    faces = draw_faces(folder / "faces", "mtl", seed=1, train_videos=2, val_videos=1, frames_per_video=8, workers=1)
    uni = draw_faces(folder / "uni", "uni", seed=1, train_videos=6, val_videos=3, frames_per_video=12, workers=1)
    _write_videos(folder, faces)
    overrides = [key for key in SMALL if not key.startswith(("model.", "trainer.max"))]
    commands.run("train", [
        *("experiment=baseline", "backbone.name=resnet10t", "data=affwild2_mtl", f"data.root={faces}", *overrides),
        *("trainer.max_epochs=1", "model.optimiser.warmup_epochs=0", f"paths.run_dir={folder}/network"),
    ])  # fmt: skip
    script, arguments = _extraction(folder, folder, uni)
    commands.run(script.removesuffix(".py"), arguments)


def _write_videos(folder: Path, faces: Path) -> None:
    """Two short videos of drawn faces."""
    import cv2

    for number in (1, 2):
        writer = cv2.VideoWriter(str(folder / f"video{number}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 12.5, (224, 224))
        for file in sorted(faces.glob("cropped_aligned/*/*.jpg"))[4 * number : 4 * number + 6]:
            writer.write(cv2.resize(cv2.imread(str(file)), (224, 224)))
        writer.release()


# --- command lines


def _training(folder: Path, made: Path, *more: str) -> Line:
    data = ("data=affwild2_mtl", f"data.root={made}/faces")
    return "train.py", ["experiment=emma", *data, *SMALL, f"paths.run_dir={folder}/run", *more]


def _go_on(folder: Path, made: Path) -> Line:
    for name in ("last", "best"):
        file = folder / "run" / "checkpoints" / f"{name}.ckpt"
        if file.exists():
            return "train.py", [f"ckpt_path={file}"]
    return _training(folder, made, "overwrite=true")


def _extraction(folder: Path, made: Path, data: Path | None = None) -> Line:
    network = made / "network" / "checkpoints" / "best.ckpt"
    where = (f"store={folder}/store", f"paths.output_dir={folder}/logs", f"paths.cache_dir={folder}/cache")
    files = (f"data.root={data or made / 'uni'}", "data.task=va", "data.batch_size=5")
    return "extract.py", [f"checkpoint={network}", *files, "trainer=cpu", *where]


def _faces(folder: Path, made: Path) -> Line:
    return "prepare.py", ["faces", f"{made}/video1.mp4", f"{made}/video2.mp4", "--out", f"{folder}/faces"]


def _automl(folder: Path, made: Path, *more: str) -> Line:
    data = (f"data.store={made}/store", f"data.labels.root={made}/uni", "task=va", "data.labels.task=va")
    settings = ("settings.timeout=5", "settings.cpus=1", "settings.algorithms=[linear_l2]", "settings.folds=2")
    return "automl.py", [
        *data,
        *settings,
        "input=embedding",
        f"paths.run_dir={folder}/run",
        f"paths.cache_dir={folder}/cache",
        *more,
    ]


def _sweep(folder: Path, made: Path) -> Line:
    _, arguments = _training(folder, made)
    return "train.py", ["-m", *arguments[:-1], f"paths.run_dir={folder}/runs/${{seed}}", "seed=0,1"]


def _drawing(folder: Path, made: Path, *more: str) -> Line:
    drawn = ("render.train_videos=2", "render.val_videos=1", "render.frames_per_video=8", "render.workers=1")
    places = (f"paths.run_dir={folder}/run", f"paths.cache_dir={folder}/cache")
    return "train.py", ["experiment=emma", "data=synthetic", *SMALL, *drawn, *places, *more]


def _draw_again(folder: Path, made: Path) -> Line:
    return _drawing(folder, made, "overwrite=true")


# --- results


def _run(folder: Path) -> Any:
    """Scores, predictions and weights of a run."""
    run = folder / "run" if (folder / "run").is_dir() else folder
    table = strict_binary.table(run / "predictions" / "val.parquet")["columns"]
    weights = strict_binary.checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    plain = {key: hashlib.sha256(value.tobytes()).hexdigest() for key, (_, value) in weights.items()}
    return [_scores(run), table, plain]


def _scores(run: Path) -> Any:
    return strict_settings.plain_json(run / "scores.json")


def _store(folder: Path) -> Any:
    return _hashes(folder / "store", "*/part-*/*.npy")


def _videos(folder: Path) -> Any:
    rows = strict_settings.finished_videos(folder / "faces")
    finished = [[*row[:9], *row[10:]] for row in rows]  # seconds differ
    return [finished, _hashes(folder / "faces", "cropped/*/*.jpg"), _hashes(folder / "faces", "frames.txt")]


def _automl_result(folder: Path) -> Any:
    return _hashes(folder / "run", "automl.json") and _scores(folder / "run")


def _sweep_result(folder: Path) -> Any:
    return [_scores(folder / "runs" / seed) for seed in "01"]


def _drawn(folder: Path) -> Any:
    return [_hashes(folder / "cache", "faces/**/*.jpg"), _hashes(folder / "cache", "**/*.txt")]


def _hashes(folder: Path, pattern: str) -> dict[str, str]:
    found = sorted(folder.glob(pattern))
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


SCENARIOS = {
    "kills: training": Scenario(15, _training, _go_on, _run),
    "kills: training in memory": Scenario(15, _training, _go_on, _run, memory=True),
    "kills: extraction": Scenario(12, _extraction, _extraction, _store),
    "kills: faces": Scenario(12, _faces, _faces, _videos),
    "kills: automl": Scenario(6, _automl, lambda folder, made: _automl(folder, made, "overwrite=true"), _automl_result),
    "kills: sweep": Scenario(8, _sweep, _sweep, _sweep_result),
    "kills: drawing": Scenario(10, _drawing, _draw_again, _drawn, below="cache"),
}


# --- kills


class Killed:
    """Runs one scenario's commands; the unkilled one first.

    Args:
        name: of the scenario.
        made: what was made before.
        scratch: on the file system of memory.
    """

    def __init__(self, name: str, made: Path, scratch: Path) -> None:
        self.name, self.scenario, self.made = name, SCENARIOS[name], made
        self.place = scratch if self.scenario.memory else Path(tempfile.gettempdir())
        self.folder = Path(tempfile.mkdtemp(prefix="kills-", dir=self.place))
        (self.folder / "whole").mkdir()
        code, self.points = self._give(self.folder / "whole", self.scenario.start, None)
        if code:
            raise RuntimeError(f"{name}: without a kill: {self._log(self.folder / 'whole')}")
        self.expected = self._checked(self.scenario.result, self.folder / "whole")

    def kill(self, number: int, seed: int) -> tuple[str, str]:
        """Kills one command, looks at what is there, gives it again, and compares."""
        rng = random.Random(f"{seed}/{self.name}/{number}")
        folder, last = self.folder / str(number), rng.randint(1, len(self.points))
        folder.mkdir()
        at = f"killed at {last} of {len(self.points)}, {self.points[last - 1]}"
        code, _ = self._give(folder, self.scenario.start, last)
        if code != -9:
            return "traceback", f"{at}: it ended with {code}: {self._log(folder)}"
        if broken := self._checked(broken_files, folder):
            return "lost", f"{at}: {broken}"
        if self.name == "extraction":
            time.sleep(1)  # its run folder is named after the second, and nobody gives a command again within one
        code, _ = self._give(folder, self.scenario.again, None)
        if code:
            outcome = "hang" if code == -9 else "traceback" if "Traceback" in self._log(folder) else "another"
            return outcome, f"{at}: given again, it ended with {code}: {self._log(folder)[-300:]}"
        if told := difference(self._checked(self.scenario.result, folder), self.expected):
            return "another", f"{at}: {told}"
        left = [str(path.relative_to(folder)) for path in folder.rglob("*") if _is_left(path)]
        shutil.rmtree(folder)
        return ("another", f"{at}: left behind: {left[:3]}") if left else ("same", "")

    def _give(self, folder: Path, line: Callable[[Path, Path], Line], last: int | None) -> tuple[int, Any]:
        script, arguments = line(folder, self.made)
        below = folder / self.scenario.below if self.scenario.below else None
        return forked(lambda: command(os.path.abspath(script), arguments, Points(last, below)), folder / "log")

    def _checked(self, read: Callable[[Path], Any], folder: Path) -> Any:
        code, found = forked(lambda: read(folder), folder / "log")
        return found if code == 0 else f"unreadable: {self._log(folder)[-300:]}"

    def _log(self, folder: Path) -> str:
        return (folder / "log").read_text(errors="replace").strip()[-2000:]


def _is_left(path: Path) -> bool:
    """Whether a file is one that a killed process would leave beside the real one."""
    abandoned = "logs" in path.parts or "listings" in path.parts  # the folder of the killed run, a cache
    return not abandoned and path.name.startswith(".") and path.name.endswith((".writing", ".tmp"))


def broken_files(folder: Path) -> list[str]:
    """Finds files that are there under their real names, and not whole."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        kept = parts[0] == "cache" and "faces" not in parts  # to save time; made again where it is not whole
        if not path.is_file() or hidden or kept or path.suffix not in READERS:
            continue
        try:
            READERS[path.suffix](path)
        except (RefusedError, ValueError, OSError) as error:
            found.append(f"{path.relative_to(folder)}: {error}"[:200])
    return found


READERS: dict[str, Callable[[Path], Any]] = {
    ".ckpt": strict_binary.checkpoint,
    ".json": lambda path: json.loads(path.read_bytes()),
    ".yaml": lambda path: yaml.safe_load(path.read_bytes())["data"],
    ".parquet": lambda path: __import__("pyarrow.parquet").parquet.read_table(path),
    ".npy": strict_binary.npy,
}
