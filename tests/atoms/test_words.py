"""Effects of atoms on words: the slope by a Jacobian, the measured change by a hook."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl
from steerlab import atoms
from steerlab.bases import Linear, TopK

PROMPTS = ["the cat", "today is Monday and"]


def dictionary(site: str) -> sl.Dictionary:
    d = torch.randn(64, 32, generator=torch.Generator().manual_seed(1)) / 4
    return sl.Dictionary(
        decoder=d, encoder=Linear(d.T.contiguous(), torch.zeros(64), TopK(8)), facts=sl.Facts(site=site)
    )


def test_what_is_read_off_is_the_jacobian_of_norm_and_unembedding(held):
    one = held("llama")
    sae = dictionary("blocks.0.resid")
    found = atoms.logit_effects(one.model, sae, [3, 9], k=4, prompts=PROMPTS)
    norm, head = one.tiny.model.model.norm, one.tiny.model.lm_head
    expected = 0
    for prompt in PROMPTS:
        x = one.model.capture(prompt, "blocks.2.resid", tokens="last")["blocks.2.resid"][0, 0]
        jacobian = torch.autograd.functional.jacobian(lambda v: head(norm(v)), x)
        expected = expected + jacobian @ sae.atoms[[3, 9]].T / len(PROMPTS)
    expected = expected.T - expected.T.mean(-1, keepdim=True)
    torch.testing.assert_close(found.direct, expected, atol=1e-5, rtol=1e-4)
    word, value = found.raised(9, "direct")[0]
    assert word == one.tiny.tokenizer.convert_ids_to_tokens(int(expected[1].argmax()))
    assert value == pytest.approx(float(expected[1].max()), abs=1e-5)


def test_what_is_measured_is_the_change_by_a_hand_written_hook(held):
    one = held("llama")
    sae = dictionary("blocks.0.resid")
    found = atoms.logit_effects(one.model, sae, 3, prompts=PROMPTS)
    expected = 0
    for prompt in PROMPTS:
        ids = one.tiny.tokenizer(prompt, return_tensors="pt").input_ids
        x = one.model.capture(prompt, "blocks.0.resid", tokens="last")["blocks.0.resid"][0, 0]
        step = 0.05 * float(x.norm() / sae[3].norm())
        logits = []
        for sign in (1, -1):

            def moved(module, inputs, output, sign=sign, step=step):
                return torch.cat([output[:, :-1], output[:, -1:] + sign * step * sae[3]], 1)

            handle = one.tiny.model.model.layers[0].register_forward_hook(moved)
            try:
                with torch.no_grad():
                    logits.append(one.tiny.model(input_ids=ids).logits[0, -1])
            finally:
                handle.remove()
        expected = expected + (logits[0] - logits[1]) / (2 * step * len(PROMPTS))
    torch.testing.assert_close(found.measured[0], expected - expected.mean(), atol=2e-4, rtol=2e-3)
    assert found.floor == 0 and float(found.control[0]) > 0


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_both_ways_agree_at_the_last_block_and_nowhere_else(held, family):
    model = held(family).model
    last = atoms.logit_effects(model, dictionary("blocks.2.resid"), [3, 5], prompts=PROMPTS)
    torch.testing.assert_close(last.measured, last.direct, atol=2e-3, rtol=5e-3)
    assert last.agreement(3) > 0.999
    early = atoms.logit_effects(model, dictionary("blocks.0.resid"), [3, 5], prompts=PROMPTS)
    assert float((early.measured - early.direct).abs().max()) > 0.02 and early.agreement(3) < 0.99


def test_the_table_says_which_is_which(held):
    found = atoms.logit_effects(held("llama").model, dictionary("blocks.1.resid"), [3], k=2, prompts=["the"])
    text = str(found)
    for part in ("through final norm and unembedding, raises:", "measured in the model, lowers:", "random"):
        assert part in text
    assert repr(found.lowered(3)[0][0]) in text and found.raised(3)[0][1] > 0 > found.lowered(3)[0][1]
    with pytest.raises(sl.SteerlabError, match="by='direkt'; did you mean 'direct'"):
        found.raised(3, "direkt")


def test_models_without_words_are_refused(held):
    one = held("vit")
    with pytest.raises(sl.SteerlabError, match="no logits of next tokens|processor"):
        atoms.logit_effects(one.model, dictionary("blocks.1.resid"), 0, prompts=[torch.zeros(1, 3, 32, 32)])
