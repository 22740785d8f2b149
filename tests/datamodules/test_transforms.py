"""Transforms: pure in (seed, epoch, row), the recipe's sizes and draws, resizing against independent references."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from datamodules.transforms import STORED_SIZE, DANTransform, EvalTransform, JitterAndCrop, MAETransform, Transform

PLAIN = {"flip": 0.0, "jitter_probability": 0.0}


def picture(number: int = 0, size: int = 112) -> np.ndarray:
    coarse = np.random.default_rng(number).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("kind", [JitterAndCrop, DANTransform, MAETransform])
def test_a_draw_depends_on_seed_epoch_and_row_alone(kind: type) -> None:
    image = picture()
    transform = kind(image_size=64, seed=3)
    before = {(epoch, row): transform(image, epoch=epoch, row=row) for epoch in range(3) for row in range(12)}
    for key in reversed(before):  # another order, another object, a pickled one (as spawned workers get it)
        epoch, row = key
        for other in (transform, kind(image_size=64, seed=3), pickle.loads(pickle.dumps(transform))):
            np.testing.assert_array_equal(other(image, epoch=epoch, row=row), before[key])
    for first, second in [(0, 1), (1, 2), (0, 2)]:
        assert any((before[first, row] != before[second, row]).any() for row in range(12))
    assert len({before[0, row].tobytes() for row in range(12)}) > 6
    other_seed = kind(image_size=64, seed=4)
    assert any((other_seed(image, epoch=0, row=row) != before[0, row]).any() for row in range(12))


def test_global_random_state_is_neither_used_nor_moved() -> None:
    image, transform = picture(), JitterAndCrop(image_size=64, seed=0, jitter_probability=1.0)
    np.random.seed(0)
    first = transform(image, epoch=0, row=0)
    state = np.random.get_state()[1].copy()
    np.random.seed(1)
    np.testing.assert_array_equal(transform(image, epoch=0, row=0), first)
    np.random.seed(0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("ratio", [1.0, 1.02, 1.04])
def test_crops_are_windows_of_the_resized_image_and_reach_every_offset(ratio: float) -> None:
    """Codes each pixel's position in its colour, so the window can be read off the crop."""
    size = 224
    resized = int(size * ratio)
    y, x = np.mgrid[0:resized, 0:resized]
    coded = np.stack([y, x, np.full_like(x, 7)], axis=2).astype(np.uint8)
    transform = JitterAndCrop(image_size=size, resize_ratio=ratio, seed=0, **PLAIN)
    offsets = set()
    for row in range(200):
        crop = transform(coded, epoch=0, row=row)
        top, left = (int(value) for value in crop[0, 0, :2])
        np.testing.assert_array_equal(crop, coded[top : top + size, left : left + size])
        offsets.add((top, left))
    for axis in range(2):
        assert {offset[axis] for offset in offsets} == set(range(resized - size + 1))


def test_flip_and_jitter_come_with_their_probability() -> None:
    image = picture(size=32)
    flips = JitterAndCrop(image_size=32, resize_ratio=1.0, jitter_probability=0.0, seed=1)
    flipped = [(flips(image, epoch=0, row=row) == image[:, ::-1]).all() for row in range(2000)]
    kept = [(flips(image, epoch=0, row=row) == image).all() for row in range(2000)]
    assert all(a != b for a, b in zip(flipped, kept, strict=True))
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.045)  # four standard deviations
    jitters = JitterAndCrop(image_size=32, resize_ratio=1.0, flip=0.0, seed=1)
    changed = [(jitters(image, epoch=0, row=row) != image).any() for row in range(2000)]
    assert np.mean(changed) == pytest.approx(0.2, abs=0.036)


def test_jitter_strengths_are_what_is_asked_for() -> None:
    grey = np.full((16, 16, 3), 100, dtype=np.uint8)
    options = {"contrast": 0.0, "saturation": 0.0, "hue": 0.0, "jitter_probability": 1.0, "resize_ratio": 1.0}
    transform = JitterAndCrop(image_size=16, brightness=0.4, seed=0, **options)
    levels = [int(transform(grey, epoch=0, row=row)[0, 0, 0]) for row in range(500)]
    assert 59 <= min(levels) <= 63
    assert 137 <= max(levels) <= 141
    still = JitterAndCrop(image_size=16, brightness=0.0, flip=0.0, seed=0, **options)
    np.testing.assert_array_equal(still(picture(size=16), epoch=0, row=0), picture(size=16))
    red = np.zeros((16, 16, 3), dtype=np.uint8)
    red[..., 0] = 200
    hue = JitterAndCrop(image_size=16, seed=0, **{**options, "hue": 0.1, "brightness": 0.0})
    results = np.array([hue(red, epoch=0, row=row)[0, 0] for row in range(200)])
    assert (results[:, 0] == 200).all()  # 36 degrees at most: red stays the strongest
    assert results[:, 1].max() in range(100, 125)  # 200 * 36/60
    assert results[:, 2].max() in range(100, 125)


