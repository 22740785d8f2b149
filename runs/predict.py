"""What predict.py does: a table of every face in somebody's videos and pictures, one for each source.

A source's folder holds ``<name>.parquet``, the table, and ``<name>.csv``, made from it. The table's metadata say what
it was made of and how (``MADE``); it is written last, so that a table that is there is finished.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Final, Literal, TypedDict

from omegaconf import DictConfig

from affect.checksums import file_sha256
from affect.errors import DataError, UserError
from affect.files import locked, whole_file
from affect.hints import key_errors
from affect.labels import Task
from affect.names import below
from affect.settings import Count, Range
from evaluators.exports import check_exports, export_files
from evaluators.lanes import THUMBNAILS
from evaluators.postprocess.biases import is_search
from evaluators.postprocess.options import SEARCH, PostProcess
from evaluators.postprocess.thresholds import SEARCHES
from evaluators.table import Table, read_table, write_table
from evaluators.text import check_separator, write_csv
from runs.bar import Bar
from runs.config import resolve
from runs.detectors import make_detector
from runs.drawing import draw_overlay, draw_timeline, forget_drawn
from runs.networks import newest_run, origin
from runs.predictor import Predictor, Shown
from runs.quiet import quiet
from videos.live import LiveSource, source_of
from videos.settings import CropSettings, DetectorName
from videos.sources import Source, find_sources

MADE: Final = "made"
"""Key in a table's metadata: its files and options. The same again means finished."""


class _Features(TypedDict):
    weights: str | Sequence[str | None] | None


class _Settings(TypedDict):
    """Keys of conf/predict.yaml that no node below it has."""

    source: str | int | Sequence[str]
    show: bool
    checkpoint: str | Sequence[str] | None
    tasks: Sequence[Task] | None
    out: str
    detector: DetectorName
    device: Literal["auto", "cpu", "cuda"]
    features: _Features
    batch_size: Count
    tta: bool
    separator: str
    export: str | Sequence[str]
    overlay: bool
    thumbnails: Annotated[int, Range(least=0, most=THUMBNAILS)]
    overwrite: bool


def predict(config: DictConfig) -> None:
    """Make the tables of all sources that have none yet."""
    quiet(first=True)
    plain = resolve(config, _problems)
    live = source_of(plain["source"])
    sources, left_out = ([], {}) if live else find_sources([Path(one).expanduser() for one in as_list(plain["source"])])
    checkpoint = plain["checkpoint"] or newest_run(Path(plain["paths"]["output_dir"]))
    checkpoints = as_list(checkpoint)
    faces = CropSettings(**plain["faces"], detector=plain["detector"])
    predictor = Predictor(
        checkpoints,
        tasks=plain["tasks"],
        faces=faces,
        postprocess=PostProcess.of(plain["postprocess"], len(checkpoints), people=True),
        device=plain["device"],
        batch_size=plain["batch_size"],
        tta=plain["tta"],
        weights=plain["features"]["weights"],
    )
    pictures = [source.name for source in sources if source.pictures]
    check_exports(as_list(plain["export"]), predictor.tasks, predictor.expressions, pictures)
    for network in predictor.networks:
        print(f"model: {network.path} ({', '.join(network.tasks)}; {origin(network.module.learnt_from)})")
    for place, names in left_out.items():
        print(f"{place}: left out, neither videos nor pictures: {', '.join(names[:5])}{' …' * (len(names) > 5)}")
    options = {
        "checkpoints": [network.sha256 for network in predictor.networks],
        "tasks": list(predictor.tasks),
        "tta": plain["tta"],
        "detector": make_detector(faces).version,
        "faces": plain["faces"],
        "postprocess": plain["postprocess"],
    }
    if live is not None:
        _live(live, predictor, plain, options)
        return
    folder = Path(plain["out"]).expanduser()
    waiting = {
        source.name: files
        for source, files in _compared(sources, folder, options, overwrite=plain["overwrite"])
        if files is not None
    }
    for source in sources:
        place = below(folder, source.name)
        path = place / f"{source.name}.parquet"
        place.mkdir(parents=True, exist_ok=True)
        with locked(place, "folder of predictions"):
            if source.name in waiting:
                table, seconds = _predict(predictor, source)
                made = {"files": waiting[source.name], **options}
                table = replace(table, metadata={**table.metadata, MADE: made})
                forget_drawn(place)
                write_table(table, path)
                print(summary(source, table, seconds), flush=True)
            else:
                table = read_table(path)
                print(f"{source.name}: finished before, as {path} says", flush=True)
            _write_beside(table, path, plain)
            with _progress(source.name) as shown:
                draw_timeline(table, source, path, plain["thumbnails"], shown)
                if plain["overlay"] and (drawn := draw_overlay(table, source, place, shown)):
                    print(
                        f"{source.name}: drawn over in {drawn[0] if len(drawn) == 1 else drawn[0].parent}", flush=True
                    )
    name = sources[0].name if len(sources) == 1 else "<name>"
    beside = "timeline.html and .png" + (", " + ", ".join(as_list(plain["export"])) if plain["export"] else "")
    print(f"tables: {folder}/{name}/{name}.parquet and .csv; beside them {beside}")


