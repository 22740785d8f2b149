"""Networks of timm: files under timm's names, under torchvision's, and in timm's order."""

from __future__ import annotations

import dataclasses
import importlib.util
import types

import pytest
import timm
import torch
from sklearn.datasets import load_sample_image
from torch import nn
from torchvision.models import vgg16

from affect.errors import WeightsError
from affect.preprocessing import IMAGENET, Preprocessing
from backbones import weights as module
from backbones.files import INSTALL, fetch
from backbones.normalize import Normalize
from backbones.registry import REGISTRY
from backbones.state import read_state
from backbones.weights import classifier_state, load_weights

LITE0 = "efficientnet-lite0-imagenet"
SMALL = "test_efficientnet"  # of timm, 0.4 million parameters
HEAD = ("classifier.",)


def same(network, state):
    own = network.state_dict()
    return own.keys() <= state.keys() and all(torch.equal(own[name], state[name]) for name in own)


@pytest.fixture
def source():
    torch.manual_seed(3)
    return timm.create_model(SMALL, num_classes=5)


def test_a_file_without_its_classifier(tmp_path, source):
    torch.save(source.state_dict(), tmp_path / "net.pth")
    network = timm.create_model(SMALL, num_classes=0)
    assert load_weights(network, str(tmp_path / "net.pth"), kind="timm", head=HEAD) == IMAGENET
    assert same(network, source.state_dict())
    with pytest.raises(WeightsError, match=r"unexpected \(2\): classifier\.weight, classifier\.bias"):
        load_weights(network, str(tmp_path / "net.pth"), kind="timm")
    other = timm.create_model("test_resnet", num_classes=0)
    with pytest.raises(WeightsError, match="does not fit a backbone of timm; it looks like an EfficientNet"):
        load_weights(other, str(tmp_path / "net.pth"), kind="timm", head=HEAD)


def test_a_name_of_timm_brings_its_preprocessing(monkeypatch, source):
    source.pretrained_cfg |= {"mean": (0.1,) * 3, "std": (0.2,) * 3, "input_size": (3, 160, 160)}
    network = timm.create_model(SMALL, num_classes=0)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: source)
    preprocessing = load_weights(network, f"timm:{SMALL}.r160_in1k", kind="timm", head=HEAD)
    assert preprocessing == Preprocessing((0.1,) * 3, (0.2,) * 3, 160, "bicubic")
    assert same(network, source.state_dict())
    source.pretrained_cfg["interpolation"] = "lanczos"
    with pytest.raises(WeightsError, match=r"timm:net: their images cannot be prepared here: interpolation='lanczos'"):
        load_weights(network, "timm:net", kind="timm", head=HEAD)


def test_random_and_unknown_names():
    network = timm.create_model(SMALL, num_classes=0)
    with pytest.warns(UserWarning, match="random: a backbone of timm starts untrained"):
        load_weights(network, "random", kind="timm")
    with pytest.raises(
        WeightsError, match=rf"neither an existing file nor a known name.* {LITE0}, .*enet_b2_7, timm:NAME"
    ):
        load_weights(network, "nothing", kind="timm")


def test_a_pickled_network_is_refused_with_the_way_round(tmp_path, source):
    """What EmotiEffNet's .pt files are."""
    torch.save(source, tmp_path / "enet.pt")
    message = (
        r"enet\.pt: refused, .*\(timm\.models\..*EfficientNet\).*obj\.state_dict\(\).*take the \.onnx file of the same"
    )
    with pytest.raises(WeightsError, match=message):
        load_weights(timm.create_model(SMALL, num_classes=5), str(tmp_path / "enet.pt"), kind="timm")
    with pytest.raises(WeightsError, match=message):
        classifier_state(str(tmp_path / "enet.pt"))


# --- the classifier alone


@pytest.mark.parametrize("prefix", ["classifier.", "classifier.0.", "head.fc.", "fc."])
def test_the_classifier_of_a_state_dict(tmp_path, source, prefix):
    state = source.state_dict()
    weight, bias = state.pop("classifier.weight"), state.pop("classifier.bias")
    torch.save({"state_dict": state | {f"{prefix}weight": weight, f"{prefix}bias": bias}}, tmp_path / "net.pth")
    linear = classifier_state(str(tmp_path / "net.pth"))
    assert torch.equal(linear["weight"], weight)
    assert torch.equal(linear["bias"], bias)
    network = timm.create_model(SMALL, num_classes=0)
    load_weights(network, str(tmp_path / "net.pth"), kind="timm", head=(prefix,))
    assert same(network, state)
    torch.save(state | {f"{prefix}weight": weight}, tmp_path / "net.pth")
    assert not classifier_state(str(tmp_path / "net.pth"))["bias"].any()


