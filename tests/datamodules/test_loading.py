"""The dataset's handling of bad images, and the sampler's shares."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from affect.frames import Frames, unlabelled
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.loading import FaceDataset, JointSampler, RowSampler, dealt_batches
from datamodules.pictures import UnreadableImageError, read_image
from datamodules.transforms import EvalTransform, JitterAndCrop
from tests.datamodules.conftest import truncate, write_picture


def labelled(count: int) -> Frames:
    """Frames whose labels tell their row."""
    frames = unlabelled([f"v/{i}.jpg" for i in range(count)], ["v"] * count, np.arange(count), {})
    frames.expression[:] = np.arange(count) % 8
    frames.valence_arousal[:, 0] = np.arange(count) / 100
    frames.action_units[:, 3] = np.arange(count) % 2
    return frames


def test_pictures_of_one_colour_are_counted_once_and_told(tmp_path: Path, make_root, caplog) -> None:
    root = make_root(train=10)
    black, grey = np.zeros((112, 112, 3), np.uint8), np.full((112, 112, 3), 127, np.uint8)
    almost = black.copy()
    almost[50:60, 50:60] = 255
    for number, picture in ((3, black), (5, grey), (7, black), (9, almost)):
        cv2.imwrite(str(root / f"cropped_aligned/a/{number:05d}.jpg"), picture)
    erasing = JitterAndCrop(image_size=32, erase=1.0)
    data = MTLDataModule(str(root), image_size=32, batch_size=3, drop_last=False, augmentation=erasing)
    data.setup("fit")
    loader = data.train_dataloader()
    batches = [batch for _ in range(2) for batch in loader]
    assert not any("one_colour" in batch for batch in [*batches, *data.val_dataloader()])
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        "3 of 10 pictures that were trained on are black, or of another single colour, in 1 folders; the first is "
        "a/00003.jpg. Remove them, or make them again"
    ]
    caplog.clear()
    for _ in zip(range(4), data.train_dataloader(), strict=False):  # as where the number of steps is limited
        pass
    assert "pictures that were trained on are black" in caplog.text


def test_collated_images_and_labels_belong_to_their_rows(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(6)]
    for i, path in enumerate(paths):
        write_picture(path, i, size=32)
    truncate(paths[4])
    frames = labelled(6)
    dataset = FaceDataset(frames, [*paths[:2], None, *paths[3:]], EvalTransform(image_size=32), on_unreadable="skip")
    batch = dataset.collate([dataset[0, row] for row in (5, 2, 0, 4, 3, 0)])
    assert batch["row"].tolist() == [5, 0, 3, 0]
    assert batch["unreadable"].tolist() == [2, 4]
    assert batch["image"].shape == (4, 3, 32, 32)
    assert batch["image"].dtype == torch.uint8
    assert batch["image"].is_contiguous()
    for image, row in zip(batch["image"], batch["row"].tolist(), strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), read_image(paths[row]))
    for key, labels in (
        ("valence_arousal", frames.valence_arousal),
        ("expression", frames.expression),
        ("action_units", frames.action_units),
    ):
        np.testing.assert_array_equal(batch[key].numpy(), labels[[5, 0, 3, 0]])  # type: ignore[literal-required]
    nothing = dataset.collate([dataset[0, 2], dataset[0, 4]])
    assert nothing["image"].shape == (0, 3, 32, 32)
    assert nothing["action_units"].shape == (0, 12)
    assert nothing["row"].dtype == torch.int64
    assert nothing["unreadable"].tolist() == [2, 4]


def test_unreadable_images_raise_where_they_are_not_skipped(tmp_path: Path) -> None:
    write_picture(tmp_path / "v.jpg", 0)
    truncate(tmp_path / "v.jpg")
    dataset = FaceDataset(labelled(2), [tmp_path / "v.jpg", None], EvalTransform(image_size=32))
    with pytest.raises(UnreadableImageError, match=r"v\.jpg: truncated, or not an image.*on_unreadable=skip"):
        dataset[0, 0]
    with pytest.raises(UnreadableImageError, match=r"v/1\.jpg: there is no such image"):
        dataset[0, 1]


@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 3), st.booleans())
def test_training_is_shared_evenly(count: int, world_size: int, epoch: int, weighted: bool) -> None:
    rows = np.arange(count) * 3

    def share(rank: int) -> list[tuple[int, int]]:
        weights = np.full(count, 1 / count) if weighted else None
        sampler = RowSampler(rows, seed=1, rank=rank, world_size=world_size, weights=weights)
        sampler.set_epoch(epoch)
        pairs = list(sampler)
        assert len(pairs) == len(sampler) == count // world_size
        assert {number for number, _ in pairs} <= {epoch}
        return pairs

    drawn = [row for rank in range(world_size) for _, row in share(rank)]
    assert set(drawn) <= set(rows.tolist())
    if not weighted:
        assert len(set(drawn)) == len(drawn)


@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 5))
def test_an_evaluation_is_dealt_in_the_batches_of_one_process(count: int, batch_size: int, world_size: int) -> None:
    alone = [rows.tolist() for rows in dealt_batches(count, batch_size)]
    assert [row for rows in alone for row in rows] == [*range(count)]
    dealt = [dealt_batches(count, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    together = [rows.tolist() for batches in zip(*dealt, strict=True) for rows in batches]
    assert together[: len(alone)] == alone
    assert not any(together[len(alone) :])


def test_order_depends_on_seed_and_epoch_and_not_on_the_world_size() -> None:
    def order(seed: int, epoch: int, world_size: int = 1) -> list[int]:
        samplers = [
            RowSampler(np.arange(100), seed=seed, rank=rank, world_size=world_size) for rank in range(world_size)
        ]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        return [row for rows in zip(*samplers, strict=True) for _, row in rows]

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) == order(0, 0, world_size=4)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9  # seed + epoch would give 5


@given(st.lists(st.integers(3, 30), min_size=1, max_size=4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_a_joint_epoch_takes_as_many_rows_of_each_list(
    sizes: list[int], slices: int, world_size: int, epoch: int
) -> None:
    lists = [np.arange(size) + 100 * number for number, size in enumerate(sizes)]
    samplers = [
        JointSampler(lists, slices=slices, seed=3, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    drawn = [[row for _, row in sampler] for sampler in samplers]
    rounds = max(sizes) // slices // world_size
    assert [len(rows) for rows in drawn] == [len(sampler) for sampler in samplers] == [rounds * len(lists)] * world_size
    for rows in drawn:  # one row of each list, in turn
        assert [row // 100 for row in rows] == [*range(len(lists))] * rounds
    for number, size in enumerate(sizes):
        of_list = [row % 100 for rows in drawn for row in rows if row // 100 == number]
        counts = np.bincount(of_list, minlength=size)
        assert len({row % slices for row in of_list}) <= 1  # all of one slice
        in_slice = counts[next(iter({row % slices for row in of_list}), 0) :: slices]
        assert in_slice.max() - in_slice.min() <= 1 or world_size > 1  # a tail is dropped
        assert in_slice.max() <= -(-(max(sizes) // slices) // len(in_slice))


def test_joint_draws_depend_on_seed_epoch_and_list_and_not_on_the_world_size() -> None:
    lists = [np.arange(40), np.arange(40), np.arange(10)]

    def drawn(seed: int, epoch: int, world_size: int = 1, slices: int = 1) -> list[list[int]]:
        samplers = [
            JointSampler(lists, slices=slices, seed=seed, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        shares = [np.reshape([row for _, row in sampler], (-1, 3)) for sampler in samplers]
        return np.stack(shares, axis=1).reshape(-1, 3).T.tolist()

    assert drawn(0, 0) == drawn(0, 0)
    assert drawn(0, 0) == drawn(0, 0, world_size=4)
    orders = {tuple(order) for seed in range(3) for epoch in range(3) for order in drawn(seed, epoch)}
    assert len(orders) == 27
    third = drawn(0, 0)[2]
    assert [sorted(third[start : start + 10]) for start in range(0, 40, 10)] == [[*range(10)]] * 4
    assert len({tuple(third[start : start + 10]) for start in range(0, 40, 10)}) == 4  # another order each time
    assert {drawn(0, epoch, slices=8)[0][0] % 8 for epoch in range(60)} == set(range(8))


def test_weighted_draws_follow_the_weights() -> None:
    weights = np.repeat([0.8 / 500, 0.2 / 1500], [500, 1500])
    rows = [row for _, row in RowSampler(np.arange(2000), seed=0, weights=weights)]
    assert len(rows) == 2000
    assert np.mean(np.array(rows) < 500) == pytest.approx(0.8, abs=0.036)