def _live(source: LiveSource, predictor: Predictor, plain: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Look at a camera or an address, of which nothing but tables is kept."""
    from runs.live import show_live  # with its server, only where it is asked for

    def finish(path: Path, name: str) -> None:
        table = read_table(path)
        forget_drawn(path.parent)
        _write_beside(table, path, plain)
        draw_timeline(table, Source(name, (), pictures=False), path, 0, lambda items, *_: items)
        print(f"table: {path} and .csv; beside them timeline.html and .png", flush=True)

    show_live(source, predictor, plain, options, finish)


def _write_beside(table: Table, path: Path, plain: Mapping[str, Any]) -> None:
    """Write what is made from a table alone: quickly, and each time, so that it is there and as the options say."""
    write_csv(table, path.with_suffix(".csv"), plain["separator"])
    limits = plain["postprocess"]["au_thresholds"]
    for name, content in export_files(as_list(plain["export"]), table, path.stem, thresholds=limits).items():
        with whole_file(path.with_name(name)) as beside:
            beside.write_bytes(content)


def as_list(given: str | Sequence[str]) -> Sequence[str]:
    """Return one name, or several, as several."""
    return [given] if isinstance(given, str) else given


def _problems(plain: Mapping[str, Any]) -> Iterator[str]:
    yield from key_errors(plain, _Settings)
    yield from key_errors(plain["faces"], CropSettings, "faces.")
    several = len(plain["checkpoint"]) if isinstance(plain["checkpoint"], list) else 1
    yield from PostProcess.problems(plain["postprocess"], several, people=True)
    asked = plain["postprocess"]
    searched = SEARCH in (asked["weights"], asked["temperature"]) or asked["au_thresholds"] in SEARCHES
    searched = searched or is_search(asked["expression_biases"])
    if searched or not isinstance(asked["coverage"], str | None):
        yield "postprocess: nothing can be searched without labels: give the postprocess.json of a run that searched"
    if plain["show"] and not (type(plain["source"]) is int or re.match(r"\w+://", str(plain["source"]))):
        yield "show=true shows a live source: give source=<number of a camera>, or an http, https or rtsp address"
    if plain["source"] == []:
        yield "source=[]: give a video, a picture, or a folder of either"
    for check in (lambda: CropSettings(**plain["faces"]), lambda: check_separator(plain["separator"])):
        try:
            check()
        except UserError as error:
            yield str(error)
        except TypeError:
            pass  # told by its type


def _compared(
    sources: Sequence[Source], folder: Path, options: Mapping[str, Any], *, overwrite: bool
) -> Iterator[tuple[Source, list[dict[str, Any]] | None]]:
    """Yield each source with what is known of its files, or with None where its table is finished.

    Raises:
        UserError: there are tables that were made otherwise, and they are not to be replaced; all are named.
    """
    wrong = []
    for source in sources:
        path = folder / source.name / f"{source.name}.parquet"
        there = path.is_file()
        differs = _differs(path, source, options) if there else "it is not there"
        if differs and there and not overwrite:
            wrong.append(f"{path}: {differs}")
        else:
            yield source, [described(file) for file in source.files] if differs else None
    if wrong:
        raise UserError(f"{'; '.join(wrong)}. Give overwrite=true to replace, or another out=…")


def _differs(path: Path, source: Source, options: Mapping[str, Any]) -> str:
    """Say in which way a table was made otherwise than it would be now; empty where it was not."""
    try:
        made = read_table(path).metadata.get(MADE)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")
    if not isinstance(made, dict) or not isinstance(made.get("files"), list):
        return "it does not say what it was made of"
    before = {str(one.get("name")): one for one in made["files"] if isinstance(one, dict)}
    now = {file.name: file for file in source.files}
    if list(before) != list(now):
        return f"it is of other files ({len(before)}, and now there are {len(now)})"
    if changed := [name for name, file in now.items() if not _same(file, before[name])]:
        return f"{changed[0]} has changed since"
    if isinstance(made.get("postprocess"), dict):  # keys that came later
        made = {**made, "postprocess": {**asdict(PostProcess()), **made["postprocess"]}}
    told = []
    for key, value in json.loads(json.dumps(options)).items():
        old = made.get(key)
        pairs = ((f"{key}.{name}", old.get(name), value[name]) for name in value) if (
            isinstance(value, dict) and isinstance(old, dict)) else [(key, old, value)]  # fmt: skip
        told += [f"{name} {_short(one)}, not {_short(other)}" for name, one, other in pairs if one != other]
    return f"it was made with {', '.join(told)}" if told else ""


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def described(file: Path) -> dict[str, Any]:
    """Return name, size (bytes), time of the last change (ns) and SHA-256 of a file."""
    status = file.stat()
    return {"name": file.name, "size": status.st_size, "time": status.st_mtime_ns, "sha256": file_sha256(file)}


def _same(file: Path, before: Mapping[str, Any]) -> bool:
    """Tell whether a file is as it was; one that was copied, and has another time, is looked at as a whole."""
    status = file.stat()
    if status.st_size != before.get("size"):
        return False
    return status.st_mtime_ns == before.get("time") or file_sha256(file) == before.get("sha256")


@contextmanager
def _progress(name: str) -> Iterator[Shown]:
    """Yield what shows the progress on a source, as a bar."""
    bar = Bar()
    bar.start()

    def shown(items: Iterable[Any], title: str, total: int | None) -> Iterator[Any]:
        start = monotonic()
        for done, item in enumerate(items, 1):
            yield item
            if bar.due():
                rate = done / max(monotonic() - start, 1e-9)
                left = "" if total is None else f", {max(total - done, 0) / rate:.0f} s left"
                bar.draw(f"{name}: {title}", done, total or done, f"{rate:.0f}/s{left}", unit="frames")

    try:
        yield shown
    finally:
        bar.stop()


def _predict(predictor: Predictor, source: Source) -> tuple[Table, float]:
    """Return the table of a source, and how long it took, s."""
    begun = monotonic()
    with _progress(source.name) as shown:
        if source.pictures:
            table = predictor.pictures(source.files, shown=shown)
        else:
            table = predictor.video(source.files[0], shown=shown)
    return table, monotonic() - begun


def summary(source: Source, table: Table, seconds: float) -> str:
    """Say in a line what was found, and what is odd about the files."""
    assert table.found is not None
    seen = table.found.success
    frames = len(set(zip(table.video, table.frame.tolist(), strict=True)))
    with_face = len(
        {(name, number) for name, number, one in zip(table.video, table.frame.tolist(), seen, strict=True) if one}
    )
    kind = "picture" if source.pictures else "frame"
    count = int(seen.sum())
    faces = f"{count} face{'s' * (count != 1)}"
    text = f"{source.name}: {frames} {kind}{'s' * (frames != 1)}, {with_face} with a face, {faces}"
    if not source.pictures:
        ids = len(set(table.found.face_id[seen].tolist()))
        text += f" with {ids} id{'s' * (ids != 1)}"
    if not seen.any():
        text += " (no face at all: its rows are empty)"
    if unreadable := table.metadata.get("unreadable"):
        text += f"; {len(unreadable)} cannot be read ({next(iter(unreadable.values()))})"
    about = table.metadata.get("video_file", {})
    if about.get("lost"):
        text += f"; {about['lost']} frames are missing in its stream, by the times of the others"
    if about and about["lost"] is None and about["frames"] > 1:
        text += "; its rate varies or is not told: frames are counted, and timestamp tells the time"
    announced = about.get("announced")
    if announced is not None and about["frames"] < 0.98 * announced - 1:
        text += f"; the container announces {announced} frames: is the file truncated?"
    return f"{text}; {frames / max(seconds, 0.1):.1f} {kind}s a second"
