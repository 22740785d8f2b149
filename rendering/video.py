"""Draw what happens in one video: episodes of expressions, and smooth motion of head, gaze, light and camera.

Every draw is a function of (seed, stream, video) or (seed, stream, video, frame): how many processes render changes
nothing, and a video does not depend on how many others there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affect.labels import EXPRESSIONS
from rendering.affect import confusion, draw_apex
from rendering.face import Camera, Light, Moment, draw_background
from rendering.identity import Identity, draw_identity
from rendering.look import USUAL, Look, changed
from rendering.sketch import SIZE, Array, Image, Pose
from rendering.units import COLUMN

Generator = np.random.Generator

TRAIN, VALIDATION, AFFECTNET_TRAIN, AFFECTNET_VALIDATION, LSD_TRAIN, LSD_VALIDATION = range(6)
FACES_TRAIN, FACES_VALIDATION, UNI_TRAIN, UNI_VALIDATION = range(6, 10)
"""Streams of random numbers. An identity is drawn from (seed, stream, index), so no two streams share one."""

EXPRESSION_COUNTS: Final = {
    TRAIN: (23976, 4555, 3168, 3122, 18135, 7609, 5228, 24852),
    VALIDATION: (1886, 487, 565, 1254, 3751, 1893, 1003, 4601),
    UNI_TRAIN: (177198, 16573, 10771, 9080, 95463, 78751, 31615, 165866),
    UNI_VALIDATION: (82258, 6126, 5296, 8408, 34511, 25157, 12332, 106444),
}
"""Annotated rows per expression: those of the ABAW4 MTL files, and those of the ABAW5 EXPR files that have a crop."""

_EPISODES: Final = (0.12, 0.3, 0.33, 0.25)  # chance of 1, 2, 3 and 4 episodes in a video
_PERSON, _SCENE, _EPISODE, _MOTION, _FRAME, ANNOTATORS, LISTING, _LOOK = range(8)  # purposes of a generator
_TALK: Final = 9  # part of an episodes' generator; those of the four episodes come before it
_ROOTS: Final = np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0, 13.0])


def generator(seed: int, stream: int, index: int, purpose: int, part: int = 0) -> Generator:
    """Make the random generator of one purpose in one video (or face); ``part`` tells episodes or frames apart."""
    return np.random.default_rng((seed, stream, index, purpose, part))


def spread(seed: int, stream: int, index: int) -> Array:
    """Return low-discrepancy numbers of a video, (6,) in [0, 1).

    A few hundred videos are too few for independent draws to come near the published frequencies. Richtmyer's
    sequence, multiples of the square roots of primes modulo 1, spreads consecutive videos evenly over the cube.
    """
    start = np.random.default_rng((seed, stream)).random(len(_ROOTS))
    return np.asarray((start + index * _ROOTS) % 1.0)


def draw_person(seed: int, stream: int, index: int) -> Identity:
    """Draw the person of one video (or of one AffectNet face)."""
    return draw_identity(generator(seed, stream, index, _PERSON))


@dataclass(frozen=True)
class Video:
    """Rendered state of one video.

    Attributes:
        person: who is seen.
        background: picture behind the person.
        frames: (T,) frame numbers, increasing from 1.
        units: (T, 2, 16) intensities, left and right half of the face, columns as in ``RENDERED_UNITS``.
        expression: (T, 8) weights of the expressions that blend into one another, each row summing to 1.
        moments: T frames ready to be drawn.
        quality: JPEG quality 1..100.
    """

    person: Identity
    background: Image
    frames: NDArray[np.int64]
    units: Array
    expression: Array
    moments: list[Moment]
    quality: int


def _smooth(rng: Generator, frames: NDArray[np.int64], columns: int) -> Array:
    """Draw smooth motion with unit variance, (T, columns): the sum of three slow waves of 40 to 260 frames."""
    period = rng.uniform(40, 260, (3, columns))
    phase = rng.uniform(0, 2 * np.pi, (3, columns))
    waves = np.sin(2 * np.pi * frames[:, None, None] / period + phase)
    return np.asarray(waves.sum(axis=1) * np.sqrt(2 / 3))


def draw_light(rng: Generator) -> Light:
    """Draw a light: from any side, above more often than below, warm or cold, hard or soft."""
    across, up = rng.uniform(-1.1, 1.1), rng.normal(-0.35, 0.35)
    direction = np.array([np.sin(across), up, max(np.cos(across), 0.35)])
    direction /= np.linalg.norm(direction)
    hardness = rng.uniform(0.35, 0.85)
    exposure = rng.normal(1.03, 0.11)
    warmth = rng.normal(0.0, 0.07)
    key = exposure * hardness * np.array([1 - warmth, 1.0, 1 + warmth])
    cool = rng.normal(0.0, 0.05)
    ambient = exposure * (1 - 0.85 * hardness) * np.array([1 + cool, 1.0, 1 - cool])
    x, y, z = direction.tolist()
    return Light((x, y, z), tuple(key.tolist()), tuple(ambient.tolist()), float(rng.uniform(0.0, 0.22)))


def episodes(
    seed: int, stream: int, index: int, frames: NDArray[np.int64], lasting: tuple[int, int] | None = None
) -> tuple[Array, Array]:
    """Draw what the person expresses.

    Args:
        seed: seed of the data set.
        stream: of the video.
        index: number of the video in its split.
        frames: (T,) frame numbers, increasing.
        lasting: the fewest and the most frames from one expression to the next, each as likely as the others; None: one
            to four share the video, as frequent as ``EXPRESSION_COUNTS`` has them.

    Returns:
        Intensities (T, 2, 16) and weights of the expressions (T, 8).
    """
    rng = generator(seed, stream, index, _EPISODE)
    length = float(frames[-1])
    if lasting is None:
        slots = spread(seed, stream, index)
        count = int(rng.choice(4, p=_EPISODES)) + 1
        shares = np.linalg.solve(confusion().T, EXPRESSION_COUNTS[stream])  # of what is shown, for these to be said
        kinds = np.searchsorted(np.cumsum(shares / shares.sum())[:-1], slots[:count], side="right")
        share = rng.dirichlet(np.full(count, 6.0))
        ends = np.cumsum(share)[:-1] * length
    else:
        ends = np.cumsum(rng.uniform(*lasting, int(length // lasting[0]) + 1))
        ends = ends[ends < length]
        count = len(ends) + 1
        kinds = rng.integers(len(EXPRESSIONS), size=count)
    ramp = rng.uniform(6.0, 14.0, count - 1)  # frames from one expression to the next
    rise = 1.0 / (1.0 + np.exp(-4.0 * (frames[:, None] - ends) / ramp))
    weight = np.concatenate([np.ones((len(frames), 1)), rise], axis=1)
    weight[:, :-1] *= 1.0 - rise
    weight /= weight.sum(axis=1, keepdims=True)
    units = np.zeros((len(frames), 2, 16))
    expression = np.zeros((len(frames), len(EXPRESSIONS)))
    for part, kind in enumerate(kinds):
        own = generator(seed, stream, index, _EPISODE, part + (1 if lasting is None else _TALK + 1))
        apex = draw_apex(own, EXPRESSIONS[kind])
        swell = 0.9 + 0.1 * _smooth(own, frames, 16)[:, None, :] / np.sqrt(6.0) * 1.5
        units += weight[:, part, None, None] * apex * swell
        expression[:, kind] += weight[:, part]
    talk = generator(seed, stream, index, _EPISODE, _TALK)
    if talk.random() < 0.6:  # lips that speak open and close faster than an expression comes and goes
        beat = 0.82 + 0.18 * np.sin(frames * talk.uniform(0.5, 1.4) + talk.uniform(0, 6.28))
        units[:, :, [COLUMN[25], COLUMN[26]]] *= beat[:, None, None]
    return np.clip(units, 0.0, 1.0), expression


def scene_light(seed: int, stream: int, index: int) -> Light:
    """Draw the light of one video (or of one single face)."""
    return _motion(generator(seed, stream, index, _MOTION), np.ones(1, np.int64))[-1]


def _motion(rng: Generator, frames: NDArray[np.int64]) -> tuple[Array, Array, Array, Array, Light]:
    """Draw turn (T, 3), place (T, 3) and gaze (T, 2) of the head, slide of the background (T, 2), and the light."""
    moving = _smooth(rng, frames, 12)
    turn = rng.normal(0, (0.17, 0.09, 0.05)) + moving[:, :3] * rng.uniform(0.3, 1.0) * (0.14, 0.08, 0.06)
    turn = np.clip(turn, (-0.5, -0.28, -0.16), (0.5, 0.28, 0.16))
    place = rng.normal(0, (1.6, 1.8, 0.045)) + moving[:, 3:6] * (1.3, 1.3, 0.02)
    look = rng.normal(0, (0.9, 0.3)) + moving[:, 6:8] * (1.1, 0.45)
    return turn, place, look, 4.0 * moving[:, 8:10], draw_light(rng)


def _moments(seed: int, stream: int, index: int, frames: NDArray[np.int64], units: Array) -> list[Moment]:
    """Draw head, gaze, light and camera of every frame."""
    rng = generator(seed, stream, index, _MOTION)
    turn, place, look, slide, light = _motion(rng, frames)
    blur, noise = rng.uniform(0.0, 0.95), rng.uniform(0.5, 5.0)
    moments = []
    for t, frame in enumerate(frames.tolist()):
        own = generator(seed, stream, index, _FRAME, frame)
        jitter = own.normal(0, (0.9, 0.9, 0.012, 0.02))
        moments.append(
            Moment(
                units=units[t],
                pose=Pose(
                    yaw=float(turn[t, 0]),
                    pitch=float(turn[t, 1]),
                    roll=float(turn[t, 2] + jitter[3]),
                    shift=(float(place[t, 0] + jitter[0]), float(place[t, 1] + jitter[1])),
                    scale=float(1.0 + place[t, 2] + jitter[2]),
                ),
                gaze=(float(np.clip(look[t, 0], -2.6, 2.6)), float(np.clip(look[t, 1], -1.2, 1.2))),
                blink=float(own.uniform(0.3, 1.0)) if own.random() < 0.04 else 0.0,
                light=light,
                camera=Camera(blur, noise, (int(own.integers(SIZE)), int(own.integers(SIZE)))),
                drift=(float(np.clip(slide[t, 0], -15, 15)), float(np.clip(slide[t, 1], -15, 15))),
            )
        )
    return moments


def draw_video(
    seed: int,
    stream: int,
    index: int,
    frames: int,
    look: Look = USUAL,
    lasting: tuple[int, int] | None = None,
) -> Video:
    """Draw everything about one video except its pixels.

    Args:
        seed: seed of the data set.
        stream: ``TRAIN`` or ``VALIDATION``, whose frame numbers are sparse as in the MTL set, or ``UNI_TRAIN`` or
            ``UNI_VALIDATION``, which have every frame.
        index: number of the video in its split.
        frames: number of frames.
        look: harder ways to draw the person.
        lasting: see ``episodes``.

    Returns:
        The video.
    """
    scene = generator(seed, stream, index, _SCENE)
    gaps = scene.choice((4, 5, 6, 7, 8, 9), frames) if stream in (TRAIN, VALIDATION) else np.ones(frames)
    numbers = np.cumsum(gaps).astype(np.int64)
    numbers += 1 - numbers[0]
    units, expression = episodes(seed, stream, index, numbers, lasting)
    return _video(seed, stream, index, scene, numbers, units, expression, look)


def draw_portrait(seed: int, stream: int, index: int, expression: str, look: Look = USUAL) -> Video:
    """Draw one face of AffectNet or of the LSD challenge: a video of a single frame with a strong expression.

    Args:
        seed: seed of the data set.
        stream: one of the six streams of single faces.
        index: number of the face in its split.
        expression: one of ``AFFECTNET_EXPRESSIONS``.
        look: harder ways to draw the person.

    Returns:
        A video with T = 1 whose ``expression`` weights are all zero (contempt is none of the eight).
    """
    units = draw_apex(generator(seed, stream, index, _EPISODE), expression, least=0.5)[None]
    scene, weights = generator(seed, stream, index, _SCENE), np.zeros((1, len(EXPRESSIONS)))
    return _video(seed, stream, index, scene, np.ones(1, np.int64), units, weights, look)


def _video(
    seed: int,
    stream: int,
    index: int,
    scene: Generator,
    frames: NDArray[np.int64],
    units: Array,
    expression: Array,
    look: Look,
) -> Video:
    """Draw what is not decided yet: the person, the background, motion, light, and the quality of the pictures."""
    person, background = draw_person(seed, stream, index), draw_background(scene)
    if any(look):
        person, background = changed(person, background, look, generator(seed, stream, index, _LOOK))
    return Video(
        person=person,
        background=background,
        frames=frames,
        units=units,
        expression=expression,
        moments=_moments(seed, stream, index, frames, units),
        quality=int(scene.integers(62, 96)),
    )
