"""One of two processes of test_ddp.py: scores its shard and writes its part of the prediction table.

Run as ``python -m tests.evaluators.ddp_worker RANK WORLD_SIZE FOLDER`` in the repository; not collected as a test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from evaluators.metrics import AffectScores
from evaluators.predictions import PredictionWriter, merge_parts
from tests.evaluators.fake import labels_of, make_frames, make_predictions

ROWS = 101
SHARDS = (slice(0, 64), slice(64, ROWS))
BATCH = 13


def main(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), world_size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    frames = make_frames(ROWS)
    predictions, labels = make_predictions(frames), labels_of(frames)
    scores, writer = AffectScores(), PredictionWriter(folder, rank)
    rows = torch.arange(ROWS)[SHARDS[rank]]
    for batch in rows.split(BATCH):
        of_batch = {key: value[batch] for key, value in predictions.items()}
        scores.update(of_batch, {key: value[batch] for key, value in labels.items()})
        writer.add(batch, of_batch)
    merged = scores.compute()
    scores.reset()
    if rank == 0:  # the other one has no batch at all
        scores.update(predictions, labels)
    lonely = scores.compute()
    scores.reset()
    # Valence is one constant everywhere, arousal is constant on each rank only: the first has CCC 0, the second not.
    constant = torch.tensor([0.3, 0.3 - 0.6 * rank]).expand(len(rows), 2)
    scores.update(
        {key: value[rows] for key, value in predictions.items()} | {"valence_arousal": constant},
        {key: value[rows] for key, value in labels.items()},
    )
    constants = scores.compute()
    writer.finish()
    dist.barrier()
    if rank == 0:
        merge_parts(folder, frames, folder / "val.parquet", {"split": "val"}, world_size=world_size)
    (folder / f"scores{rank}.json").write_text(json.dumps([merged, lonely, constants]))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
