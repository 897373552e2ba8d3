"""ViT-Prisma: its equations in float64, its sites, and its pickled configurations refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from steerlab.bases.formats import read_dictionary
from steerlab.errors import SteerlabError

DIM, ATOMS, OUT, ROWS = 10, 30, 8, 12
X = torch.randn(ROWS, DIM, generator=torch.Generator().manual_seed(0)) * 2 + 0.5


def state(*, gated: bool = False, transcoder: bool = False) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"W_enc": (DIM, ATOMS), "b_enc": (ATOMS,), "W_dec": (ATOMS, DIM), "b_dec": (DIM,)}
    if gated:
        shapes |= dict.fromkeys(("b_gate", "r_mag", "b_mag"), (ATOMS,))
    if transcoder:
        shapes |= {"W_dec": (ATOMS, OUT), "b_dec_out": (OUT,), "W_skip": (OUT, DIM)}
    return {name: torch.randn(*shape, generator=generator) * 0.4 for name, shape in shapes.items()}


def written(folder: Path, weights: dict, **config: object) -> Path:
    base = {"architecture": "standard", "d_in": DIM, "activation_fn_str": "relu", "model_name": "clip"}
    base |= {"normalize_activations": "layer_norm", "hook_point": "blocks.9.hook_resid_post"}
    (folder / "config.json").write_text(json.dumps(base | config))
    torch.save(weights, folder / "weights.pt")
    return folder


def reference(weights: dict, codes_of) -> tuple[np.ndarray, np.ndarray]:
    """Codes and reconstructions with each row centred and divided by its deviation, and that undone."""
    w = {name: t.double().numpy() for name, t in weights.items()}
    x = X.double().numpy()
    mean, std = x.mean(-1, keepdims=True), x.std(-1, keepdims=True, ddof=1)
    codes = codes_of(((x - mean) / (std + 1e-5) - w["b_dec"]) @ w["W_enc"], w)
    return codes, (codes @ w["W_dec"] + w["b_dec"]) * std + mean


def assert_close(sae, codes: np.ndarray, out: np.ndarray) -> None:
    np.testing.assert_allclose(sae.encode(X).numpy(), codes, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(sae.reconstruct(X).numpy(), out, atol=1e-5, rtol=1e-5)


def test_relu_on_layer_normalised_rows(tmp_path):
    weights = state()
    sae = read_dictionary(written(tmp_path, weights), None, {})
    assert_close(sae, *reference(weights, lambda along, w: np.maximum(along + w["b_enc"], 0)))
    assert str(sae.site) == "blocks.9.resid" and sae.facts.model == "clip"


def test_the_k_strongest(tmp_path):
    def strongest(along: np.ndarray, w: dict) -> np.ndarray:
        pre = np.maximum(along + w["b_enc"], 0)
        return np.where(pre >= np.sort(pre, axis=-1)[:, -5, None], pre, 0)

    weights = state()
    kind = {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}}
    assert_close(
        read_dictionary(written(tmp_path, weights, **kind), None, {}), *reference(weights, strongest)
    )


def test_gates(tmp_path):
    def gated(along: np.ndarray, w: dict) -> np.ndarray:
        return (along + w["b_gate"] > 0) * np.maximum(along * np.exp(w["r_mag"]) + w["b_mag"], 0)

    weights = state(gated=True)
    sae = read_dictionary(written(tmp_path, weights, architecture="gated", cls_token_only=True), None, {})
    assert_close(sae, *reference(weights, gated))
    assert sae.facts.assumptions == ("trained on the class token alone",)


def test_a_transcoder_has_a_bias_at_each_end_and_a_skip(tmp_path):
    weights = state(transcoder=True)
    settings = {
        "is_transcoder": True,
        "normalize_activations": "none",
        "out_hook_point": "blocks.9.hook_mlp_out",
    }
    sae = read_dictionary(written(tmp_path, weights, **settings), None, {})
    w = {name: t.double().numpy() for name, t in weights.items()}
    x = X.double().numpy()
    codes = np.maximum((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"], 0)
    assert_close(sae, codes, codes @ w["W_dec"] + w["b_dec_out"] + x @ w["W_skip"].T)
    assert (sae.facts.reads, str(sae.site)) == ("blocks.9.hook_resid_post", "blocks.9.mlp")
    with pytest.raises(SteerlabError, match="how its output is brought back"):
        read_dictionary(written(tmp_path, weights, is_transcoder=True), None, {})


def test_a_site_is_built_from_layer_and_kind(tmp_path):
    settings = {"hook_point": None, "hook_point_layer": [4], "layer_subtype": "hook_mlp_out"}
    assert str(read_dictionary(written(tmp_path, state(), **settings), None, {}).site) == "blocks.4.mlp"


def test_weights_beside_their_settings_in_one_file(tmp_path):
    weights = state()
    sae = read_dictionary(written(tmp_path, {"cfg": {"d_in": DIM}, "state_dict": weights}), None, {})
    assert_close(sae, *reference(weights, lambda along, w: np.maximum(along + w["b_enc"], 0)))


class Settings:
    """Stands for the configuration object that old files pickle."""


def test_a_pickled_configuration_is_refused(tmp_path):
    with pytest.raises(SteerlabError, match="nothing was run"):
        read_dictionary(written(tmp_path, {"cfg": Settings(), "state_dict": state()}), None, {})


def test_another_activation_is_named(tmp_path):
    with pytest.raises(SteerlabError, match=r"activation_fn_str is 'tanh-relu'.*\(known: relu, topk\)"):
        read_dictionary(written(tmp_path, state(), activation_fn_str="tanh-relu"), None, {})
