"""EmotionNet's network: the published numbers, its weights, the two ways of averaging, what takes gradients."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from affect.errors import WeightsError
from affect.labels import AU_NAMES, EXPRESSIONS
from affect.preprocessing import Preprocessing
from backbones.vit import build_vit
from emotionnet.network import REGIONS, EmotionNet, sine_positions
from runs.assembly import build_module
from runs.config import CONFIG_DIR, resolve
from tests.golden import rebuild

POSITIONS = "positional_encoding.pos_embedding"


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    return rebuild.state_dict("emotionnet")


@pytest.fixture(scope="module")
def checkpoint(published: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as the authors' training leaves it: a checkpoint of Lightning."""
    path = tmp_path_factory.mktemp("emotionnet") / "epoch11.ckpt"
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-3, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=10_000)
    torch.save(
        {
            "epoch": 11,
            "global_step": 9999,
            "pytorch-lightning_version": "1.5.10",
            "state_dict": published,
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(1.5), "best_model_path": "x.ckpt"}},
            "optimizer_states": [optimiser.state_dict()],
            "lr_schedulers": [schedule.state_dict()],
            "hparams_name": "kwargs",
            "hyper_parameters": {"lr": 1e-3, "tasks": ["AU", "EXPR", "VA"], "opt": argparse.Namespace(seed=0)},
        },
        path,
    )
    return path


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> EmotionNet:
    return EmotionNet(weights=str(checkpoint)).eval()


def small(**options) -> EmotionNet:
    torch.manual_seed(0)
    return EmotionNet(**{"image_size": 40, "width_divisor": 16, "first_stride": 1, **options})


