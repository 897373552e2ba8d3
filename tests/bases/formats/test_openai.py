"""OpenAI's, Goodfire's and Qwen's single files: what their names say, and what a user has to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import published_text as text
import pytest
import torch
from published import Draw

import steerlab as sl
from steerlab.bases.norms import LayerNorm, Same

X = torch.tensor(np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32))


def moved(file: Path, *names: str) -> Path:
    """The same file under another name."""
    place = file.parent.joinpath(*names)
    place.parent.mkdir(parents=True, exist_ok=True)
    return file.rename(place)


@pytest.mark.parametrize(
    ("location", "site"),
    [
        ("mlp_post_act", "blocks.8.mlp.act"),
        ("resid_delta_attn_v5_128k", "blocks.8.attn"),
        ("resid_delta_mlp_v4", "blocks.8.mlp"),
        ("resid_post_attn_v5_32k", "blocks.8.resid_mid"),
        ("resid_post_mlp_v5_32k", "blocks.8.resid"),
        ("elsewhere", None),
    ],
)
def test_folders_of_openai_name_the_site(location, site, tmp_path):
    file = moved(text.openai(tmp_path, Draw(16, 64)).path, location, "autoencoders", "8.pt")
    folder = tmp_path / location / "autoencoders"
    folder.mkdir(parents=True)
    facts = sl.load_dictionary(file.rename(folder / "8.pt")).facts
    assert facts.site == site and facts.l0 == 7.0


def test_rows_are_normalised_for_top_k_alone(tmp_path):
    assert isinstance(sl.load_dictionary(text.openai(tmp_path / "a", Draw(16, 64)).path).norm, LayerNorm)
    assert isinstance(sl.load_dictionary(text.openai(tmp_path / "b", Draw(16, 64), "ReLU").path).norm, Same)


def test_an_edit_of_a_normalised_dictionary_is_undone_with_the_deviation_of_its_row(tmp_path):
    sae = sl.load_dictionary(text.openai(tmp_path, Draw(16, 64)).path)
    codes = sae.encode(X)
    atom = int((codes != 0).sum(0).argmax())
    got = sl.Zero(sae.only(atom))(X)
    step = codes[:, atom, None] * sae.decoder[atom] * X.std(1, keepdim=True)
    torch.testing.assert_close(got, X - step, atol=1e-5, rtol=1e-5)
    assert bool(step.any())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"activation": "Softplus"}, "activation is 'Softplus'"),
        ({"activation_state_dict": {"k": 0}}, "k is 0"),
        ({"activation_state_dict": {"k": 3, "postact_fn": "Tanh"}}, "postact_fn is 'Tanh'"),
    ],
)
def test_activations_that_are_not_known_are_refused(change, reason, tmp_path):
    made = text.openai(tmp_path, Draw(16, 64))
    torch.save(torch.load(made.path, weights_only=True) | change, made.path)
    with pytest.raises(sl.SteerlabError, match=reason):
        sl.load_dictionary(made.path)


def test_goodfires_tied_dictionary_needs_a_number_or_a_threshold(tmp_path):
    file = text.goodfire_r1(tmp_path, Draw(16, 64)).path
    with pytest.raises(sl.SteerlabError, match=r"give k=128 \(math\), k=64 \(logic\), or threshold="):
        sl.load_dictionary(file)
    with pytest.raises(sl.SteerlabError, match="k or threshold, not both"):
        sl.load_dictionary(file, k=3, threshold=1.0)
    above = sl.load_dictionary(file, threshold=1.0)
    codes = above.encode(X)
    assert float(codes[codes != 0].min()) > 1 and above.facts.site == "blocks.37.resid"
    torch.testing.assert_close(above.decoder, above.encoder.weight.T)
    for folder, k in {"math": 128, "logic": 64}.items():
        file = moved(file, folder, file.name) if folder == "math" else moved(file, "..", folder, file.name)
        sae = sl.load_dictionary(file)
        assert sae.encoder.rule.k == k and "a token of a batch" in sae.facts.assumptions[0]


def test_goodfires_llama_dictionary_says_block_and_model(tmp_path):
    facts = sl.load_dictionary(text.goodfire_llama(tmp_path, Draw(16, 64)).path).facts
    assert (facts.site, facts.model, facts.l0) == (
        "blocks.19.resid",
        "meta-llama/Llama-3.1-8B-Instruct",
        91.0,
    )


def test_qwens_folder_says_how_many_codes_there_are(tmp_path):
    made = text.qwen_scope(tmp_path, Draw(16, 64))
    facts = sl.load_dictionary(made.path).facts
    assert (facts.site, facts.l0, facts.model) == ("blocks.4.resid", 5.0, "Qwen/Qwen3-1.7B-Base")
    plain = tmp_path / "layer4.sae.pt"
    made.path.rename(plain)
    with pytest.raises(sl.SteerlabError, match="does not say how many codes"):
        sl.load_dictionary(plain)
    assert sl.load_dictionary(plain, k=9).encoder.rule.k == 9
    torch.save(torch.load(plain, weights_only=True), tmp_path / "layer5.sae.pt")
    with pytest.raises(sl.SteerlabError, match="name one of the files"):
        sl.load_dictionary(tmp_path, format="qwen-scope")
