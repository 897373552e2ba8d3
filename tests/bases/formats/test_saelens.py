"""SAELens: sites, heads, what its files leave out, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from steerlab.bases.encoders import Gated, Linear
from steerlab.bases.folds import as_jumprelu, without_norm
from steerlab.bases.formats import read_dictionary
from steerlab.bases.greedy import Greedy
from steerlab.bases.rules import JumpRelu
from steerlab.errors import SteerlabError

FIXTURES = Path(__file__).parent / "fixtures" / "saelens"


def changed(case: str, tmp_path: Path, **settings: object) -> Path:
    """A copy of a fixture with other settings."""
    copy = tmp_path / case
    shutil.copytree(FIXTURES / case, copy)
    config = json.loads((copy / "cfg.json").read_text())
    (copy / "cfg.json").write_text(json.dumps(config | settings))
    return copy


def numbers(case: str) -> dict[str, torch.Tensor]:
    return load_file(FIXTURES / f"{case}.expected.safetensors")


def read(path: Path, **options: object):
    return read_dictionary(path, None, options)


def test_sites_are_kept_as_they_are_written_and_parse():
    sae = read(FIXTURES / "standard")
    assert sae.facts.site == "blocks.3.hook_resid_post" and str(sae.site) == "blocks.3.resid"
    assert sae.facts.model == "tiny" and sae.facts.source == "saelens"
    assert str(read(FIXTURES / "flat_topk").site) == "blocks.2.mlp"
    assert str(read(FIXTURES / "hook_z").site) == "blocks.3.heads"
    transcoder = read(FIXTURES / "transcoder")
    assert transcoder.facts.reads == "blocks.3.hook_mlp_in" and str(transcoder.site) == "blocks.3.mlp"
    assert transcoder.is_transcoder and (transcoder.reads, transcoder.dim) == (16, 12)


def test_a_dictionary_of_one_head_says_which(tmp_path):
    told = {"metadata": {"hook_name": "blocks.3.attn.hook_z", "hook_head_index": 2}}
    assert str(read(changed("standard", tmp_path, **told)).site) == "blocks.3.heads.2"


def test_the_weights_file_itself_will_do_where_its_configuration_is_beside_it():
    alone = read(FIXTURES / "jumprelu" / "sae_weights.safetensors")
    assert torch.equal(alone.decoder, read(FIXTURES / "jumprelu").decoder)


def test_batch_top_k_is_a_threshold_and_a_pursuit_a_search():
    assert isinstance(read(FIXTURES / "batchtopk").encoder.rule, JumpRelu)
    pursuit = read(FIXTURES / "matching_pursuit").encoder
    assert isinstance(pursuit, Greedy) and pursuit.until_repeat and pursuit.steps == 6


def test_a_factor_that_no_file_holds_must_be_given():
    with pytest.raises(SteerlabError, match="give scaling_factor="):
        read(FIXTURES / "average")
    with pytest.raises(SteerlabError, match="scaling_factor is -1"):
        read(FIXTURES / "average", scaling_factor=-1)


def test_folding_the_factor_equals_the_packages_fold():
    expected = numbers("average")
    folded = without_norm(read(FIXTURES / "average", scaling_factor=0.37))
    torch.testing.assert_close(folded.encode(expected["x"]), expected["codes"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(folded.decode(expected["codes"]), expected["out"], atol=1e-5, rtol=1e-5)


def test_folding_the_whitening_equals_the_packages_fold():
    expected = numbers("whitened")
    folded = without_norm(read(FIXTURES / "whitened"))
    torch.testing.assert_close(folded.encode(expected["x"]), expected["codes"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(folded.reconstruct(expected["x"]), expected["out"], atol=1e-4, rtol=1e-4)


def test_a_factor_before_the_whitening_is_applied_and_undone():
    expected = numbers("whitened")
    scaled = read(FIXTURES / "whitened", scaling_factor=2.0)
    torch.testing.assert_close(scaled.encode(expected["x"] / 2), expected["codes"], atol=1e-4, rtol=1e-4)
    out = scaled.decode(expected["codes"])
    torch.testing.assert_close(out, expected["out"] / 2, atol=1e-4, rtol=1e-4)


def test_a_whitening_without_its_matrix_is_refused(tmp_path):
    copy = changed("standard", tmp_path, normalize_activations="covariance_whitening")
    with pytest.raises(SteerlabError, match=r"there is no activation_whitening\.safetensors"):
        read(copy)


def test_gated_as_jumprelu_gives_the_packages_codes():
    gated = read(FIXTURES / "gated")
    assert isinstance(gated.encoder, Gated)
    expected = numbers("gated")
    plain = as_jumprelu(gated)
    assert isinstance(plain.encoder, Linear)
    torch.testing.assert_close(plain.encode(expected["x"]), expected["codes"], atol=1e-5, rtol=1e-5)


def test_a_legacy_scaling_factor_multiplies_codes_on_their_way_out(tmp_path):
    copy = changed("flat_relu", tmp_path, finetuning_scaling_factor=True)
    held = load_file(copy / "sae_weights.safetensors")
    factor = torch.rand(48) + 0.5
    save_file(held | {"scaling_factor": factor}, copy / "sae_weights.safetensors")
    expected = numbers("flat_relu")
    codes, bias = expected["codes"], held["b_dec"]
    torch.testing.assert_close(read(copy).encode(expected["x"]), codes, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        read(copy).decode(codes), (codes * factor) @ held["W_dec"] + bias, atol=1e-4, rtol=1e-4
    )
    shutil.copy(FIXTURES / "flat_relu" / "cfg.json", copy / "cfg.json")
    with pytest.raises(SteerlabError, match="does not speak of"):
        read(copy)


@pytest.mark.parametrize(
    ("case", "settings", "message"),
    [
        ("standard", {"architecture": "jumpreli"}, "did you mean 'jumprelu'"),
        ("standard", {"architecture": "temporal"}, "no encoder of single activations"),
        ("standard", {"normalize_activations": "rms"}, "normalize_activations is 'rms'"),
        ("transcoder", {"normalize_activations": "layer_norm"}, "what a transcoder does at its output"),
        ("topk", {"k": 0}, "k is 0, expected a positive whole number"),
        ("topk", {"d_sae": 40}, r"W_dec has shape \[48, 16\], expected \[40, 16\]"),
        ("matching_pursuit", {"max_iterations": "many"}, "max_iterations is 'many'"),
        ("flat_topk", {"activation_fn_str": "tanh-relu"}, "activation 'tanh-relu' is not known"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(case, settings, message, tmp_path):
    with pytest.raises(SteerlabError, match=message):
        read(changed(case, tmp_path, **settings))


def test_a_temporal_checkpoint_is_recognised_and_refused(tmp_path):
    (tmp_path / "conf.yaml").write_text("sae: temporal\n")
    save_file({"D": torch.ones(2, 2)}, tmp_path / "latest_ckpt.safetensors")
    with pytest.raises(
        SteerlabError, match="predicts each token's codes from all tokens before it.*load_temporal"
    ):
        read(tmp_path)