def test_no_single_linear_classifier(tmp_path, source):
    torch.save(timm.create_model(SMALL, num_classes=0).state_dict(), tmp_path / "backbone.pth")
    with torch.device("meta"):
        hidden = {
            name: torch.zeros(1, 1, device="cpu") for name in vgg16().state_dict() if name.startswith("classifier.")
        }
    torch.save(hidden, tmp_path / "vgg.pth")
    for weights in ("random", str(tmp_path / "backbone.pth"), str(tmp_path / "vgg.pth")):
        assert classifier_state(weights) is None
    with pytest.raises(WeightsError, match="neither an existing file nor a known name"):
        classifier_state("nothing")
    with pytest.raises(WeightsError, match="dan-affectnet8 are those of a DAN"):
        classifier_state("dan-affectnet8")


def test_the_classifier_of_a_name_of_timm(monkeypatch, source):
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: source)
    assert torch.equal(classifier_state("timm:net")["weight"], source.classifier.weight)


# --- torchvision's names of a VGG


def test_torchvisions_vgg16_becomes_timms():
    with torch.device("meta"):
        published, own = vgg16().state_dict(), timm.create_model("vgg16")
    module._fit_vgg(published, own)
    assert {name: t.shape for name, t in published.items()} == {name: t.shape for name, t in own.state_dict().items()}


def test_a_vgg_computes_what_torchvisions_computes(tmp_path):
    torch.manual_seed(0)
    network, other = (timm.create_model("vgg11", num_classes=0, mlp_ratio=0.01).eval() for _ in range(2))
    first, second, last = nn.Linear(512 * 7 * 7, 40), nn.Linear(40, 4096), nn.Linear(4096, 9)
    classifier = nn.Sequential(first, nn.ReLU(), nn.Dropout(), second, nn.ReLU(), nn.Dropout(), last).eval()
    published = {f"features.{name}": tensor for name, tensor in other.features.state_dict().items()}
    published |= {f"classifier.{name}": tensor for name, tensor in classifier.state_dict().items()}
    torch.save({"state_dict": published}, tmp_path / "vgg.pth")
    load_weights(network, str(tmp_path / "vgg.pth"), kind="timm", head=("head.fc.",))
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = classifier[:5](other.features(image).flatten(1))
        torch.testing.assert_close(network(image), expected, rtol=1e-4, atol=1e-4)
        assert expected.std() > 0.01


def test_a_vgg_with_a_transposed_layer_does_not_fit(tmp_path):
    network = timm.create_model("vgg11", num_classes=0, mlp_ratio=0.01)
    published = network.state_dict()
    for layer, name in (("fc1", "classifier.0"), ("fc2", "classifier.3")):
        published[f"{name}.bias"] = published.pop(f"pre_logits.{layer}.bias")
        published[f"{name}.weight"] = published.pop(f"pre_logits.{layer}.weight").flatten(1)
    published["classifier.3.weight"] = published["classifier.3.weight"].T.contiguous()
    torch.save(published, tmp_path / "vgg.pth")
    with pytest.raises(WeightsError, match=r"pre_logits\.fc2\.weight is \(40, 4096\), should be \(4096, 40, 1, 1\)"):
        load_weights(network, str(tmp_path / "vgg.pth"), kind="timm", head=("head.fc.",))


# --- files inside a package, in timm's order


@pytest.fixture
def packaged(monkeypatch, tmp_path):
    """A package that holds the tensors of ``SMALL`` under names of their own, and a function that loads it."""
    torch.manual_seed(3)
    source = timm.create_model(SMALL)
    state = {f"_{index}.{name.rpartition('.')[2]}": t for index, (name, t) in enumerate(source.state_dict().items())}
    (tmp_path / "made_up_weights").mkdir()
    (tmp_path / "made_up_weights" / "__init__.py").write_text("raise RuntimeError('nobody needs to run it')")
    monkeypatch.syspath_prepend(tmp_path)
    entry = dataclasses.replace(
        REGISTRY[LITE0], package="made_up_weights", file="net.pth", sha256=None, by_order_of=SMALL
    )
    monkeypatch.setattr(module, "REGISTRY", types.MappingProxyType({LITE0: entry}))

    def load(changed=state):
        torch.save(changed, tmp_path / "made_up_weights" / "net.pth")
        network = timm.create_model(SMALL, num_classes=0)
        load_weights(network, LITE0, kind="timm", head=HEAD)
        return network

    return types.SimpleNamespace(source=source, state=state, load=load)


