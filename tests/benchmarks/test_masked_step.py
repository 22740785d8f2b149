"""The benchmark of the masked step: that both ways take real steps and are reported alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from backbones.masks import keep_lowest
from benchmarks import masked_step
from benchmarks.masked_step import draw, take_plain_steps
from benchmarks.reference.mae_step import PlainMAE
from benchmarks.reference.masked_step import PlainView
from benchmarks.training_step import Step, configure, measure, summary, take_steps
from losses.reconstruction import reconstruction_loss
from mae.network import MAE
from tests.benchmarks.test_training_step import Wire


def small_vit(*_: object, **options: object) -> torch.nn.Module:
    return timm.models.VisionTransformer(img_size=224, embed_dim=24, depth=1, num_heads=2, **options)


def test_ours_is_the_step_of_the_experiment() -> None:
    overrides = ["scale=tiny", "model.network.width=32", "model.network.depth=1", "model.mask_ratio=0.95"]
    wire = Wire()
    module = take_steps(configure("32-true", 4, 1, overrides, experiment="cotex"), 2, 1, wire)
    assert module.trainer.global_step == len(wire.steps) == 2
    assert module.mask_ratio == 0.95
    for method in masked_step.METHODS:
        paper = masked_step.ours(method, 0.95, 8)
        assert paper["model"]["network"]["width"] == 768
        assert paper["data"]["batch_size"] == 8


@pytest.mark.slow
def test_the_plain_way_learns_from_the_kept_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", small_vit)
    seen: list[int] = []
    view = PlainView()
    view.vit.blocks.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    view(torch.zeros(2, 3, 224, 224), 0.95)
    assert seen == [1 + 9]
    wire = Wire()
    for method in masked_step.METHODS:
        take_plain_steps({"method": method, "ratio": 0.95, "batch": 2}, 2, 1, wire)
    assert len(wire.steps) == 4
    assert all(step.seconds > 0 and step.peak_memory > 0 for step in wire.steps)


@pytest.mark.slow
def test_the_plain_autoencoder_has_the_loss_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights, image and mask in both: what is compared is the same work."""
    torch.manual_seed(0)
    plain = PlainMAE().eval()
    network = MAE(depth=1).eval()
    plain.vit.blocks = plain.vit.blocks[:1]
    state = {name: value for name, value in plain.vit.state_dict().items() if name in network.state_dict()}
    for name, value in plain.state_dict().items():
        for own, ours in (("embed.", "decoder_embed."), ("blocks.", "decoder_blocks."), ("norm.", "decoder_norm."),
                          ("predict.", "decoder_pred.")):  # fmt: skip
            if name.startswith(own):
                state[ours + name.removeprefix(own)] = value
    state |= {"mask_token": plain.mask_token, "decoder_pos_embed": plain.positions}
    network.load_state_dict(state)
    image, noise = torch.randn(2, 3, 224, 224), torch.rand(2, 196)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: noise)
    keep = keep_lowest(noise, 0.75)
    with torch.no_grad():
        ours = reconstruction_loss(network(image, keep), network.patch_pixels(image), keep)
        torch.testing.assert_close(plain(image, 0.75), ours, rtol=1e-4, atol=1e-5)


def test_summary_and_picture(tmp_path: Path) -> None:
    figures = summary([Step(2.0, 1.9, 2**30), Step(1.0, 1.8, 2**30), Step(4.0, 2.0, 2**31)], 8)
    assert figures == {
        "images_per_second": 4.0, "lowest": 2.0, "highest": 8.0, "busy_cores": 1.9, "peak_memory_gib": 2.0,
    }  # fmt: skip
    draw({"0.0": figures, "0.95": figures}, 8, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5_000


def test_targets_of_their_own() -> None:
    with pytest.raises(RuntimeError, match="the plain process ended at step 0"):
        measure({"plain": {}}, 1, 1, {"plain": print})
