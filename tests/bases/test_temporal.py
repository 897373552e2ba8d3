"""Temporal features: causal, orthogonal, a closed form, padding, and edits of either part in a model."""

from __future__ import annotations

import pytest
import torch
from conftest import build
from planted import generator, randn
from planted_sequences import averaging, steady, untrained

import steerlab as sl
from steerlab.bases import TemporalFeaturizer
from steerlab.errors import SteerlabError

AT = "blocks.1.resid"


def sequences(seed: int = 1) -> torch.Tensor:
    return randn(3, 40, 12, g=generator(seed))


def test_nothing_is_foretold_of_the_first_token():
    assert not bool(untrained().encode(sequences())[0][:, 0].any())


def test_what_comes_later_changes_no_earlier_code_by_a_bit():
    x = sequences()
    other = torch.cat([x[:, :30], sequences(2)[:, 30:]], 1)
    for before, after in zip(untrained().encode(x), untrained().encode(other), strict=True):
        assert torch.equal(before[:, :30], after[:, :30])
        assert not torch.allclose(before[:, 30:], after[:, 30:])


def test_the_prediction_is_orthogonal_to_what_it_leaves_and_energies_add_up():
    tfa = untrained()
    x = sequences()
    found = tfa.split(x)
    told, y = found.predicted @ tfa.weights["decoder"], x * 0.7 - tfa.weights["bias"]
    cosine = torch.nn.functional.cosine_similarity(told, found.rest, dim=-1)
    assert float(cosine[:, 1:].abs().max()) < 1e-5
    parts = told.square().sum(-1) + found.rest.square().sum(-1)
    assert torch.allclose(parts, y.square().sum(-1), rtol=1e-4)
    assert int((found.novel > 0).sum(-1).max()) == 5


def test_averaging_the_past_gives_the_closed_form():
    x, v = steady(1000, 50)
    found = averaging().split(x)
    told = found.predicted @ averaging().weights["decoder"]
    for t in (1, 4, 9, 24, 49):
        cosine = torch.nn.functional.cosine_similarity(told[:, t], v, dim=-1).mean()
        share = (told[:, t].square().sum(-1) / x[:, t].square().sum(-1)).mean()
        assert float(cosine) == pytest.approx((1 + 1 / t) ** -0.5, abs=0.005)
        assert float(share) == pytest.approx((1 + 1 / (8 * t)) / (2 * (1 + 1 / t)), abs=0.005)


def test_both_parts_decode_to_the_activation_where_no_code_is_lost():
    x, _ = steady(5, 12)
    tfa = averaging()
    assert torch.allclose(tfa.decode(*exact(tfa, x)), x, atol=1e-9)


