"""Exported files where nothing of torch is installed: predict.py says of them what it says of their checkpoints."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from affect.errors import ConfigError, UserError
from datamodules.transforms import EvalTransform
from evaluators.table import Table, read_table
from runs import networks
from runs.asking import shaped
from runs.exported import Exported
from runs.networks import load_networks
from runs.predictor import Predictor
from tests.house import ROOT
from tests.runs.test_export import HEADS, call, faces, model_of, saved
from tests.test_predict import call as predict
from tests.test_predict import picture, red_squares
from training.tta import mean, versions

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

ABSENT = ("torch", "torchvision", "timm", "lightning", "pytorch_lightning", "torchmetrics", "albumentations",
          "safetensors", "huggingface_hub", "scipy")  # fmt: skip
RUN = f"""
import importlib.abc, runpy, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
sys.path.insert(0, "")
import cv2, numpy as np
from runs import predictor
def squares(image):
    mask = (np.abs(image.astype(int) - [30, 30, 220]).max(axis=2) < 40).astype(np.uint8)
    found = cv2.connectedComponentsWithStats(mask)[2][1:]
    return np.array([(*one[:4], 0.9) for one in found if one[4] > 100], dtype=float).reshape(-1, 5)
predictor.make_detector = lambda _: squares
sys.argv = sys.argv[1:]
runpy.run_path("predict.py", run_name="__main__")
"""


def without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, "predict.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def emma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an EMMA's run, with its export, and pictures of red squares."""
    folder = tmp_path_factory.mktemp("emma")
    call(saved(folder, model_of("emma")), f"out={folder}/emma.onnx")
    (folder / "photos").mkdir()
    for number in range(3):
        image = picture((20 + 9 * number, 30), (120, 60 - number))
        noise = np.random.default_rng(number).integers(0, 30, image.shape)
        cv2.imwrite(f"{folder}/photos/{number}.png", np.clip(image + noise, 0, 255).astype(np.uint8))
    return folder


def same(one: Table, other: Table) -> None:
    assert one.tasks == other.tasks
    np.testing.assert_array_equal(one.found.box, other.found.box)
    assert len(one) == 6
    for task in one.tasks:
        np.testing.assert_allclose(one.predictions[task], other.predictions[task], rtol=0, atol=1e-5)
        assert np.ptp(one.predictions[task], axis=1).min() > 1e-3  # no columns that are all alike


def test_tables_without_torch_are_those_of_the_checkpoint(
    emma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = without_torch(f"checkpoint={emma}/emma.onnx", f"source={emma}/photos", f"out={tmp_path}/other")
    assert made.returncode == 0, made.stderr
    assert "3 pictures, 3 with a face, 6 faces" in made.stdout
    assert {one.name for one in (tmp_path / "other/photos").iterdir()} >= {"photos.csv", "timeline.html"}
    monkeypatch.setattr("runs.predictor.make_detector", lambda _: red_squares)
    out = predict(tmp_path, emma / "photos", emma / "run")
    same(read_table(tmp_path / "other/photos/photos.parquet"), read_table(out / "photos/photos.parquet"))


def test_what_needs_torch_is_told_in_a_line(emma: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named 'timm', for {name}", name="timm")

    monkeypatch.setattr(networks, "import_module", absent)
    assert Predictor(emma / "emma.onnx", device="auto").device == "cpu"
    with pytest.raises(UserError, match=r"run needs timm, which is not installed here: give a file that `export.py"):
        Predictor([emma / "emma.onnx", emma / "run"])
    with pytest.raises(ConfigError, match="device=cuda: ONNX files are run on the CPU"):
        Predictor(emma / "emma.onnx", device="cuda")


def test_what_is_installed_without_torch_is_as_in_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = [*project["dependencies"], *project["optional-dependencies"]["video"]]
    lines = (ROOT / "requirements-onnx.txt").read_text().splitlines()
    wanted = [line.partition(" # ")[0] for line in lines if not line.startswith("#")]
    assert set(wanted) <= set(known)
    assert not {re.split("[^a-z_-]", one)[0] for one in wanted} & {name.replace("_", "-") for name in ABSENT}


def test_what_is_no_network_of_pictures_is_refused_in_a_line(emma: Path, tmp_path: Path) -> None:
    call(saved(tmp_path, HEADS["gru"]), f"out={tmp_path}/gru.onnx")
    head = onnx.load(tmp_path / "gru.onnx")
    del head.graph.input[1:]  # without its state
    later = onnx.load(emma / "emma.onnx")
    later.opset_import[0].version = 99
    earlier = onnx.load(emma / "emma.onnx")
    earlier.opset_import[0].version = 11
    files = {
        "head.onnx": (head.SerializeToString(), "not a readable ONNX file|sees no picture"),
        "later.onnx": (later.SerializeToString(), "of ONNX's operators 99, and this version reads those of 18"),
        "earlier.onnx": (earlier.SerializeToString(), "of ONNX's operators 11"),
        "cut.onnx": ((emma / "emma.onnx").read_bytes()[:-1000], "not a readable ONNX file"),
        "empty.onnx": (b"", "not a readable ONNX file|was not written by export.py|operators"),
        "model.tflite": (b"\x1c\0\0\0TFL3" + bytes(50), "not a readable checkpoint"),
        "model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "not a readable checkpoint"),
        "automl.joblib": (b"\x80\x04" + bytes(50), "a model of LightAutoML, which sees features and no pictures"),
    }
    for name, (content, message) in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=message) as raised:
            Predictor(path)
        assert name in str(raised.value)
        assert "\n" not in str(raised.value)
    with pytest.raises(UserError, match=r"gru\.onnx reads features as they come, and sees no picture"):
        Predictor(tmp_path / "gru.onnx")
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="predicts nothing that could be scored"):
        Predictor(saved(tmp_path / "other", model_of("mae")))


