"""Published weights by name: what they are, where they come from, how their images must be prepared.

Only what the sources state is filled in. To add weights, add an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from backbones.preprocessing import Preprocessing
from datamodules.labels import AFFECTNET_EXPRESSIONS

Kind = Literal["vit", "mae", "dan", "resnet18", "timm"]


@dataclass(frozen=True)
class WeightsEntry:
    """Published weights.

    Attributes:
        kind: network that the file fits.
        file: name of the file in the weights folder, ``<torch.hub.get_dir()>/checkpoints``.
        page: where the authors publish it.
        licence: as the authors state it.
        url: direct download; None where the file must be fetched by hand from ``page``.
        sha256: of the file, None where nobody publishes it.
        md5_prefix: first digits of the MD5, where the authors publish those instead: tells damage, not forgery.
        preprocessing: with which the weights were trained.
        classes: names of the outputs in order; None for an encoder.
    """

    kind: Kind
    file: str
    page: str
    licence: str
    url: str | None = None
    sha256: str | None = None
    md5_prefix: str | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    classes: tuple[str, ...] | None = None


_MAE_PAGE = "https://github.com/facebookresearch/mae"
_MAE_LICENCE = "CC-BY-NC-4.0"
_EMMA_PAGE = "https://github.com/JackYFL/EMMA_CoTEX_ABAW4#pretrained-models (Baidu, extraction code ABAW)"
_DAN_PAGE = "https://github.com/yaoing/DAN#models (Google Drive)"
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
    }
)