@pytest.mark.parametrize(("interpolation", "filter_", "tolerance"), [("bilinear", 2, 1), ("bicubic", 3, 12)])
def test_enlarging_agrees_with_pillow(interpolation: str, filter_: int, tolerance: int) -> None:
    """Pillow's cubic kernel has a = −0.5, OpenCV's −0.75, hence its tolerance."""
    image = picture()
    ours = EvalTransform(image_size=224, interpolation=interpolation)(image, epoch=0, row=0)
    theirs = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling(filter_)))
    assert np.abs(ours.astype(int) - theirs).max() <= tolerance
    assert ours.dtype == np.uint8


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_shrinking_averages_areas(interpolation: str) -> None:
    """Stripes of one pixel turn grey; a resize without antialiasing keeps some of them."""
    stripes = np.zeros((112, 112, 3), dtype=np.uint8)
    stripes[::2] = 255
    for size in (28, 64, 66):
        result = EvalTransform(image_size=size, interpolation=interpolation)(stripes, epoch=0, row=0)
        weights = np.zeros((size, 112))  # the overlap of each new pixel with each old one
        edges = np.arange(113) * size / 112
        for i in range(size):
            weights[i] = np.clip(np.minimum(edges[1:], i + 1) - np.maximum(edges[:-1], i), 0, None)
        assert np.abs(result[:, 0, 0] - weights @ stripes[:, 0, 0]).max() <= 1
    train = JitterAndCrop(image_size=48, interpolation=interpolation, seed=0, **PLAIN)(stripes, epoch=0, row=0)
    assert train.min() > 40
    assert train.max() < 215


def test_evaluation_keeps_an_image_of_the_right_size() -> None:
    image = picture(size=64)
    np.testing.assert_array_equal(EvalTransform(image_size=64)(image, epoch=5, row=5), image)


def test_dan_augmentation_moves_and_erases_as_asked() -> None:
    white = np.full((100, 100, 3), 255, dtype=np.uint8)
    affine = DANTransform(image_size=100, flip=0.0, erase=0.0, seed=0)
    covered = np.array([(affine(white, epoch=0, row=row) > 0).mean() for row in range(1000)])
    assert (covered < 1).mean() == pytest.approx(0.7, abs=0.06)
    assert covered.min() > 0.8**2 * 0.7**2  # smallest scale, largest shift in both directions, and some for the turn
    assert covered.min() < 0.6
    erase = DANTransform(image_size=100, flip=0.0, affine=0.0, seed=0)
    erased = np.array([(erase(white, epoch=0, row=row) == (124, 116, 104)).all(axis=2).mean() for row in range(1000)])
    assert (erased > 0).mean() == pytest.approx(0.5, abs=0.065)
    assert erased[erased > 0].min() > 0.015
    assert erased.max() < 0.34


@pytest.mark.parametrize(
    ("transform", "means"),
    [
        (DANTransform(image_size=64, seed=3), [132.97, 121.96, 100.6, 84.88, 92.78, 116.39]),
        (DANTransform(image_size=64, seed=3, affine=0, erase=0), [132.97, 121.96, 129.69, 117.76, 135.14, 117.21]),
        (MAETransform(image_size=64, seed=3), [136.43, 117.43, 130.11, 108.68, 126.23, 112.75]),
        (
            JitterAndCrop(image_size=64, resize_ratio=1.02, jitter_probability=0.5, seed=3),
            [132.59, 121.93, 129.67, 141.28, 134.7, 127.13],
        ),
    ],
)
def test_draws_are_those_of_earlier_versions(transform: Transform, means: list[float]) -> None:
    """The mean values are of commit a62c131, where CoTEX's augmentation was a class of its own."""
    got = [float(transform(picture(row), epoch=1, row=row).mean()) for row in range(6)]
    assert got == pytest.approx(means, abs=0.25)  # rounding differs between versions of OpenCV


def test_augmentations_for_few_photographs_come_with_their_probability() -> None:
    image, rows = picture(size=64), range(1000)
    still = {**PLAIN, "image_size": 64, "resize_ratio": 1.0, "seed": 2}
    grey = JitterAndCrop(**still, grey=0.2)
    seen = [grey(image, epoch=0, row=row) for row in rows]
    expected = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    taken = [(one == expected).all() for one in seen]
    assert all(grey_now or (one == image).all() for grey_now, one in zip(taken, seen, strict=True))
    assert np.mean(taken) == pytest.approx(0.2, abs=0.051)  # four standard deviations
    jittered = JitterAndCrop(image_size=64, seed=2, jitter_probability=1.0, grey=1.0)(image, epoch=0, row=0)
    assert (jittered == jittered[..., :1]).all()  # no colour comes back
    moved = JitterAndCrop(**still, affine=0.7)
    changed = [moved(image, epoch=0, row=row) for row in rows]
    assert np.mean([(one != image).any() for one in changed]) == pytest.approx(0.7, abs=0.058)
    assert min(one.min() for one in changed) >= image.min()  # the border is repeated, not black
    erase = JitterAndCrop(**still, erase=0.3)
    white = np.full((64, 64, 3), 255, dtype=np.uint8)
    erased = np.array([(erase(white, epoch=0, row=row) == (124, 116, 104)).all(axis=2).mean() for row in rows])
    assert (erased > 0).mean() == pytest.approx(0.3, abs=0.058)
    assert erased[erased > 0].min() > 0.015
    assert erased.max() < 0.35