PHOTOGRAPHS = ROOT.parent / "shared"
SIDES = (48, 64, 96, 112, 150, 224, 448, 1350)


def photographs(folder: Path) -> list[Path]:
    """64 real faces as files, eight of each side: as they are where they have it, else resized."""
    small = sorted((PHOTOGRAPHS / "real_faces_small/cropped_aligned").glob("fer_*/*.jpg"))[::40]
    large = sorted((PHOTOGRAPHS / "london/images").glob("*.jpg"))
    if len(small) < 8 or len(large) < 56:
        pytest.skip("no photographs in ../shared/real_faces_small and ../shared/london")
    files = []
    for number, source in enumerate([*small[:8], *large[:56]]):
        side = SIDES[number // 8]
        image = cv2.imread(str(source))
        if image.shape[:2] == (side, side):
            files.append(source)
        else:
            files.append(folder / f"{number}.jpg")
            how = cv2.INTER_AREA if image.shape[0] > side else cv2.INTER_CUBIC
            cv2.imwrite(str(files[-1]), cv2.resize(image, (side, side), interpolation=how))
    return files


@pytest.mark.slow
@pytest.mark.parametrize("name", ["emma", "cotex", "emotieffnet_backbone"])
def test_photographs_get_the_same_from_the_bytes_of_their_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = photographs(tmp_path)
    model = model_of(name)
    side = 96  # some faces are enlarged, others reduced
    (model["network"]["vit"] if name == "emma" else model["network"])["image_size"] = side
    if name == "emma":
        model["network"]["dan"]["image_size"] = side
    call(saved(tmp_path, model), f"out={tmp_path}/one.onnx")
    expected = Predictor(tmp_path / "run").crops(files)
    said = Predictor(tmp_path / "one.onnx").crops(files)
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"```python\n(.*?)```", Path("one.md").read_text(), re.DOTALL)[0]
    code = compile(lines, "one.md", "exec")
    by_card: dict[str, list[np.ndarray]] = {}
    for file in files:
        Path("face.png").write_bytes(file.read_bytes())  # OpenCV looks at the bytes, not at the name
        found: dict[str, Any] = {}
        exec(code, found)
        for task, values in found["said"].items():
            by_card.setdefault(task, []).append(values)
    for task, values in expected.items():
        assert len(values) == 64
        # untrained networks say nearly the same of all faces: other pixels would differ by far more of that
        far = min(2e-3, 0.1 * np.ptp(values, axis=0).max())
        np.testing.assert_allclose(said[task], values, rtol=0, atol=far)
        np.testing.assert_allclose(np.concatenate(by_card[task]), values, rtol=0, atol=far)


def test_faces_are_resized_as_in_evaluation(emma: Path) -> None:
    exported = Exported(emma / "emma.onnx")
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((9, 9), (32, 32), (31, 40), (112, 112), (300, 17))]
    transform = EvalTransform(image_size=32)
    expected = np.stack([transform(crop, epoch=0, row=0).transpose(2, 0, 1) for crop in crops])
    np.testing.assert_array_equal(shaped(crops, exported.preprocessing), expected)


def test_versions_of_arrays_are_moved_and_mirrored(emma: Path) -> None:
    (network,) = load_networks([emma / "emma.onnx"])
    image = faces(2, 40)
    padded = np.pad(image, ((0, 0), (0, 0), (2, 2), (0, 0)), mode="edge")
    expected = [one for top in (2, 4, 0) for one in (padded[:, :, top : top + 40], padded[:, :, top : top + 40, ::-1])]
    for one, other in zip(versions(image), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    crops = [face.transpose(1, 2, 0) for face in faces(2, 32)]
    said = network.module.ask(crops, tta=True)
    six = mean([network.module.ask([v.transpose(1, 2, 0) for v in one]) for one in versions(faces(2, 32))])
    np.testing.assert_allclose(said["expression"], six["expression"], rtol=0, atol=1e-6)
