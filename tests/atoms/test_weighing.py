"""Importance where it can be worked out: a linear model, a product, and a language model by hand."""

from __future__ import annotations

import planted
import pytest
import torch
from exact_atoms import Sum, mirrored, tied
from torch import nn

import steerlab as sl
from steerlab import atoms, figures
from steerlab.bases import Linear, TopK

TEXTS = ["the cat sat on", "today is Monday"]


def linear():
    """Two linear layers without biases between them, and orthonormal atoms that make up its stream."""
    g = planted.generator(0)
    module = nn.Sequential(nn.Linear(6, 8, bias=False), nn.Linear(8, 3)).double()
    sae = tied(planted.frame(8, 8, g), "module:0")
    return sl.wrap(module), sae, planted.randn(4, 6, g=g)


def second(out: torch.Tensor) -> torch.Tensor:
    return out[:, 1]


def test_in_a_linear_model_ablation_is_gradient_times_code():
    model, sae, x = linear()
    by_ablation = atoms.importance(model, x, sae, output=second)
    by_gradient = atoms.importance(model, x, sae, output=second, method="gradient")
    z = sae.encode(model.module[0](x)).detach()
    active = [int(name) for name in by_ablation.names]
    assert active == (z != 0).any(0).nonzero()[:, 0].tolist()
    expected = (z * (sae.atoms @ model.module[1].weight[1].detach())).T[active]
    torch.testing.assert_close(by_ablation.values, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(by_gradient.values, expected, atol=1e-6, rtol=0)
    agreed = by_ablation.agreement(by_gradient)
    assert agreed.spearman == pytest.approx(1) and agreed.top_tenth == 1
    torch.testing.assert_close(by_ablation.output.double(), model.module(x)[:, 1].detach(), atol=1e-6, rtol=0)


def test_a_product_of_two_codes_is_an_interaction_that_sobol_sees():
    model = sl.wrap(Sum())
    sae = tied(torch.eye(3, dtype=torch.float64), "module:inner")
    x = torch.tensor([[1.0, 1.0, 0.1]], dtype=torch.float64)
    found = atoms.importance(model, x, sae, output=lambda out: out[:, 0], method="sobol")
    (one,) = found.sobol
    # (m0 - 1/2) (m1 - 1/2) + m2 / 10 with m uniform: neither factor does anything alone
    both, third = 1 / 144, 0.01 / 12
    first = torch.tensor([0, 0, third], dtype=torch.float64) / (both + third)
    total = torch.tensor([both, both, third], dtype=torch.float64) / (both + third)
    assert bool(((one.first - first).abs() < 3 * one.first_error + 0.02).all())
    assert bool(((one.total - total).abs() < 3 * one.total_error + 0.02).all())
    assert float(one.total[:2].min() - one.first[:2].max()) > 0.4
    assert found.floor[0] == 2 * one.total_error.max() and torch.equal(found.values[:, 0], one.total)
    other = torch.tensor([[0.5, 2.0, 1.0]], dtype=torch.float64)
    alone = atoms.importance(model, other, sae, output=lambda out: out[:, 0], method="sobol")
    rows = atoms.importance(
        model, torch.cat([x, other]), sae, output=lambda out: out[:, 0], method="sobol", atoms=[0, 1, 2]
    )
    torch.testing.assert_close(rows.values, torch.cat([found.values, alone.values], 1))
    by_ablation = atoms.importance(model, x, sae, output=lambda out: out[:, 0])
    torch.testing.assert_close(by_ablation.mean, torch.tensor([0.5, 0.5, 0.1]).double())


def stream(site="blocks.1.resid"):
    d = torch.nn.functional.normalize(torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    return sl.Dictionary(
        decoder=d, encoder=Linear(d.T.contiguous(), torch.zeros(64), TopK(8)), facts=sl.Facts(site=site)
    )


def test_in_a_language_model_it_is_the_fall_that_a_hand_written_hook_makes(held):
    one, sae = held("llama"), stream()
    cat = one.tiny.tokenizer.convert_tokens_to_ids("cat")
    chosen = [int(k) for k in _active(one, sae)]
    found = atoms.importance(one.model, TEXTS, sae, output="cat", atoms=chosen, tokens="all")
    kwargs = dict(one.tiny.tokenizer(TEXTS, return_tensors="pt", padding=True))
    with torch.no_grad():
        base = one.tiny.model(**kwargs).logits[:, -1, cat]
        for place, name in enumerate(found.names):

            def ablated(module, inputs, output, k=int(name)):
                return output - sae.encode(output)[..., k : k + 1] * sae.atoms[k]

            handle = one.tiny.model.model.layers[1].register_forward_hook(ablated)
            try:
                edited = one.tiny.model(**kwargs).logits[:, -1, cat]
            finally:
                handle.remove()
            torch.testing.assert_close(found.values[place].float(), base - edited, atol=2e-5, rtol=0)
    assert found.control.shape == (8, 2) and float(found.floor.max()) <= 1e-6
    assert found.top(1)[0] == found.names[int(found.mean.abs().argmax())]
    torch.testing.assert_close(found.output, base, atol=1e-5, rtol=0)


def _active(one, sae) -> torch.Tensor:
    x = one.model.capture(TEXTS, "blocks.1.resid")
    real = x.map_of("blocks.1.resid").real
    expected = (sae.encode(x["blocks.1.resid"])[real] != 0).any(0).nonzero()[:, 0]
    assert torch.equal(atoms.active_atoms(one.model, sae, TEXTS, tokens="all"), expected)
    return expected


def test_gradients_are_the_slopes_of_the_ablation(held):
    model, sae = held("llama").model, stream()
    chosen = [int(k) for k in atoms.active_atoms(model, sae, TEXTS)[:4]]
    found = atoms.importance(model, TEXTS, sae, output="cat", atoms=chosen, method="gradient", tokens="all")
    cat = model.processor.convert_tokens_to_ids("cat")
    for row, k in enumerate(chosen):
        outputs = []
        for factor in (1.02, 0.98):
            with model.edit({"blocks.1.resid": sl.Scale(factor, sae.only([k]))}, strict=False):
                outputs.append(model.logits(TEXTS)[:, -1, cat].double())
        torch.testing.assert_close(found.values[row], (outputs[0] - outputs[1]) / 0.04, atol=2e-3, rtol=0.05)


def test_the_first_token_of_a_text_is_left_as_it_is(held):
    one, sae = held("llama"), stream()
    found = atoms.importance(one.model, TEXTS[0], sae, output="cat")
    x = one.model.capture(TEXTS[0], "blocks.1.resid")["blocks.1.resid"]
    assert [int(k) for k in found.names] == (sae.encode(x)[0, 1:] != 0).any(0).nonzero()[:, 0].tolist()
    k = next(int(k) for k in found.names if sae.encode(x)[0, 0, int(k)])  # one that fires there too
    cat = one.tiny.tokenizer.convert_tokens_to_ids("cat")
    with one.model.edit({"blocks.1.resid": sl.Zero(sae.only([k])).on(tokens="1:")}):
        edited = one.model.logits(TEXTS[0])[0, -1, cat]
    fall = float(one.model.logits(TEXTS[0])[0, -1, cat] - edited)
    assert float(found.values[found.names.index(str(k)), 0]) == pytest.approx(fall, abs=2e-5)
    by_gradient = atoms.importance(one.model, TEXTS[0], sae, output="cat", method="gradient")
    assert by_gradient.names == found.names and found.agreement(by_gradient).spearman > 0.7


def test_heads_are_weighed_in_the_same_ways(held):
    model = held("llama").model
    last = torch.tensor([5, 6])
    by_ablation = atoms.head_importance(model, TEXTS, output=last)
    assert by_ablation.names == [str(site) for site in model.heads()]
    base = model.logits(TEXTS)[:, -1]
    with model.edit({"blocks.1.heads.2": sl.Zero()}):
        edited = model.logits(TEXTS)[:, -1]
    fall = (base - edited).gather(1, last[:, None])[:, 0]
    torch.testing.assert_close(by_ablation.values[6].float(), fall, atol=2e-5, rtol=0)
    assert by_ablation.grid().shape == (3, 4) and by_ablation.grid()[1, 2] == by_ablation.mean[6]
    by_gradient = atoms.head_importance(model, TEXTS, output=last, method="gradient")
    outputs = []
    for factor in (1.02, 0.98):
        with model.edit({"blocks.1.heads.2": sl.Scale(factor)}):
            outputs.append(model.logits(TEXTS)[:, -1].gather(1, last[:, None])[:, 0].double())
    slope = (outputs[0] - outputs[1]) / 0.04
    torch.testing.assert_close(by_gradient.values[6], slope, atol=2e-3, rtol=0.05)
    assert figures.block_head_grid(by_ablation.grid()).axes


def test_a_transcoders_atoms_are_weighed_where_they_write(held):
    model = held("llama").model
    facts = sl.Facts(reads="blocks.1.resid_mid", site="blocks.1.mlp")
    sae = stream()
    transcoder = sl.Dictionary(decoder=sae.decoder, encoder=sae.encoder, facts=facts)
    chosen = [_strong(model, transcoder)]
    found = atoms.importance(model, TEXTS[0], transcoder, output="cat", atoms=chosen, tokens="all")
    k, cat = int(found.names[0]), model.processor.convert_tokens_to_ids("cat")
    acts = model.capture(TEXTS[0], [facts.reads, facts.site])
    less = acts[facts.site] - transcoder.encode(acts[facts.reads])[..., k : k + 1] * transcoder.atoms[k]
    with model.edit({facts.site: sl.Replace(less)}):
        edited = model.logits(TEXTS[0])[0, -1, cat]
    fall = float(model.logits(TEXTS[0])[0, -1, cat] - edited)
    assert fall != 0 and float(found.values[0, 0]) == pytest.approx(fall, abs=2e-5)


def _strong(model, transcoder) -> int:
    x = model.capture(TEXTS[0], "blocks.1.resid_mid")["blocks.1.resid_mid"]
    return int(transcoder.encode(x)[0, 1:].sum(0).argmax())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"output": "cat dog"}, "is 2 tokens; give one"),
        ({"output": 10**6}, "main output is"),
        ({"output": 3, "method": "sobbol"}, "did you mean 'sobol'"),
        ({"output": lambda out: out}, r"one number a row, \[2\], not"),
        ({"output": torch.tensor([1.0, 2.0])}, "are integers"),
        ({"output": None}, "output=None: give a number"),
    ],
)
def test_what_has_no_answer_is_refused(held, asked, message):
    with pytest.raises(sl.SteerlabError, match=message):
        atoms.importance(held("llama").model, TEXTS, stream(), **asked)


def test_too_many_parts_for_a_design_are_refused_and_different_parts_not_compared(held):
    model = held("llama").model
    wide = tied(torch.randn(400, 32, generator=torch.Generator().manual_seed(0)), "blocks.1.resid")
    with pytest.raises(sl.SteerlabError, match="name at most 256"):
        atoms.importance(model, TEXTS, wide, output="cat", atoms=range(300), method="sobol")
    few = [
        atoms.importance(model, TEXTS, mirrored(32, "blocks.1.resid"), output=3, atoms=a, method="gradient")
        for a in ([1, 2], [1, 3])
    ]
    with pytest.raises(sl.SteerlabError, match="different parts"):
        few[0].agreement(few[1])
