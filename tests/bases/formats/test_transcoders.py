"""Transcoders, crosscoders and cross-layer transcoders, and dictionaries of distances and of blocks."""

from __future__ import annotations

import json

import numpy as np
import published_others as others
import published_text as text
import pytest
import torch
from published import Draw, write_safetensors
from safetensors.torch import load_file, save_file

import steerlab as sl

X = torch.tensor(np.random.default_rng(1).standard_normal((40, 16)).astype(np.float32))


def test_transcoders_say_what_they_read_by_their_kind(tmp_path):
    plain = sl.load_dictionary(text.transcoders(tmp_path / "a", Draw(16, 64)).path)
    assert plain.facts.reads == "module:model.layers.3.mlp:input" and plain.facts.site == "blocks.3.mlp"
    assert plain.is_transcoder and plain.skip is None
    skips = sl.load_dictionary(text.transcoders(tmp_path / "b", Draw(16, 64), skips=True).path)
    assert skips.facts.reads == "blocks.3.resid_mid" and "as published sets" in skips.facts.assumptions[0]
    said = sl.load_dictionary(tmp_path / "a" / "layer_3.safetensors", reads="blocks.3.hook_resid_mid")
    assert said.facts.reads == "blocks.3.resid_mid" and said.facts.assumptions == ()
    with pytest.raises(sl.SteerlabError, match="reads='nowhere' is not a site"):
        sl.load_dictionary(tmp_path / "a" / "layer_3.safetensors", reads="nowhere")


def test_which_way_a_square_decoder_lies_can_be_said(tmp_path):
    made = text.transcoders(tmp_path, Draw(16, 16))
    sae = sl.load_dictionary(made.path)
    turned = sl.load_dictionary(made.path, decoder="dim first")
    assert torch.equal(turned.decoder, sae.decoder.T)
    wide = text.transcoders(tmp_path / "wide", Draw(16, 64))
    with pytest.raises(sl.SteerlabError, match=r"W_dec has shape \[64, 16\]"):
        sl.load_dictionary(wide.path, decoder="dim first")
    tensors = load_file(wide.path)
    save_file(tensors | {"W_dec": torch.ones(5, 16)}, wide.path)
    with pytest.raises(sl.SteerlabError, match=r"W_dec has shape \[5, 16\]; with 64 atoms"):
        sl.load_dictionary(wide.path)


def test_a_name_without_a_block_needs_to_be_told_what_is_read(tmp_path):
    file = text.transcoders(tmp_path, Draw(16, 64)).path.rename(tmp_path / "weights.safetensors")
    with pytest.raises(sl.SteerlabError, match="give reads="):
        sl.load_dictionary(file)
    assert sl.load_dictionary(file, reads="blocks.2.resid_mid", site="blocks.2.mlp").is_transcoder


def test_cross_layer_transcoders_are_refused_with_the_reason(tmp_path):
    write_safetensors(tmp_path / "W_enc_0.safetensors", {"W_enc_0": np.ones((64, 16), np.float32)})
    write_safetensors(tmp_path / "W_dec_0.safetensors", {"W_dec_0": np.ones((64, 3, 16), np.float32)})
    with pytest.raises(sl.SteerlabError, match="writes into every later block"):
        sl.load_dictionary(tmp_path)


def test_a_member_of_a_crosscoder_writes_one_model_and_reads_both(tmp_path):
    made = others.crosscoder(tmp_path, Draw(16, 64))
    both = sl.load_dictionary(made.path, scales=[0.5, 2.0])
    halves = [sl.load_dictionary(made.path, scales=[0.5, 2.0], member=m) for m in (0, 1)]
    codes = both.encode(X)
    for m, half in enumerate(halves):
        assert torch.equal(half.encode(X), codes) and half.is_transcoder and half.dim == 8
        torch.testing.assert_close(half.decode(codes), both.decode(codes)[:, 8 * m : 8 * m + 8])
        assert str(half.site) == "blocks.14.resid_pre"
    # one more of code 5 moves each model along its own decoder, its scale undone
    more = codes.clone()
    more[:, 5] += 1
    stored = torch.load(made.weights, weights_only=True)["W_dec"][5]
    moved = (both.decode(more) - both.decode(codes))[0]
    torch.testing.assert_close(moved, torch.cat([stored[0] / 0.5, stored[1] / 2.0]), atol=1e-5, rtol=1e-4)
    unscaled = sl.load_dictionary(made.path)
    assert "give scales=" in unscaled.facts.assumptions[0] and unscaled.site is None
    for options, reason in [
        ({"member": 2}, "members 0 to 1"),
        ({"scales": [1.0]}, "2 positive numbers"),
        ({"scales": [1.0, -1.0]}, "2 positive numbers"),
    ]:
        with pytest.raises(sl.SteerlabError, match=reason):
            sl.load_dictionary(made.path, **options)


def test_spade_edits_stay_on_the_simplex_unless_told(tmp_path):
    made = others.spade(tmp_path, Draw(16, 64))
    sae = sl.load_dictionary(made.path)
    codes = sae.encode(X)
    torch.testing.assert_close(codes.sum(1), torch.ones(40))
    assert not sl.load_dictionary(made.path, renormalise=False).encoder.renormalise
    with pytest.raises(sl.SteerlabError, match="renormalise='no'"):
        sl.load_dictionary(made.path, renormalise="no")
    state = torch.load(made.path, weights_only=True)
    torch.save(state | {"bd": torch.ones(16)}, made.path)
    assert sl.load_dictionary(made.path).facts.assumptions == (
        "bd is stored but takes no part in the published forward",
    )
    torch.save(state | {"lambda_pre": torch.ones(2)}, made.path)
    with pytest.raises(sl.SteerlabError, match="lambda_pre holds 2 numbers"):
        sl.load_dictionary(made.path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"block_size": 5}, "64 atoms do not hold 2 blocks of 5"),
        ({"active_blocks": 17}, "do not hold 17 blocks"),
        ({"site": "nowhere"}, "'nowhere' is not a site"),
    ],
)
def test_blocks_have_to_fit(change, reason, tmp_path):
    made = others.blocks(tmp_path, Draw(16, 64))
    assert str(sl.load_dictionary(made.path).site) == "blocks.5.resid"
    config = json.loads((made.path / "blocks.json").read_text())
    (made.path / "blocks.json").write_text(json.dumps(config | change))
    with pytest.raises(sl.SteerlabError, match=reason):
        sl.load_dictionary(made.path)