def test_tensors_in_order(packaged):
    assert same(packaged.load(), packaged.source.state_dict())


def test_tensors_in_order_but_not_as_many(packaged):
    del packaged.state["_7.weight"]
    with pytest.raises(WeightsError, match=rf"{LITE0} .*net\.pth\): \d+ tensors where {SMALL} has \d+; .*constraints"):
        packaged.load()


def test_tensors_in_order_but_of_another_shape(packaged):
    packaged.state["_0.weight"] = torch.zeros(16, 3, 5, 5)
    with pytest.raises(
        WeightsError, match=rf"_0\.weight \(16, 3, 5, 5\) stands where {SMALL} has conv_stem\.weight \("
    ):
        packaged.load()


def test_a_scale_in_the_place_of_a_shift(packaged):
    names = list(packaged.state)
    assert names[1:3] == ["_1.weight", "_2.bias"]
    names[1:3] = names[2:0:-1]
    with pytest.raises(WeightsError, match=rf"_2\.bias \(\d+,\) stands where {SMALL} has bn1\.weight"):
        packaged.load({name: packaged.state[name] for name in names})


def test_a_package_that_is_not_installed():
    entry = dataclasses.replace(REGISTRY[LITE0], package="no_such_package")
    with pytest.raises(WeightsError) as error:
        fetch(LITE0, entry)
    assert INSTALL in str(error.value)
    assert "no_such_package" in str(error.value)


def test_a_package_whose_file_is_damaged_or_missing(packaged, tmp_path):
    packaged.load()
    entry = dataclasses.replace(module.REGISTRY[LITE0], sha256="0" * 64)
    with pytest.raises(
        WeightsError, match=r"net\.pth has the SHA256 .*install its package again: pip .* made_up_weights"
    ):
        fetch(LITE0, entry)
    (tmp_path / "made_up_weights" / "net.pth").unlink()
    with pytest.raises(WeightsError, match=r"net\.pth is missing; install its package again"):
        fetch(LITE0, entry)


@pytest.mark.skipif(
    importlib.util.find_spec(REGISTRY[LITE0].package) is None, reason=f"needs the package with the weights: {INSTALL}"
)
class TestTheRealWeights:
    def test_every_tensor_in_order(self):
        published = list(read_state(fetch(LITE0, REGISTRY[LITE0])).values())
        network = timm.create_model("tf_efficientnet_lite0")
        assert load_weights(network, LITE0, kind="timm") == Preprocessing((0.5,) * 3, (0.5,) * 3, 224, "bicubic")
        own = list(network.state_dict().values())
        assert len(own) == len(published) == 296
        assert all(torch.equal(first, second) for first, second in zip(own, published, strict=True))

    def test_without_the_classifier(self):
        network, whole = (
            timm.create_model("tf_efficientnet_lite0", num_classes=0),
            timm.create_model("tf_efficientnet_lite0"),
        )
        load_weights(network, LITE0, kind="timm", head=HEAD)
        load_weights(whole, LITE0, kind="timm")
        assert same(network, whole.state_dict())

    @pytest.mark.parametrize(("picture", "classes"), [("china.jpg", {698, 442}), ("flower.jpg", {985})])
    def test_it_knows_what_it_sees(self, picture, classes):
        """A palace (or its bell cote), a daisy: the weights, their order and their preprocessing belong together."""
        network = timm.create_model("tf_efficientnet_lite0").eval()
        normalize = Normalize(load_weights(network, LITE0, kind="timm"))
        image = torch.from_numpy(load_sample_image(picture).copy()).permute(2, 0, 1)[None].float()
        side = min(image.shape[2:])
        top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
        square = image[:, :, top : top + side, left : left + side]
        with torch.no_grad():
            small = nn.functional.interpolate(square, size=224, mode="bicubic", antialias=True).clamp(0, 255)
            assert network(normalize(small)).argmax().item() in classes