def faces(size: int, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def by_hand(image: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    values = image.numpy().astype(np.float64) / 255
    return torch.from_numpy((values - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))).float()


def scores_of(network: EmotionNet, normalised: Tensor) -> list[Tensor]:
    sight = network.look(normalised)
    return list(network.classify(sight.signs, sight.messages.mean(dim=1)))


# --- the published numbers


def test_golden_names_are_those_of_the_published_files(network: EmotionNet, published: dict[str, Tensor]) -> None:
    assert len(published) == 746
    assert [*network.state_dict()][:-2] == [name for name in published if name != POSITIONS]
    torch.testing.assert_close(network.positional_encoding.pos_embedding, published[POSITIONS], rtol=0, atol=1e-6)


def test_golden_emotionnet(network: EmotionNet) -> None:
    image = torch.from_numpy(rebuild.input("input/emotionnet", (2, 3, 299, 299)))
    numbers = rebuild.numbers("emotionnet")
    with torch.no_grad():
        sight = network.look(image)
        scores = network.classify(sight.signs, sight.messages.mean(dim=1))
        regions = network.classify(sight.signs, sight.messages)
    assert sight.feature_map.shape == (2, 768, 17, 17)
    found = {
        "feature_map_mean": sight.feature_map.mean(dim=(2, 3)),
        "au_logits": scores.action_units,
        "expression_logits": scores.expression,
        "valence_arousal": scores.valence_arousal,
        "expression_logits_per_region": regions.expression,
        "valence_arousal_per_region": regions.valence_arousal,
    }
    assert found.keys() == numbers.keys()
    for name, values in found.items():
        assert rebuild.relative_error(values, numbers[name]) <= 1e-5, name


def test_golden_weights_of_the_authors_see_imagenets_mean_and_std(network: EmotionNet) -> None:
    assert network.preprocessing == Preprocessing(image_size=299)
    image = faces(299)
    with torch.no_grad():
        expected = scores_of(network, by_hand(image, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        for scores, wanted in zip(network(image), expected, strict=True):
            assert rebuild.relative_error(scores, wanted) <= 1e-5


@pytest.fixture(scope="module")
def imagenet() -> nn.Module:
    torch.manual_seed(2)
    return timm.create_model("inception_v3", aux_logits=True)


def test_a_trunk_of_imagenet_sees_its_own_mean_and_std(monkeypatch: pytest.MonkeyPatch, imagenet: nn.Module) -> None:
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: imagenet)
    network = EmotionNet(weights="timm:inception_v3.tv_in1k", weights_for="trunk").eval()
    assert network.preprocessing == Preprocessing((0.5,) * 3, (0.5,) * 3, 299, "bicubic")
    image = faces(299)
    normalised = by_hand(image, (0.5,) * 3, (0.5,) * 3)
    with torch.no_grad():
        # timm's own layers are the reference of the trunk
        names = imagenet.layer_names[: imagenet.layer_names.index("Mixed_6e") + 1]
        expected = nn.Sequential(*(imagenet.get_submodule(name) for name in names)).eval()(normalised)
        assert rebuild.relative_error(network.look(normalised).feature_map, expected.numpy()) <= 1e-5
        for scores, wanted in zip(network(image), scores_of(network, normalised), strict=True):
            assert rebuild.relative_error(scores, wanted) <= 1e-5


def test_a_file_of_torchvisions_names_is_a_trunk_too(imagenet: nn.Module, tmp_path: Path) -> None:
    torch.save(imagenet.state_dict(), tmp_path / "inception_v3_google.pth")
    network = EmotionNet(weights=str(tmp_path / "inception_v3_google.pth"), weights_for="trunk")
    assert torch.equal(network.backbone_CNN[14].branch_pool.conv.weight, imagenet.Mixed_6e.branch_pool.conv.weight)
    assert network.preprocessing == Preprocessing((0.5,) * 3, (0.5,) * 3, 299, "bicubic")
    with pytest.raises(WeightsError, match=r"it looks like an InceptionV3.*\n  missing"):
        EmotionNet(weights=str(tmp_path / "inception_v3_google.pth"))


# --- weights that do not fit


def test_other_positions_are_refused(published: dict[str, Tensor], tmp_path: Path) -> None:
    for name, changed in {"value": published[POSITIONS] + 0.01, "count": published[POSITIONS][:17]}.items():
        torch.save({"state_dict": published | {POSITIONS: changed}}, tmp_path / f"{name}.ckpt")
        with pytest.raises(WeightsError, match=rf"{name}\.ckpt: positional_encoding\.pos_embedding .* another network"):
            EmotionNet(weights=str(tmp_path / f"{name}.ckpt"))
    torch.save({name: tensor for name, tensor in published.items() if name != POSITIONS}, tmp_path / "without.ckpt")
    EmotionNet(weights=str(tmp_path / "without.ckpt"))  # they are always the same


def test_a_narrowed_network_names_both_widths_and_the_option(checkpoint: Path, published, tmp_path: Path) -> None:
    message = r"its trunk ends in 768 channels, this network's in 96\. Set model\.network\.width_divisor=1, .*random"
    with pytest.raises(WeightsError, match=message):
        EmotionNet(weights=str(checkpoint), width_divisor=8)
    trunk = {name.removeprefix("backbone_CNN."): tensor for name, tensor in published.items()}
    torch.save({name: tensor for name, tensor in trunk.items() if name[0].isdigit()}, tmp_path / "trunk.pth")
    with pytest.raises(WeightsError, match=message):
        EmotionNet(weights=str(tmp_path / "trunk.pth"), weights_for="trunk", width_divisor=8)
    torch.save(small().state_dict(), tmp_path / "small.pth")
    with pytest.raises(WeightsError, match=r"in 48 channels, this network's in 768\. Set .*width_divisor=16"):
        EmotionNet(weights=str(tmp_path / "small.pth"))


class Callback:
    """Something in a checkpoint that cannot be read without running code."""


def test_a_file_that_needs_unpickling_is_refused_with_the_conversion(published, tmp_path: Path) -> None:
    torch.save({"state_dict": published, "callbacks": Callback()}, tmp_path / "old.ckpt")
    with pytest.raises(WeightsError, match=r"refused, because .*Callback.*weights_only=False.*obj\[\"state_dict\"\]"):
        EmotionNet(weights=str(tmp_path / "old.ckpt"))


def test_timm_has_trunks_only() -> None:
    with pytest.raises(WeightsError, match=r"timm has trunks only: set model\.network\.weights_for=trunk"):
        EmotionNet(weights="timm:inception_v3.tv_in1k")


def test_weights_by_hand_name_their_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "TORCH_HOME", str(tmp_path))
    message = rf"get https://github\.com/wtomin/ABAW3_MultiEmotionNet \(licence: none stated.* save it as {tmp_path}/"
    with pytest.raises(WeightsError, match=message):
        EmotionNet(weights="emotionnet-abaw3")
    for name in ("aim3-mae-emotionet", "aim3-mae-cmsceleb"):  # for the ViT of EMMA
        with pytest.raises(
            WeightsError, match=rf"get https://github\.com/AIM3-RUC/ABAW4 .* save it as {tmp_path}/hub/"
        ):
            build_vit(image_size=32, patch_size=16, width=8, depth=1, heads=2, weights=name)


@pytest.mark.parametrize(
    "wrong", [{"width_divisor": 3}, {"first_stride": 3}, {"image_size": 22}, {"image_size": 42, "first_stride": 2}]
)
def test_bad_sizes(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="EmotionNet"):
        small(**wrong)
    with pytest.raises(ValueError, match="'all' or 'trunk'"):
        small(weights_for="head")


# --- the network


@pytest.mark.parametrize(("size", "stride"), [(23, 1), (43, 2), (72, 1), (139, 2)])
def test_shapes(size: int, stride: int) -> None:
    network = small(image_size=size, first_stride=stride).eval()
    maps, scores = network.regions(faces(size))
    cells = 1 if size < 50 else 7
    assert maps.shape == (2, REGIONS, cells, cells)
    assert [tuple(part.shape) for part in scores] == [(2, 17, 8), (2, 12), (2, 17, 2)]
    assert [tuple(part.shape) for part in network(faces(size))] == [(2, 8), (2, 12), (2, 2)]
    assert ((maps > 0) & (maps < 1)).all()


def test_both_ways_of_averaging_are_one() -> None:
    network = small().eval()
    image = faces(40)
    with torch.no_grad():
        _, by_region = network.regions(image)
        scores = network(image)
    for averaged, wanted in zip(by_region, scores, strict=True):
        of_faces = averaged if averaged.ndim == 2 else averaged.mean(dim=1)
        torch.testing.assert_close(of_faces, wanted, rtol=1e-5, atol=1e-6)


def test_embeddings_give_the_scores() -> None:
    network = small().eval()
    with torch.no_grad():
        embedding, outputs = network.embed(faces(40))
        signs, message = embedding.split([12 * 16, 16], dim=1)
        again = network.classify(signs.unflatten(1, (12, 16)), message)
    assert embedding.shape == (2, network.num_features)
    assert network.output_names == (*EXPRESSIONS, *AU_NAMES, "valence", "arousal")
    torch.testing.assert_close(torch.cat(list(again), dim=1), outputs)
    torch.testing.assert_close(torch.cat(list(network(faces(40))), dim=1), outputs)


def test_every_parameter_learns_but_those_of_which_nothing_is_made() -> None:
    network = small().train()
    sum(part.square().sum() for part in network(faces(40, 4))).backward()
    silent = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert silent == ["AU_attention_classification_module.0.weight", "AU_attention_classification_module.0.bias"]
    assert not any(dict(network.named_parameters())[name].requires_grad for name in silent)


def test_a_narrowed_trunk_has_every_width_divided() -> None:
    whole, narrow = EmotionNet().backbone_CNN, small().backbone_CNN
    for (name, wide), slim in zip(whole.state_dict().items(), narrow.state_dict().values(), strict=True):
        divided = [side // 16 if axis < 2 and side > 7 else side for axis, side in enumerate(wide.shape)]
        assert list(slim.shape) == divided, name


def test_positions_are_those_of_the_transformer() -> None:
    positions = sine_positions(17, 16)
    for place in (0, 1, 16):
        for index in range(8):
            angle = place * 10_000 ** (-2 * index / 16)
            assert positions[place, 2 * index].item() == pytest.approx(np.sin(angle), abs=1e-6)
            assert positions[place, 2 * index + 1].item() == pytest.approx(np.cos(angle), abs=1e-6)


def test_the_papers_configuration_asks_for_weights_and_takes_the_authors(checkpoint: Path) -> None:
    given = ["experiment=emotionnet", "data=affwild2_mtl", "data.root=.", f"model.network.weights={checkpoint}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        module = build_module(resolve(compose("train", overrides=given))["model"])
    assert module.network.backbone_CNN[0].conv.stride == (2, 2)
    assert module.preprocessing == Preprocessing(image_size=299)