def exact(tfa: TemporalFeaturizer, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes whose gain is taken back, since ``D relu(D^T y)`` is `y` in that dictionary."""
    predictable, novel = tfa.encode(x)
    return predictable, novel / tfa.gain


def test_tokens_that_are_left_out_and_padding_are_as_if_they_were_not_there():
    tfa, x = untrained(skip=2), sequences()
    whole = untrained().encode(x[:, 2:])
    for found, wanted in zip(tfa.encode(x), whole, strict=True):
        assert torch.allclose(found[:, 2:], wanted, atol=1e-12) and not bool(found[:, :2].any())
    padded = torch.cat([randn(3, 5, 12, g=generator(9)), x], 1)
    real = torch.arange(45)[None].expand(3, -1) >= 5
    for found, wanted in zip(tfa.encode(padded, real), tfa.encode(x), strict=True):
        assert bool(found.isfinite().all()) and not bool(found[:, :7].any())
        assert torch.allclose(found[:, 5:], wanted, atol=1e-12)


def test_edits_change_one_part_and_keep_the_other_and_the_rest():
    tfa, x = untrained(), sequences()
    predictable, novel = tfa.encode(x)
    decoder = tfa.weights["decoder"]
    assert torch.allclose(sl.Zero(tfa.predictable)(x), x - predictable @ decoder / 0.7)
    assert torch.allclose(sl.Zero(tfa.novel)(x), x - novel @ decoder / 0.7)
    other = sequences(2)
    swapped = sl.Replace(other, tfa.predictable)(x)
    assert torch.allclose(swapped, x + (tfa.encode(other)[0] - predictable) @ decoder / 0.7)
    atom = int(novel[0, 7].argmax())
    more = sl.Clamp(9.0, 9.0, tfa.novel.only(atom))(x)
    wanted = x + (9.0 - novel[..., [atom]]) * decoder[atom] / 0.7
    assert torch.allclose(more, wanted)
    assert torch.equal(sl.Scale(1.0, tfa.predictable)(x), x)


def test_a_featurizer_is_saved_safely_and_comes_back_to_the_bit(tmp_path):
    tfa = untrained(skip=1)
    again = TemporalFeaturizer.load(tfa.save(tmp_path / "t.safetensors"))
    for found, wanted in zip(again.encode(sequences()), tfa.encode(sequences()), strict=True):
        assert torch.equal(found, wanted)
    (tmp_path / "no.safetensors").write_bytes(b"not this")
    with pytest.raises(SteerlabError, match="no temporal featurizer"):
        TemporalFeaturizer.load(tmp_path / "no.safetensors")


def featurizer_for_llama() -> TemporalFeaturizer:
    tfa = untrained(32, 64, skip=1)
    return TemporalFeaturizer(tfa.weights, heads=4, k=6, gain=0.05, scale=0.7, skip=1)


def test_an_edit_reaches_the_model_and_its_file_does_the_same(tmp_path):
    lm = build("llama").model
    changes = {AT: sl.Zero(featurizer_for_llama().predictable)}
    sl.save_intervention(changes, tmp_path / "forget", model=lm)
    text = ["the cat sat on the mat"]
    with lm.edit(changes):
        found = lm.logits(text)
    with lm.edit(sl.load_intervention(tmp_path / "forget.steer")):
        assert torch.equal(lm.logits(text), found)
    acts = lm.capture(text, at=AT)[AT]
    with lm.edit({AT: sl.Replace(changes[AT](acts))}):
        assert torch.equal(lm.logits(text), found)
    assert not torch.allclose(lm.logits(text), found)


def test_while_generating_every_step_sees_all_earlier_unedited_activations():
    lm = build("llama").model
    changes = {AT: sl.Scale(3.0, featurizer_for_llama().novel)}
    made = lm.generate("the cat sat", edit=changes, max_new_tokens=5, use_cache=False)
    ids = lm.processor("the cat sat", return_tensors="pt")["input_ids"]
    for _ in range(5):
        bare = lm.capture({"input_ids": ids}, at=AT)[AT]
        with lm.edit({AT: sl.Replace(changes[AT](bare))}):
            step = lm.logits({"input_ids": ids})[0, -1].argmax()
        ids = torch.cat([ids, step.view(1, 1)], 1)
    assert torch.equal(made.ids, ids)
    plain = lm.generate("the cat sat", max_new_tokens=5)
    assert not torch.equal(plain.ids, made.ids)
    with pytest.raises(SteerlabError, match="use_cache=False"):
        lm.generate("the cat sat", edit=changes, max_new_tokens=5)


def test_a_batch_with_padding_needs_to_be_told_and_is_then_that_of_single_texts():
    lm = build("llama").model
    texts = ["the cat sat on the mat", "a dog ran"]
    inputs = lm.processor(texts, return_tensors="pt", padding=True)
    part = featurizer_for_llama().novel
    with lm.edit({AT: sl.Scale(3.0, part.padded(inputs["attention_mask"]))}):
        together = lm.logits(texts)[:, -1]
    for row, text in enumerate(texts):
        with lm.edit({AT: sl.Scale(3.0, part)}):
            assert torch.allclose(lm.logits([text])[0, -1], together[row], atol=1e-4)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda tfa: tfa.encode(torch.zeros(3, 4, 5)), "takes sequences"),
        (lambda tfa: tfa.encode(torch.zeros(1, 3, 12), torch.ones(2, 3)), "padding"),
        (lambda tfa: tfa.novel.only(99), "atoms 0 to 23"),
        (lambda tfa: TemporalFeaturizer(tfa.weights, heads=5), "5 heads"),
        (lambda tfa: TemporalFeaturizer({"bias": torch.ones(1)}), "missing"),
        (lambda tfa: type(tfa.novel)(tfa, "new"), "part='new'"),
    ],
)
def test_what_cannot_be_is_told(make, said):
    with pytest.raises(SteerlabError, match=said):
        make(untrained())
