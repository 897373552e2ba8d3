"""Overcomplete: what a state dict leaves out is asked for or noted, and what is no code rule is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from steerlab.bases.formats import own, read_dictionary
from steerlab.bases.layered import Layered
from steerlab.errors import SteerlabError

FIXTURES = Path(__file__).parent / "fixtures" / "overcomplete"
X = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))


def read(case: str | Path, **options: object):
    return read_dictionary(FIXTURES / case, None, options)


def saved(tmp_path: Path, case: str, **changes: torch.Tensor) -> Path:
    state = torch.load(FIXTURES / case) | changes
    torch.save(state, tmp_path / "sae.pt")
    return tmp_path / "sae.pt"


def test_what_the_file_does_not_say_is_noted_where_a_default_was_taken():
    notes = read("mp.pt").facts.assumptions
    assert [note.split("=")[0] for note in notes] == ["normalization", "method", "k"]
    assert read("mp.pt", method="mp", k=6, normalization="l2").facts.assumptions == ()
    assert read("mp.pt", k=6).facts.l0 == 6.0


def test_which_rule_made_codes_sparse_is_asked_for():
    with pytest.raises(SteerlabError, match="does not say how its codes become sparse: give method="):
        read("topk.safetensors")
    with pytest.raises(SteerlabError, match="the running threshold of a BatchTopKSAE is not in its state"):
        read("batchtopk.pt", method="batchtopk")
    with pytest.raises(SteerlabError, match="did you mean 'topk'"):
        read("topk.safetensors", method="topkk")
    with pytest.raises(SteerlabError, match="k is 2.5, expected a positive whole number"):
        read("topk.safetensors", k=2.5)
    assert read("topk.safetensors", method="topk").encoder.rule.k == 4  # a tenth of 48, as its constructor


def test_rows_that_no_default_leaves_need_a_normalisation():
    with pytest.raises(SteerlabError, match="give normalization='l2', 'max_l2'"):
        read("mp_identity.pt", k=4)
    assert float(read("mp_identity.pt", k=4, normalization="l2").decoder.norm(dim=1).min()) > 0.999


def test_releases_without_a_multiplier_normalised_rows_on_their_way_out(tmp_path):
    state = torch.load(FIXTURES / "relu.pt")
    rows = state["dictionary._weights"] * torch.rand(48, 1) * 5
    old = {name: t for name, t in state.items() if name != "dictionary.multiplier"}
    torch.save(old | {"dictionary._weights": rows}, tmp_path / "old.pt")
    torch.testing.assert_close(
        read(tmp_path / "old.pt", method="relu").decoder, read("relu.pt", method="relu").decoder
    )


def test_a_checkpoint_of_training_holds_the_state_dict_inside(tmp_path):
    inner = torch.load(FIXTURES / "mp.pt")
    torch.save({"epoch": 3, "model_state_dict": inner}, tmp_path / "checkpoint.pth")
    sae = read(tmp_path / "checkpoint.pth", k=6)
    assert torch.equal(sae.encode(X), read("mp.pt", k=6).encode(X))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("Q", "a quantised autoencoder"),
        ("encoder.attention_blocks.0.norm1.weight", "mixes tokens"),
        ("encoder.resnet_blocks.0.conv1.weight", "mixes tokens"),
    ],
)
def test_encoders_that_are_none_of_ours_are_refused(key, message, tmp_path):
    with pytest.raises(SteerlabError, match=message):
        read(saved(tmp_path, "relu.pt", **{key: torch.ones(4)}), method="relu")


def test_orthogonal_pursuit_is_refused_with_what_to_do_instead():
    with pytest.raises(SteerlabError, match="sae.inferring"):
        read("mp.pt", method="omp")


def test_an_encoder_of_another_size_is_named(tmp_path):
    other = {"encoder.final_block.0.weight": torch.ones(40, 16), "encoder.final_block.0.bias": torch.ones(40)}
    with pytest.raises(SteerlabError, match="the encoder gives 40 codes, not 48"):
        read(saved(tmp_path, "relu.pt", **other), method="relu")


@pytest.mark.parametrize("case", ["batch_norm_3.pt", "layer_norm_3.safetensors", "mp.pt"])
def test_small_networks_and_searches_survive_our_own_file(case, tmp_path):
    sae = read(case, k=6)
    assert case == "mp.pt" or isinstance(sae.encoder, Layered)
    sae.save(tmp_path / "own.safetensors")
    again = read_dictionary(tmp_path / "own.safetensors", None, {})
    assert torch.equal(again.encode(X), sae.encode(X)) and again.facts == sae.facts
    assert own.VERSION == 1


def test_a_wider_delta_leaves_atoms_where_they_are():
    stored, wider = (read("archetypal.pt", k=6, delta=delta).decoder for delta in (0.8, 5.0))
    torch.testing.assert_close(stored, wider)


def test_relaxed_atoms_stay_within_delta_of_the_mixtures():
    state = torch.load(FIXTURES / "archetypal.pt")
    mixtures = torch.nn.functional.normalize(state["dictionary.W"].relu(), p=1, dim=1) @ state["dictionary.C"]
    for delta in (0.8, 0.3, 0.0):
        sae = read("archetypal.pt", k=6, delta=delta)
        away = (sae.decoder / state["dictionary.multiplier"].exp() - mixtures).norm(dim=1)
        assert float(away.max()) <= delta + 1e-5 and float(away.max()) >= 0.9 * min(delta, 0.8)
