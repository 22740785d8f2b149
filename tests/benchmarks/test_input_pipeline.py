"""The benchmark of the input pipeline: both pipelines make the same kind of batch from the same files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.input_pipeline import faces, measure, ours, theirs, visible

SIZE = 64


def test_both_make_normalised_batches_of_the_same_faces() -> None:
    files = faces(None, 6)
    mine, reference = ours(SIZE, 6)(files, 1), theirs(SIZE)(files, 1)
    for batch in (mine, reference):
        assert batch.shape == (6, 3, SIZE, SIZE)
        assert batch.dtype == torch.float32
    # crops, flips and a fifth of jittered faces move a face's mean colour less than another face is away
    distance = torch.cdist(mine.mean(dim=(2, 3)), reference.mean(dim=(2, 3)))
    assert distance.diagonal().median() < distance[~torch.eye(6, dtype=torch.bool)].median()


def test_kept_patches_are_normalised_pieces_of_the_faces() -> None:
    files = faces(None, 6)
    patches, whole = visible(SIZE, 6, 0.75)(files, 1), ours(SIZE, 6)(files, 1)
    assert patches.shape == (6, 2 * 4, 3, 16, 16)
    assert abs(patches.mean() - whole.mean()) < 0.3
    assert whole.min() - 0.5 < patches.min() < patches.max() < whole.max() + 0.5


def test_rates_of_every_round_but_the_first() -> None:
    seen: list[tuple[int, int]] = []

    def load(files: object, epoch: int) -> torch.Tensor:
        seen.append((len(files), epoch))  # type: ignore[arg-type]
        return torch.rand(200, 200) @ torch.rand(200, 200)

    rates = measure({"one": load}, [b""] * 5, batch_size=2, rounds=3)
    assert len(rates["one"]) == 3
    assert min(rates["one"]) > 0
    assert seen == [(size, epoch) for epoch in range(4) for size in (2, 2, 1)]


def test_files_are_spread_over_the_folder(tmp_path: Path) -> None:
    for index in range(10):
        (tmp_path / f"{index}.jpg").write_bytes(bytes([index]))
    assert faces(tmp_path, 5) == [bytes([index]) for index in (0, 2, 4, 6, 8)]


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Set --images"):
        faces(tmp_path, 5)