def test_a_camera_blurs_adds_noise_and_compresses_as_often_as_asked() -> None:
    flat = np.full((64, 64, 3), 128, dtype=np.uint8)
    flat[:, 32:] = 90
    still = {"image_size": 64, "seed": 1, "resize_ratio": 1.0, "flip": 0.0, "jitter_probability": 0.0}
    camera = JitterAndCrop(**still, blur=0.4, noise=0.4, jpeg=0.4)
    seen = [camera(flat, epoch=0, row=row) for row in range(600)]
    rough = np.random.default_rng(0).integers(60, 200, size=(64, 64, 3)).astype(np.uint8)
    same = np.mean([(camera(rough, epoch=0, row=row) == rough).all() for row in range(600)])
    assert same == pytest.approx(0.6**3, abs=0.068)  # four standard deviations
    assert all(np.abs(one.mean() - flat.mean()) < 3 for one in seen)
    noisy = np.mean([one[:, :20].std() > 1.5 for one in seen])
    assert noisy == pytest.approx(0.4, abs=0.08)
    again = JitterAndCrop(**still, blur=0.4, noise=0.4, jpeg=0.4)
    assert all((again(flat, epoch=0, row=row) == seen[row]).all() for row in (0, 7, 3))
    assert (camera(flat, epoch=1, row=2) != camera(flat, epoch=0, row=2)).any() or (seen[2] == flat).all()


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"resize_ratio is 0\.9"):
        JitterAndCrop(image_size=64, resize_ratio=0.9)
    with pytest.raises(ValueError, match="interpolation is 'nearest', expected one of bilinear, bicubic"):
        EvalTransform(image_size=64, interpolation="nearest")


def test_draws_are_pure_and_as_asked() -> None:
    transform = JitterAndCrop(image_size=224, resize_ratio=1.02, seed=3)
    draws = [transform.draw(epoch=0, row=row) for row in range(2000)]
    again = JitterAndCrop(image_size=224, resize_ratio=1.02, seed=3)
    assert [again.draw(epoch=0, row=row) for row in reversed(range(2000))] == draws[::-1]
    other = JitterAndCrop(image_size=224, resize_ratio=1.02, seed=4)
    assert [transform.draw(epoch=1, row=row) for row in range(20)] != draws[:20]
    assert [other.draw(epoch=0, row=row) for row in range(20)] != draws[:20]
    assert {one.resized for one in draws} == {228}
    assert {one.top for one in draws} == {one.left for one in draws} == set(range(5))
    assert np.mean([one.flip for one in draws]) == pytest.approx(0.5, abs=0.045)  # four standard deviations
    jittered = [one for one in draws if one.brightness != 1]
    assert len(jittered) / 2000 == pytest.approx(0.2, abs=0.036)
    assert all(one[4:] == (1, 1, 1, 0) for one in draws if one.brightness == 1)
    for name, strength, middle in (
        ("brightness", 0.4, 1),
        ("contrast", 0.4, 1),
        ("saturation", 0.4, 1),
        ("hue", 0.1, 0),
    ):
        values = [getattr(one, name) - middle for one in jittered]
        assert strength * 0.95 < max(values) <= strength
        assert -strength <= min(values) < -strength * 0.95


def test_jitter_and_crop_hands_out_what_it_is_asked_for() -> None:
    image = picture(size=48)
    whole = JitterAndCrop(image_size=64, seed=3)
    assert whole.left_to_do(epoch=0, row=0) is None
    assert whole(image, epoch=0, row=0).shape == (64, 64, 3)
    visible = JitterAndCrop(image_size=64, seed=3, input="visible")
    assert visible.image_size == STORED_SIZE
    assert visible(image, epoch=0, row=0).shape == (112, 112, 3)
    np.testing.assert_array_equal(visible(picture(), epoch=0, row=0), picture())
    assert visible.left_to_do(epoch=0, row=0) == whole.draw(epoch=0, row=0)
    with pytest.raises(ValueError, match="interpolation is 'nearest'"):
        JitterAndCrop(image_size=64, interpolation="nearest")
    with pytest.raises(ValueError, match="input=visible leaves no whole picture"):
        JitterAndCrop(image_size=64, input="visible", erase=0.1)
