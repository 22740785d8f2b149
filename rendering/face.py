"""Draw one picture of a face: strokes, light, lens and sensor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rendering import features, head
from rendering.identity import Identity
from rendering.look import textured
from rendering.mouth import mouth
from rendering.sketch import FLAT, SIZE, Array, Image, Painting, Pose, Sketch
from rendering.units import Units

_MARGIN: Final = 40  # of the background around the crop, so that it can slide
_HALF: Final = SIZE // 2
_GRID: Final = np.stack(np.meshgrid(np.arange(_HALF), np.arange(_HALF)), axis=-1).astype(np.float32) * 2 + 0.5
_NOISE: Final = np.random.default_rng(20220704).normal(0.0, 1.0, (2 * SIZE, 2 * SIZE, 3)).astype(np.float32)


@dataclass(frozen=True)
class Light:
    """A key light and ambient light.

    Attributes:
        direction: unit vector to the key light (x right, y down, z to the camera).
        key: BGR strength of the key light; 1 is full.
        ambient: BGR strength of the ambient light.
        sheen: strength of the highlight on the skin.
    """

    direction: tuple[float, float, float] = (-0.3, -0.4, 0.87)
    key: tuple[float, float, float] = (0.6, 0.6, 0.6)
    ambient: tuple[float, float, float] = (0.45, 0.45, 0.45)
    sheen: float = 0.1


@dataclass(frozen=True)
class Camera:
    """Lens and sensor: Gaussian blur (pixels), noise (grey levels), and where to cut the noise pattern from."""

    blur: float = 0.0
    noise: float = 0.0
    noise_at: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Moment:
    """Everything that changes from frame to frame.

    Attributes:
        units: (2, 16) intensities 0..1 of ``RENDERED_UNITS``, left and right half of the face.
        pose: pose of the head.
        gaze: (x, y) offset of the irises in pixels.
        blink: how far the lids are closed, 0..1.
        light: light on the face.
        camera: lens and sensor.
        drift: (x, y) offset of the background in pixels, at most 15 either way.
    """

    units: Array = field(default_factory=lambda: np.zeros((2, 16)))
    pose: Pose = field(default_factory=Pose)
    gaze: tuple[float, float] = (0.0, 0.0)
    blink: float = 0.0
    light: Light = field(default_factory=Light)
    camera: Camera = field(default_factory=Camera)
    drift: tuple[float, float] = (0.0, 0.0)


def draw_background(rng: np.random.Generator) -> Image:
    """Draw what is behind a person: soft colour fields with a few out-of-focus things.

    Args:
        rng: the video's generator.

    Returns:
        (264, 264, 3) uint8 BGR at the canvas' doubled size, with a margin to slide in.
    """
    side = 2 * SIZE + _MARGIN
    grey = rng.uniform(25, 215)
    base = np.clip(grey + rng.normal(0, 0.16 * grey, 3), 10, 235)  # rooms and streets are mostly greyish
    coarse = base + rng.normal(0, rng.uniform(5, 28), (4, 4, 1)) + rng.normal(0, 6, (4, 4, 3))
    picture = cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
    for _ in range(int(rng.integers(1, 7))):
        x, y = rng.uniform(0, side, 2)
        w, h = rng.uniform(12, 110, 2)
        box = cv2.boxPoints(((x, y), (w, h), float(rng.normal(0, 12))))
        colour = np.clip(base * rng.uniform(0.3, 1.6) + rng.normal(0, 13, 3), 0, 255)
        cv2.fillPoly(picture, [np.rint(box).astype(np.int32)], tuple(colour.tolist()), cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.0, 7.0)), np.uint8)


def draw_face(person: Identity, moment: Moment) -> Sketch:
    """Collect the strokes of one face, from the back to the front."""
    units = Units(moment.units)
    sketch = Sketch(person.skin, person.folds)
    head.behind(sketch, person)
    head.face(sketch, person, units)
    features.cheeks(sketch, person, units)
    features.forehead(sketch, person, units)
    for side in (-1, 1):
        features.eye(sketch, person, units, side, moment.gaze, moment.blink)
    head.beard(sketch, person, units)
    features.nose(sketch, person, units)
    mouth(sketch, person, units)
    for side in (-1, 1):
        features.brow(sketch, person, units, side)
    head.hair_front(sketch, person)
    head.glasses(sketch, person)
    return sketch


def _gain(painting: Painting, moment: Moment) -> NDArray[np.float32]:
    """Compute each pixel's gain, (112, 112, 3): Lambert's law on an ellipsoid with the drawn relief; even behind it."""
    light, pose = moment.light, moment.pose
    relief = cv2.GaussianBlur(painting.relief.astype(np.float32), (0, 0), 1.5) - FLAT
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, scale=1 / 130)
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, scale=1 / 130)
    centre = pose.project(np.array([[0.0, 6.0, 8.0]]))[0].astype(np.float32)
    ball = (_GRID - centre) / np.array([46.0 * pose.scale, 66.0 * pose.scale], np.float32)
    height = np.sqrt(np.maximum(1.0 - (ball**2).sum(axis=-1), 0.06))
    nx, ny = ball[..., 0] - slope_x, ball[..., 1] - slope_y
    length = np.sqrt(nx * nx + ny * ny + height * height)
    dx, dy, dz = light.direction
    facing = np.maximum((nx * dx + ny * dy + height * dz) / length, 0.0)
    sheen = light.sheen * facing**14
    mask = painting.mask * np.float32(1 / 255)
    planes = []  # one by one: NumPy is slow at broadcasting over a last axis of three
    for key, ambient in zip(light.key, light.ambient, strict=True):
        lit = cv2.resize(key * facing + sheen, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        planes.append(ambient + 0.5 * key + mask * (lit - 0.5 * key))
    return np.asarray(cv2.merge(planes), np.float32)


def render(person: Identity, moment: Moment, background: Image) -> Image:
    """Draw one face.

    Args:
        person: who is drawn.
        moment: action units, pose, light and camera.
        background: background that ``draw_background`` made.

    Returns:
        (112, 112, 3) uint8, BGR (as OpenCV encodes it).
    """
    x, y = (round(_MARGIN / 2 + value) for value in moment.drift)
    canvas = background[y : y + 2 * SIZE, x : x + 2 * SIZE].copy()
    painting = draw_face(person, moment).paint(canvas, moment.pose)
    picture: NDArray[np.float32] = painting.colour * _gain(painting, moment)
    if person.skin_texture > 0:
        picture = textured(picture, painting.mask, person)
    camera = moment.camera
    if camera.blur > 0.2:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), camera.blur), np.float32)
    if camera.noise > 0:
        row, column = camera.noise_at
        picture = picture + np.float32(camera.noise) * _NOISE[row : row + SIZE, column : column + SIZE]
    return np.clip(picture, 0, 255).astype(np.uint8)
