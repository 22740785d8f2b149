"""The rows of the EmotiEffNet paper's tables that are its own, as settings of the post-processing, with its numbers.

Sources: Savchenko 2023 (ABAW5), Tables 1 to 6; where its text says nothing, its notebook abaw5_expr_va_au_train.ipynb
(github.com/sb-ai-lab/EmotiEffLib). The rows of Tables 1, 3 and 5 are scored on the validation split; for those of
Tables 2, 4 and 6, whose labels are not public, predictions are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypedDict

from affect.labels import UniTask

EMO, MT, BOTH = "EmotiEffNet", "MT-EmotiEffNet", "EmotiEffNet + MT-EmotiEffNet"
LAMA: Final = "LightAutoML"


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: the paper's.
        systems: whose tables are blended, ``<network>-<learner>[-aligned|-trainval]``.
        paper: its numbers, in the order of ``COLUMNS``, or of ``TEST_COLUMNS``.
        weights: of the systems.
        gate: a rule of ``evaluators.postprocess.gating``; the first system is the gate.
        raw: logits and probabilities in one sum, as published.
        smooth: whether it is smoothed.
        remark: where paper and notebook disagree.
    """

    name: str
    systems: tuple[str, ...]
    paper: tuple[float, ...] | None
    weights: tuple[float, ...] | None = None
    gate: str | None = None
    raw: bool = False
    smooth: bool = False
    remark: str = ""


COLUMNS: Final[Mapping[UniTask, tuple[str, ...]]] = {
    "va": ("CCC_V", "CCC_A", "P_VA"),
    "expr": ("P_EXPR", "ACC_EXPR"),
    "au": ("P_AU",),
}
"""The scores of each table, by their names here."""

TABLES: Final[Mapping[UniTask, str]] = {"va": "Table 1", "expr": "Table 3", "au": "Table 5"}
TEST_TABLES: Final[Mapping[UniTask, str]] = {"va": "Table 2", "expr": "Table 4", "au": "Table 6"}


class _Blend(TypedDict, total=False):
    weights: tuple[float, ...]
    gate: str
    raw: bool


_LOGITS: Final[_Blend] = {"weights": (0.9, 0.1), "gate": "other", "raw": True}
_TUNED: Final[_Blend] = {"weights": (0.8, 0.2), "raw": True}

VALIDATION: Final[Mapping[UniTask, tuple[Row, ...]]] = {
    "va": (
        Row(f"{MT} (logits), {LAMA}", ("mt-lama",), (0.373, 0.433, 0.403), remark="one random forest, by its time limit"),
        Row(f"{MT} (logits), MLP", ("mt-mlp",), (0.444, 0.521, 0.483)),
        Row(f"{MT} (valence and arousal only)", ("mt-pretrained",), (0.404, 0.248, 0.326)),
        Row(f"{MT} (logits), MLP + {LAMA}", ("mt-mlp", "mt-lama"), (0.447, 0.526, 0.487), (0.8, 0.2)),
        Row(f"{MT} (logits), MLP, smoothing", ("mt-mlp",), (0.490, 0.604, 0.547), smooth=True),
        Row(f"{MT} (logits), MLP + {LAMA}, smoothing", ("mt-mlp", "mt-lama"), (0.486, 0.597, 0.542), (0.8, 0.2), smooth=True),
        Row(f"{EMO} (logits), {LAMA}", ("emo-lama",), (0.369, 0.431, 0.400)),
        Row(f"{EMO} (logits), MLP", ("emo-mlp",), (0.443, 0.519, 0.482)),
        Row(f"{EMO} (logits), MLP, smoothing", ("emo-mlp",), (0.490, 0.596, 0.543), smooth=True),
        Row(f"{BOTH} (logits), MLP", ("emo-mlp", "mt-mlp"), (0.450, 0.530, 0.490), (0.5, 0.5)),
        Row(f"{BOTH} (logits), MLP, smoothing", ("emo-mlp", "mt-mlp"), (0.494, 0.607, 0.550), (0.5, 0.5), smooth=True),
    ),
    "expr": (
        Row(f"{MT} (embeddings), aligned faces", ("mt-mlp-aligned",), (0.293, 0.403)),
        Row(f"{MT} (embeddings), cropped faces", ("mt-mlp",), (0.336, 0.447)),
        Row(f"{EMO} (embeddings), aligned faces", ("emo-mlp-aligned",), (0.304, 0.474)),
        Row(f"{EMO} (embeddings), cropped faces", ("emo-mlp",), (0.384, 0.495)),
        Row(
            f"{EMO} (embeddings), smoothing", ("emo-mlp",), (0.432, 0.546), smooth=True,
            remark="the paper's number is that of embeddings + logits; honest: 0.424, 0.543",
        ),
        Row(f"{EMO} (logits)", ("emo-mlp", "emo-pretrained"), (0.327, 0.426), (0, 1), gate="other"),
        Row(f"{EMO} (fine-tuned), cropped faces", ("emo-finetuned",), (0.380, 0.484)),
        Row(f"{EMO} (embeddings + logits), frame-level", ("emo-mlp", "emo-pretrained"), (0.396, 0.502), **_LOGITS),
        Row(f"{EMO} (embeddings + logits), smoothing", ("emo-mlp", "emo-pretrained"), (0.431, 0.546), **_LOGITS, smooth=True),
        Row(f"{EMO} (pre-trained + fine-tuned), frame-level", ("emo-mlp", "emo-finetuned"), (0.405, 0.524), **_TUNED),
        Row(f"{EMO} (pre-trained + fine-tuned), smoothing", ("emo-mlp", "emo-finetuned"), (0.433, 0.557), **_TUNED, smooth=True),
        Row(f"{EMO} (embeddings), {LAMA}", ("emo-lama",), None, remark="not in the paper"),
    ),
    "au": (
        Row(f"{MT}, {LAMA}", ("mt-lama",), (0.472,)),
        Row(f"{MT}, MLP", ("mt-mlp",), (0.525,)),
        Row(f"{MT}, MLP, smoothing", ("mt-mlp",), (0.533,), smooth=True),
        Row(f"{MT}, MLP + {LAMA}", ("mt-mlp", "mt-lama"), (0.533,), (0.6, 0.4)),
        Row(f"{MT}, MLP + {LAMA}, smoothing", ("mt-mlp", "mt-lama"), (0.543,), (0.6, 0.4), smooth=True),
        Row(f"{EMO}, {LAMA}", ("emo-lama",), (0.477,)),
        Row(f"{EMO}, MLP", ("emo-mlp",), (0.537,), remark="a model of ABAW3; trained anew: 0.527"),
        Row(f"{EMO}, MLP, smoothing", ("emo-mlp",), (0.545,), smooth=True),
        Row(f"{EMO}, MLP + {LAMA}", ("emo-mlp", "emo-lama"), (0.542,), (0.6, 0.4), remark="the paper's are at 0.5"),
        Row(f"{EMO}, MLP + {LAMA}, smoothing", ("emo-mlp", "emo-lama"), (0.554,), (0.6, 0.4), smooth=True, remark="the paper's are at 0.5"),
        Row(BOTH, ("emo-mlp", "mt-mlp"), (0.544,), (0.6, 0.4)),
        Row(f"{BOTH}, smoothing", ("emo-mlp", "mt-mlp"), (0.553,), (0.6, 0.4), smooth=True),
    ),
}  # fmt: skip
"""Rows of Tables 1, 3 and 5. Those of Table 5 have thresholds that were searched on the validation labels."""

