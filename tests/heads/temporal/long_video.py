"""Predict one long video, print the peak of memory: ``python -m tests.heads.temporal.long_video FOLDER FRAMES causal``.

The scores are dropped: only what the way to them needs is measured.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import torch

from features.windows import WindowsDataModule
from tests.features.windows import INFO, Listed, Video, write_store
from tests.heads.temporal.test_stitching import module_of

WIDTH = 64


def main(folder: Path, frames: int, *, causal: bool) -> None:
    torch.set_num_threads(1)
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
    status = Path("/proc/self/status").read_text()
    print(re.findall(r"VmHWM:\s+(\d+)", status)[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), causal=sys.argv[3] == "True")
