"""dictionary_learning: thresholds never set, the hub fork's classes in float64, and what is ambiguous."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from steerlab.bases.formats import read_dictionary
from steerlab.bases.norms import Same
from steerlab.bases.rules import JumpRelu, TopK
from steerlab.errors import SteerlabError

FIXTURES = Path(__file__).parent / "fixtures" / "dictionary_learning"
DIM, ATOMS, MEMBERS, ROWS = 6, 20, 3, 10


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hub(folder: Path, state: dict[str, torch.Tensor], **config: object) -> Path:
    """A folder as the fork pushes to a hub."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in state.items()}, folder / "model.safetensors")
    plain = {"activation_dim": DIM, "dict_size": ATOMS, **config}
    (folder / "config.json").write_text(json.dumps(plain))
    return folder


def f64(x: torch.Tensor) -> np.ndarray:
    return x.double().numpy()


def assert_close(ours: torch.Tensor, reference: np.ndarray) -> None:
    np.testing.assert_allclose(f64(ours), reference, atol=1e-5, rtol=1e-5)


def crosscoder_state() -> dict[str, torch.Tensor]:
    return {
        "encoder.weight": draw(MEMBERS, DIM, ATOMS, seed=1),
        "encoder.bias": draw(ATOMS, seed=2),
        "decoder.weight": draw(MEMBERS, ATOMS, DIM, seed=3),
        "decoder.bias": draw(MEMBERS, DIM, seed=4),
        "code_normalization_id": torch.tensor(1),
    }


def relu_codes(state: dict[str, torch.Tensor], x: np.ndarray) -> np.ndarray:
    along = np.einsum("bld,ldf->bf", x, f64(state["encoder.weight"])) + f64(state["encoder.bias"])
    return np.maximum(along, 0)


def test_the_site_is_that_of_the_submodule_and_layer():
    facts = read_dictionary(FIXTURES / "topk", None, {}).facts
    assert (facts.site, facts.model, facts.l0) == ("blocks.4.resid", "tiny", 7.0)


def test_batch_top_k_compares_with_its_threshold_and_without_one_counts(tmp_path):
    assert isinstance(read_dictionary(FIXTURES / "batchtopk", None, {}).encoder.rule, JumpRelu)
    shutil.copytree(FIXTURES / "batchtopk", tmp_path / "unset")
    state = torch.load(tmp_path / "unset" / "ae.pt")
    torch.save(state | {"threshold": torch.tensor(-1.0)}, tmp_path / "unset" / "ae.pt")
    sae = read_dictionary(tmp_path / "unset", None, {})
    assert isinstance(sae.encoder.rule, TopK) and sae.encoder.rule.k == 7
    assert "never set" in sae.facts.assumptions[-1]
    assert int((sae.encode(draw(ROWS, 16, seed=0)) > 0).sum(-1).max()) == 7


def test_the_weights_alone_say_their_class_where_their_keys_do(tmp_path):
    for case in ("auto_encoder", "auto_encoder_new", "gated", "jumprelu", "matryoshka"):
        alone = tmp_path / case
        alone.mkdir()
        shutil.copy(FIXTURES / case / "ae.pt", alone / "ae.pt")
        with_config, without = (read_dictionary(p, None, {}) for p in (FIXTURES / case, alone))
        x = draw(ROWS, 16, seed=5)
        assert torch.equal(without.encode(x), with_config.encode(x)), case


def test_where_the_keys_fit_two_classes_the_user_says_which(tmp_path):
    shutil.copy(FIXTURES / "batchtopk" / "ae.pt", tmp_path / "ae.pt")
    with pytest.raises(SteerlabError, match="give dict_class="):
        read_dictionary(tmp_path, None, {})
    counted = read_dictionary(tmp_path, None, {"dict_class": "AutoEncoderTopK"})
    assert isinstance(counted.encoder.rule, TopK)
    with pytest.raises(SteerlabError, match="did you mean 'BatchTopKSAE'"):
        read_dictionary(tmp_path, None, {"dict_class": "BatchTopKSAES"})


def test_what_was_saved_while_compiled_has_a_prefix_before_every_name(tmp_path):
    state = torch.load(FIXTURES / "gated" / "ae.pt")
    torch.save({f"_orig_mod.{name}": t for name, t in state.items()}, tmp_path / "ae.pt")
    x = draw(ROWS, 16, seed=5)
    plain = read_dictionary(FIXTURES / "gated", None, {})
    assert torch.equal(read_dictionary(tmp_path, None, {}).encode(x), plain.encode(x))


