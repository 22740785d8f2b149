"""Predict one long video, print the peak of memory: ``… -m tests.heads.temporal.long_video WAY FOLDER FRAMES CAUSAL``.

WAY is ``stored``, of which the scores are dropped: only what the way to them needs is measured; or ``chained``, as
predict.py goes from crops to scores, which keeps those, a few numbers for each face.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from features.planning import Fill, Laid
from features.windows import WindowsDataModule
from runs.chained import InTime
from runs.frozen import Image
from tests.features.windows import INFO, Listed, Video, write_store
from tests.heads.temporal.test_stitching import module_of
from videos.watching import Watched

WIDTH = 64


def chained(frames: int, *, causal: bool) -> None:
    """Ask about a face in every other frame, each crop made when it is looked at."""
    seen = np.arange(0, frames, 2)
    numbers, count = np.arange(1, frames + 1), len(seen)
    watched = Watched(
        numbers, numbers / 25, seen, np.ones(count, np.int64), np.zeros((count, 5)), np.zeros((0, 3)), by_time=True
    )
    module = module_of(causal=causal, width=WIDTH)
    fill: Fill = "previous" if causal else "nearest"
    module.laid = Laid(window=300, hop=100, eval_hop=100, max_frames=2000 if causal else None, grid="frames", fill=fill)

    def frozen(crops: Sequence[Image], _: torch.device) -> tuple[torch.Tensor, None]:
        return torch.from_numpy(np.stack(crops)).flatten(1)[:, :WIDTH].float(), None

    asked = InTime(module, [frozen], watched, 50, torch.device("cpu"))  # type: ignore[list-item]
    stream = (np.full((112, 112, 3), number % 256, np.uint8) for number in range(count))
    with torch.no_grad():
        while batch := list(islice(stream, 64)):
            asked.add(batch)
    assert len(asked.said()["logits_expression"]) == count


def stored(folder: Path, frames: int, *, causal: bool) -> None:
    """Go through the windows of a store that has every other frame."""
    videos = {"a": Video(range(1, frames + 1), range(1, frames + 1, 2))}
    store = write_store(folder / "store", videos, replace(INFO, embedding=WIDTH, dtype="float16"))
    how = {"fill": "previous", "max_frames": 2000} if causal else {"fill": "nearest"}
    data = WindowsDataModule(
        str(store), Listed(videos), image_size=1, window=300, hop=100, batch_size=8, **how  # type: ignore[arg-type]
    )  # fmt: skip
    module, rows = module_of(causal=causal, width=WIDTH), 0
    with torch.no_grad():
        for batch in data._evaluation_loader("val"):
            rows += len(module.predict(batch)["row"])  # type: ignore[arg-type]
    assert rows == frames


if __name__ == "__main__":
    torch.set_num_threads(1)
    way, folder, frames, causal = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
    chained(frames, causal=causal) if way == "chained" else stored(folder, frames, causal=causal)
    print(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])
