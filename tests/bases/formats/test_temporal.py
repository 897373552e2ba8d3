"""Published temporal featurizers: both layouts, and codes beside torch's own attention."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from planted import generator, randn
from planted_sequences import untrained
from safetensors.torch import save_file

from steerlab.bases.formats import load_temporal
from steerlab.errors import SteerlabError

DIM, ATOMS, HEADS, K, SCALE = 6, 12, 4, 3, 0.25
THEIRS = {"query": "q_target", "key": "k_ctx", "value": "v_ctx", "output": "c_proj"}
PAPER = {
    "n_heads": HEADS,
    "n_attn_layers": 1,
    "sae_diff_type": "topk",
    "kval_topk": K,
    "scaling_factor": SCALE,
}


def tensors(names: tuple[str, str] = ("D", "b"), queries: int = ATOMS) -> dict[str, torch.Tensor]:
    """Random weights, no two of a shape alike, under the published names."""
    g = generator(8)
    shapes = {"query": queries, "key": queries, "value": ATOMS, "output": ATOMS}
    found = {names[0]: randn(ATOMS, DIM, g=g).float(), names[1]: randn(1, DIM, g=g).float()}
    for own, rows in shapes.items():
        found[f"attn_layers.0.{THEIRS[own]}.weight"] = 0.3 * randn(rows, ATOMS, g=g).float()
        found[f"attn_layers.0.{THEIRS[own]}.bias"] = randn(rows, g=g).float()
    return found


def written(folder: Path, held: dict[str, torch.Tensor] | None = None, **settings: object) -> Path:
    """The layout of the paper."""
    content = {"llm": {"dimin": DIM}, "sae": PAPER | settings}
    (folder / "conf.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    save_file(tensors() if held is None else held, folder / "latest_ckpt.safetensors")
    return folder


def by_torch(x: torch.Tensor, held: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Both codes ``[batch, token, atom]`` as arXiv 2511.01836 writes them, with torch's attention layer."""
    layer = torch.nn.MultiheadAttention(ATOMS, HEADS, batch_first=True, dtype=x.dtype)
    given = {name: value.to(x) for name, value in held.items()}
    order = [THEIRS[own] for own in ("query", "key", "value")]
    layer.load_state_dict(
        {
            "in_proj_weight": torch.cat([given[f"attn_layers.0.{name}.weight"] for name in order]),
            "in_proj_bias": torch.cat([given[f"attn_layers.0.{name}.bias"] for name in order]),
            "out_proj.weight": given["attn_layers.0.c_proj.weight"],
            "out_proj.bias": given["attn_layers.0.c_proj.bias"],
        }
    )
    y, d = x * SCALE - given["b"], given["D"]
    codes = (y @ d.T / (4 * DIM)).relu()
    past = codes.roll(1, 1)
    past[:, 0] = 0
    later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    p = layer(codes, past, past, attn_mask=later, need_weights=False)[0].detach().relu()
    share = (p @ d * y).sum(-1) / ((p @ d).norm(dim=-1) + 1e-6).square()
    rest = ((y - share[..., None] * (p @ d)) @ d.T / (4 * DIM)).relu()
    least = rest.topk(K, dim=-1).values[..., -1:]
    return share[..., None] * p, rest * (rest >= least)


def test_codes_of_the_papers_layout_are_those_of_torchs_own_attention(tmp_path):
    found = load_temporal(written(tmp_path), skip=0)
    assert (found.heads, found.k, found.scale, found.gain) == (HEADS, K, SCALE, 1 / (4 * DIM))
    x = randn(2, 7, DIM, g=generator(4)) + 1
    for own, theirs in zip(found.encode(x), by_torch(x, tensors()), strict=True):
        torch.testing.assert_close(own, theirs, atol=1e-6, rtol=1e-6)
        assert float(theirs.abs().max()) > 1e-3


def test_a_torch_file_of_the_training_and_saelens_own_layout_give_the_same(tmp_path):
    (tmp_path / "old").mkdir()
    old = written(tmp_path / "old")
    (old / "latest_ckpt.safetensors").unlink()
    torch.save({"sae": tensors(), "step": 3}, old / "latest_ckpt.pt")
    cfg = {name: value for name, value in PAPER.items() if name != "scaling_factor"} | {
        "architecture": "temporal",
        "normalize_activations": "constant_scalar_rescale",
        "activation_normalization_factor": SCALE,
        "metadata": {"hook_name": "blocks.3.hook_resid_post"},
    }
    (tmp_path / "cfg.json").write_text(json.dumps(cfg), encoding="utf-8")
    held = tensors(("W_dec", "b_dec"))
    held["b_dec"] = held["b_dec"].flatten()
    save_file(held | {"W_enc": held["W_dec"].T.contiguous()}, tmp_path / "sae_weights.safetensors")
    lens, paper = load_temporal(tmp_path), load_temporal(old)
    assert str(lens.site) == "blocks.3.resid" and paper.site is None
    x = randn(1, 5, DIM, g=generator(6))
    for one, other in zip(lens.encode(x), paper.encode(x), strict=True):
        assert torch.equal(one, other) and not bool(one[:, 0].any())


def test_what_was_loaded_can_be_saved_and_keeps_fewer_queries_than_atoms(tmp_path):
    made = load_temporal(written(tmp_path, tensors(queries=4), sae_diff_type="relu"), skip=0)
    assert made.k is None and made.weights["query"].shape == (4, ATOMS)
    again = type(made).load(made.save(tmp_path / "mine.safetensors"))
    x = randn(1, 5, DIM, g=generator(6))
    assert torch.equal(again.encode(x)[1], made.encode(x)[1])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_attn_layers": 2}, "n_attn_layers is 2"),
        (
            {"sae_diff_type": "batchtopk"},
            "sae_diff_type is 'batchtopk', did you mean 'topk'|known: topk, relu",
        ),
        ({"scaling_factor": None}, "give scale="),
        ({"kval_topk": 0}, "kval_topk is 0"),
    ],
)
def test_settings_that_cannot_be_kept_are_refused(settings, said, tmp_path):
    with pytest.raises(SteerlabError, match=said):
        load_temporal(written(tmp_path, **settings))


def test_other_files_are_refused_by_name(tmp_path):
    with pytest.raises(SteerlabError, match="holds neither conf.yaml"):
        load_temporal(tmp_path)
    untrained().save(tmp_path / "mine.safetensors")
    with pytest.raises(SteerlabError, match="TemporalFeaturizer.load"):
        load_temporal(tmp_path)
    with pytest.raises(SteerlabError, match="E is not the transpose of D"):
        load_temporal(written(tmp_path, tensors() | {"E": torch.ones(DIM, ATOMS)}))
    (tmp_path / "conf.yaml").write_text("!!python/object/apply:os.getcwd []", encoding="utf-8")
    with pytest.raises(SteerlabError, match="conf.yaml is not YAML"):
        load_temporal(tmp_path)
