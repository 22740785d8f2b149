"""Write a network as an ONNX file, and run that beside its source before it is called done."""

from __future__ import annotations

import copy
import io
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affect.errors import UserError
from runs.exported import LARGEST, OPSET
from runs.portable import Portable

TOLERANCE: Final = 1e-4
"""How far an output may be from that of the source: probabilities, and valence and arousal."""


class Attention(nn.Module):
    """What torch's attention computes, in steps whose sizes follow those of the input: torch's would fix them."""

    batch_first = True

    def __init__(self, source: nn.MultiheadAttention) -> None:
        super().__init__()
        self.source = source

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, None]:
        """Return (B, T, H) of queries, keys and values (B, T, H); (B, T) is true or -inf where a key is left out."""
        source, heads = self.source, self.source.num_heads
        weights, biases = source.in_proj_weight.chunk(3), source.in_proj_bias.chunk(3)
        parts = (F.linear(*one) for one in zip((query, key, value), weights, biases, strict=True))
        queries, keys, values = (one.view(one.shape[0], one.shape[1], heads, -1).transpose(1, 2) for one in parts)
        scores = queries @ keys.transpose(2, 3) / math.sqrt(source.head_dim)
        if key_padding_mask is not None:
            added = key_padding_mask
            if added.dtype == torch.bool:
                added = torch.zeros_like(added, dtype=scores.dtype).masked_fill(added, -math.inf)
            scores = scores + added[:, None, None]
        seen = (scores.softmax(dim=3) @ values).transpose(1, 2).flatten(2)
        return source.out_proj(seen), None


def _traceable(module: nn.Module) -> nn.Module:
    """Return a copy of a network in which torch's attention is replaced."""
    copied = copy.deepcopy(module)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MultiheadAttention):
                setattr(parent, name, Attention(child))
    return copied


@contextmanager
def _plainly() -> Iterator[None]:
    """Have torch compute layer by layer: its fused encoder layers cannot be written as ONNX."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def to_onnx(network: Portable, metadata: Mapping[str, str]) -> bytes:
    """Return a network as an ONNX file, which was run beside its source and says the same.

    torch's tracing exporter is used and not its younger one: it writes GRUs over windows with padding, needs no further
    package, and is faster; what it writes is checked with other sizes than those that it traced.

    Args:
        network: the network.
        metadata: of the file, by name.

    Raises:
        UserError: the network is too large for one file, it cannot be written as ONNX, or what was written says
            something else.
    """
    import onnx

    size = sum(one.numel() * one.element_size() for one in network.module.state_dict().values())
    if size > LARGEST:
        raise UserError(f"to=onnx: the weights have {size / 2**30:.1f} GiB, and a file takes 2: give to=safetensors")
    file = io.BytesIO()
    with _plainly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the exporter is the older one, and that it traces
        try:
            torch.onnx.export(
                _traceable(network.module),
                network.examples(2, 0),
                cast("Any", file),  # which it takes, whatever its signature says
                dynamo=False,
                opset_version=OPSET,
                input_names=list(network.inputs),
                output_names=list(network.outputs),
                dynamic_axes=dict(network.axes),
            )
        except (RuntimeError, ValueError, TypeError) as error:  # torch's for an operator that ONNX does not have
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"to=onnx: this network cannot be written as ONNX: {reason}") from error
    model = onnx.load_model_from_string(file.getvalue())
    onnx.helper.set_model_props(model, dict(metadata))
    made: bytes = model.SerializeToString()
    check(made, network)
    return made


def check(made: bytes, network: Portable) -> float:
    """Run an ONNX file and its source on the same made-up inputs: batches of one and of three.

    Returns:
        The largest difference of any output.

    Raises:
        UserError: one is larger than ``TOLERANCE``, or the file cannot be run.
    """
    import onnxruntime

    worst = 0.0
    try:
        session = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
        for batch in (1, 3):
            given = network.examples(batch, batch)
            with _plainly():
                expected = [one.numpy() for one in network.module(*given)]
            said = session.run(
                list(network.outputs), {k: v.numpy() for k, v in zip(network.inputs, given, strict=True)}
            )
            for name, one, other in zip(network.outputs, said, expected, strict=True):
                far = float(np.abs(one - other).max()) if one.shape == other.shape else np.inf
                if not far <= TOLERANCE:
                    raise UserError(
                        f"to=onnx: {name} of the exported network is {far:.2g} from that of its source (at most "
                        f"{TOLERANCE}), with a batch of {batch}: nothing was written. Please report it"
                    )
                worst = max(worst, far)
    except UserError:
        raise
    except Exception as error:  # onnxruntime's errors have no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"to=onnx: the exported network cannot be run, and nothing was written: {reason}") from error
    return worst