TEST: Final[Mapping[UniTask, tuple[Row, ...]]] = {
    "va": (
        Row("1_mt_mlp", ("mt-mlp",), (0.5017,), smooth=True),
        Row("2_mt_mlp_lama", ("mt-mlp", "mt-lama"), (0.4961,), (0.8, 0.2), smooth=True),
        Row("3_mt_mlp_train_val", ("mt-mlp-trainval",), (0.5048,), smooth=True),
        Row("4_emo_mlp", ("emo-mlp",), (0.4882,), smooth=True),
        Row("5_emo_mt", ("emo-mlp", "mt-mlp"), (0.5007,), (0.5, 0.5), smooth=True),
    ),
    "expr": (
        Row("1_embeddings", ("emo-mlp",), (0.3058,), smooth=True),
        Row("2_embeddings_logits", ("emo-mlp", "emo-pretrained"), (0.3171,), **_LOGITS, smooth=True),
        Row("3_finetuned", ("emo-finetuned",), (0.2862,), smooth=True, remark="smoothed, though the paper does not say so"),
        Row("4_embeddings_finetuned", ("emo-mlp", "emo-finetuned"), (0.3286,), **_TUNED, smooth=True),
        Row("5_embeddings_train_val", ("emo-mlp-trainval",), (0.3292,), smooth=True),
    ),
    "au": (
        Row("1_mt_mlp", ("mt-mlp",), (0.4786,), smooth=True),
        Row("2_emo_mlp", ("emo-mlp",), (0.4722,), smooth=True),
        Row("3_emo_mt", ("emo-mlp", "mt-mlp"), (0.4821,), (0.6, 0.4), smooth=True),
        Row("4_emo_mlp_lama", ("emo-mlp", "emo-lama"), (0.4878,), (0.6, 0.4), smooth=True, remark="thresholds 0.5"),
        Row("5_emo_mlp_train_val", ("emo-mlp-trainval",), (0.4687,), smooth=True),
    ),
}  # fmt: skip
"""Rows of Tables 2, 4 and 6, named as the published submissions are."""

CURVES: Final[Mapping[UniTask, Mapping[str, Row]]] = {
    "va": {
        EMO: Row(EMO, ("emo-mlp",), None),
        MT: Row(MT, ("mt-mlp",), None),
        "both": Row(BOTH, ("emo-mlp", "mt-mlp"), None, (0.5, 0.5)),
    },
    "expr": {
        "embeddings": Row("", ("emo-mlp",), None),
        "embeddings + logits": Row("", ("emo-mlp", "emo-pretrained"), None, **_LOGITS),
        "pre-trained + fine-tuned": Row("", ("emo-mlp", "emo-finetuned"), None, **_TUNED),
    },
    "au": {
        EMO: Row("", ("emo-mlp",), None),
        "both": Row("", ("emo-mlp", "mt-mlp"), None, (0.6, 0.4)),
        f"MLP + {LAMA}": Row("", ("emo-mlp", "emo-lama"), None, (0.6, 0.4)),
    },
}
"""The lines of Figures 2 and 3 (valence, arousal), 4 and 5."""
