"""The masked autoencoder against the reference numbers, and its encoder in other hands."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from affect.errors import WeightsError
from backbones.masks import keep_lowest
from backbones.vit import build_vit, sincos_positions
from losses.reconstruction import normalised_patches, reconstruction_loss
from mae.network import DECODER, MAE
from tests.golden import rebuild

SMALL = {"image_size": 64, "width": 48, "depth": 3, "heads": 4}
DECODER_SMALL = {"decoder_width": 32, "decoder_depth": 2, "decoder_heads": 4}


@pytest.fixture(scope="module")
def golden():
    return rebuild.numbers("mae")


@pytest.fixture(scope="module")
def reference(tmp_path_factory, golden):
    """The network of the golden numbers, through a file under the official names."""
    state = rebuild.state_dict("mae_small")
    state["pos_embed"] = torch.from_numpy(golden["sincos_pos_embed"])
    state["decoder_pos_embed"] = torch.from_numpy(golden["sincos_decoder_pos_embed"])
    path = tmp_path_factory.mktemp("mae") / "mae.pth"
    torch.save({"model": state}, path)
    return MAE(**SMALL, **DECODER_SMALL, weights=str(path)).eval()


def test_sincos_positions_golden(golden):
    for name, width in (("sincos_pos_embed", 48), ("sincos_decoder_pos_embed", 32)):
        assert rebuild.relative_error(sincos_positions(width, 4), golden[name]) < 1e-6


def test_a_new_network_has_the_fixed_positions_and_does_not_train_them():
    network = MAE(**SMALL, **DECODER_SMALL)
    torch.testing.assert_close(network.pos_embed.data, sincos_positions(48, 4))
    assert {name for name, p in network.named_parameters() if not p.requires_grad} == {"pos_embed", "decoder_pos_embed"}
    learned = MAE(**SMALL, **DECODER_SMALL, learned_positions=True)
    assert {name for name, p in learned.named_parameters() if not p.requires_grad} == {"decoder_pos_embed"}
    assert learned.pos_embed[:, 1:].std().item() == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize("normalise", [False, True])
def test_predictions_and_loss_golden(reference, golden, normalise):
    image = torch.from_numpy(rebuild.input("input/mae_small", (4, 3, 64, 64)))
    keep = keep_lowest(torch.from_numpy(golden["noise"]), 0.75)
    removed = torch.ones(4, 16).scatter(1, keep, 0.0)
    assert torch.equal(removed, torch.from_numpy(golden["mask"]))
    with torch.no_grad():
        prediction = reference(image, keep)
    assert rebuild.relative_error(prediction, golden[f"pred_normpix_{normalise}"]) < 1e-5
    loss = reconstruction_loss(prediction, reference.patch_pixels(image), keep, normalise=normalise)
    assert rebuild.relative_error(loss, golden[f"loss_normpix_{normalise}"]) < 1e-6


def test_the_order_of_kept_patches_does_not_matter(reference):
    image, keep = torch.randn(2, 3, 64, 64), torch.tensor([[0, 5, 9, 12], [1, 2, 3, 15]])
    with torch.no_grad():
        torch.testing.assert_close(reference(image, keep), reference(image, keep.flip(1)))


def test_removed_pixels_do_not_reach_the_prediction(reference):
    image, keep = torch.randn(1, 3, 64, 64), torch.tensor([[0, 1, 2, 3]])
    other = image.clone()
    other[:, :, 16:] = 7.0
    with torch.no_grad():
        torch.testing.assert_close(reference(image, keep), reference(other, keep), rtol=0, atol=0)


def test_seen_patches_do_not_count_in_the_loss():
    pixels, keep = torch.randn(2, 16, 12), torch.tensor([[3], [4]])
    prediction = pixels.clone()
    prediction[0, 3] += 100
    assert reconstruction_loss(prediction, pixels, keep, normalise=False) == 0
    prediction[0, 5] += 1
    assert reconstruction_loss(prediction, pixels, keep, normalise=False).item() == pytest.approx(1 / 30)


def test_normalised_patches_against_numpy_and_flat_ones_stay_finite():
    pixels = torch.rand(2, 3, 48)
    pixels[0, 0] = 0.5
    result = normalised_patches(pixels).numpy()
    expected = (pixels - pixels.mean(-1, keepdim=True)).numpy()
    expected = expected / np.sqrt(pixels.numpy().var(axis=-1, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(result, expected, atol=1e-5)
    assert np.isfinite(result).all()


def test_patches_are_assembled_again(reference):
    image = torch.rand(2, 3, 64, 64)
    pixels = reference.patch_pixels(image)
    torch.testing.assert_close(reference.assemble(pixels), image)
    # patch 6 is row 1, column 2; its pixels go row by row, colours last
    torch.testing.assert_close(pixels[0, 6].view(16, 16, 3), image[0, :, 16:32, 32:48].permute(1, 2, 0))


@pytest.mark.slow
def test_the_exported_encoder_of_the_paper_size_is_a_timm_vit(tmp_path):
    torch.manual_seed(0)
    network = MAE(decoder_width=32, decoder_depth=1, decoder_heads=2).eval()
    state = network.encoder_state()
    torch.save({"model": state}, tmp_path / "encoder.pth")
    plain = timm.create_model("vit_base_patch16_224", num_classes=0).eval()
    plain.load_state_dict(torch.load(tmp_path / "encoder.pth", weights_only=True)["model"])
    ours = build_vit(image_size=224, weights=str(tmp_path / "encoder.pth")).eval()
    image = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        features = plain(image)
        torch.testing.assert_close(ours(image), features, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(network.forward_features(image)[:, 0], features, rtol=1e-5, atol=1e-5)


def test_an_encoder_goes_on_with_a_new_decoder(reference, tmp_path):
    torch.save({"model": reference.encoder_state()}, tmp_path / "encoder.pth")
    again = MAE(**SMALL, decoder_width=16, decoder_depth=1, decoder_heads=2,
                weights=str(tmp_path / "encoder.pth"), weights_for="encoder")  # fmt: skip
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in reference.encoder_state().items())
    assert not [name for name in reference.encoder_state() if name.startswith(DECODER)]


def test_an_encoder_of_another_width_is_refused(reference, tmp_path):
    torch.save({"model": reference.encoder_state()}, tmp_path / "encoder.pth")
    with pytest.raises(WeightsError, match="mis-shaped") as error:
        build_vit(image_size=64, width=64, depth=3, heads=4, weights=str(tmp_path / "encoder.pth"))
    assert "encoder.pth" in str(error.value)
    with pytest.raises(WeightsError, match="missing"):
        MAE(**SMALL, **DECODER_SMALL, weights=str(tmp_path / "encoder.pth"))


def test_positions_fit_another_image_size(reference, tmp_path):
    torch.save({"model": reference.state_dict()}, tmp_path / "mae.pth")
    larger = MAE(**{**SMALL, "image_size": 96}, **DECODER_SMALL, weights=str(tmp_path / "mae.pth"))
    assert larger.pos_embed.shape == (1, 37, 48)
    assert larger.decoder_pos_embed.shape == (1, 37, 32)


@pytest.mark.parametrize("sizes", [{"width": 46, "heads": 2}, {"decoder_width": 30}, {"decoder_heads": 5}])
def test_sizes_that_do_not_divide(sizes):
    with pytest.raises(ValueError, match="multiples of 4"):
        MAE(**{**SMALL, **DECODER_SMALL, **sizes})