@pytest.mark.parametrize("each", [False, True], ids=["one scale", "each dimension"])
def test_the_forks_normalisation_is_applied_and_undone(each, tmp_path):
    mean, std = draw(DIM, seed=6), draw(DIM, seed=7).abs() + 0.5
    scale = torch.tensor(1.0) if each else 2.0 / (std.square().sum() + 1e-8).sqrt()
    state = {
        "encoder.weight": draw(ATOMS, DIM, seed=1),
        "encoder.bias": draw(ATOMS, seed=2),
        "decoder.weight": draw(DIM, ATOMS, seed=3),
        "b_dec": draw(DIM, seed=4),
        "k": torch.tensor(4),
        "threshold": torch.tensor(0.8),
        "target_rms": torch.tensor(2.0),
        "activation_mean": mean,
        "activation_std": std,
        "activation_global_scale": scale,
    }
    sae = read_dictionary(hub(tmp_path, state, dict_class="BatchTopKSAE"), None, {})
    x = draw(ROWS, DIM, seed=8)
    factor = 1 / f64(std) if each else f64(scale)
    n = (f64(x) - f64(mean)) * factor
    pre = np.maximum(
        (n - f64(state["b_dec"])) @ f64(state["encoder.weight"]).T + f64(state["encoder.bias"]), 0
    )
    z = pre * (pre > 0.8)
    assert_close(sae.encode(x), z)
    out = (z @ f64(state["decoder.weight"]).T + f64(state["b_dec"])) / factor + f64(mean)
    assert_close(sae.reconstruct(x), out)
    absent = state | {"activation_mean": mean * torch.nan, "activation_std": std * torch.nan}
    plain = read_dictionary(hub(tmp_path / "none", absent, dict_class="BatchTopKSAE"), None, {})
    assert isinstance(plain.norm, Same)


def test_the_forks_thresholded_codes_count_in_units_of_their_rows(tmp_path):
    state = {
        "W_enc": draw(DIM, ATOMS, seed=1),
        "b_enc": draw(ATOMS, seed=2),
        "W_dec": draw(ATOMS, DIM, seed=3),
        "b_dec": draw(DIM, seed=4),
        "threshold": draw(ATOMS, seed=5).abs(),
    }
    sae = read_dictionary(hub(tmp_path, state, dict_class="JumpReluAutoEncoder"), None, {})
    x = draw(ROWS, DIM, seed=8)
    pre = f64(x) @ f64(state["W_enc"]) + f64(state["b_enc"])
    lengths = np.linalg.norm(f64(state["W_dec"]), axis=1)
    z = np.maximum(pre * (pre > f64(state["threshold"])), 0) * lengths
    assert_close(sae.encode(x), z)
    assert_close(sae.reconstruct(x), z / lengths @ f64(state["W_dec"]) + f64(state["b_dec"]))


def test_a_crosscoder_is_one_dictionary_of_its_members_end_to_end(tmp_path):
    state = crosscoder_state()
    sae = read_dictionary(hub(tmp_path, state, dict_class="CrossCoder"), None, {})
    x = draw(ROWS, MEMBERS, DIM, seed=8)
    z = relu_codes(state, f64(x))
    assert_close(sae.encode(x), z)
    out = np.einsum("bf,lfd->bld", z, f64(state["decoder.weight"])) + f64(state["decoder.bias"])
    assert_close(sae.reconstruct(x), out.reshape(ROWS, -1))
    moved = sae.moved(x, lambda codes: codes.index_fill(-1, torch.tensor([5]), 2.0))
    step = np.einsum("b,ld->bld", 2.0 - z[:, 5], f64(state["decoder.weight"])[:, 5])
    assert_close(moved, f64(x) + step)  # each member moves along its own row, by one change of the code
    assert torch.equal(sae[5].unflatten(0, (MEMBERS, DIM)), state["decoder.weight"][:, 5])


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_a_crosscoders_threshold_is_compared_with_codes_times_their_rows(kind, tmp_path):
    state = crosscoder_state() | {"k": torch.tensor(4), "threshold": torch.tensor(9.0)}
    state["code_normalization_id"] = torch.tensor(kind)
    rows = f64(state["decoder.weight"])
    summed = np.linalg.norm(rows, axis=-1).sum(0)
    together = np.sqrt(np.square(rows).sum((0, 2)))
    factor = {1: summed, 2: together, 3: together + 0.1 * summed, 4: np.ones(ATOMS)}[kind]
    sae = read_dictionary(hub(tmp_path, state, dict_class="BatchTopKCrossCoder"), None, {})
    x = draw(ROWS, MEMBERS, DIM, seed=8)
    z = relu_codes(state, f64(x))
    active = z * factor > 9.0
    assert 0 < active.sum() < (z > 0).sum()
    assert_close(sae.encode(x), z * active)


def test_crosscoders_whose_codes_or_members_differ_are_refused(tmp_path):
    state = crosscoder_state() | {"k": torch.tensor(4), "threshold": torch.tensor(0.5)}
    decoupled = state | {"code_normalization_id": torch.tensor(5)}
    with pytest.raises(SteerlabError, match="its codes differ from member to member"):
        read_dictionary(hub(tmp_path / "a", decoupled, dict_class="BatchTopKCrossCoder"), None, {})
    fewer = state | {"encoder.weight": draw(2, DIM, ATOMS, seed=1)}
    with pytest.raises(SteerlabError, match="reads 2 activations and writes 3"):
        read_dictionary(hub(tmp_path / "b", fewer, dict_class="CrossCoder"), None, {})
