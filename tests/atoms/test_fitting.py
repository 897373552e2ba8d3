"""Fit against dictionaries whose every number is known, and losses against hand-written hooks."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from exact_atoms import TEXTS, cases, mirrored, tied

import steerlab as sl
from steerlab import atoms
from steerlab.bases import Linear, TopK

SITE = "blocks.1.resid"


def topk(seed: int = 0, site: str = SITE) -> sl.Dictionary:
    g = torch.Generator().manual_seed(seed)
    d = torch.nn.functional.normalize(torch.randn(64, 32, generator=g), dim=1)
    encoder = Linear(d.T.contiguous(), torch.zeros(64), TopK(8))
    return sl.Dictionary(decoder=d, encoder=encoder, facts=sl.Facts(site=site))


def cross_entropy(module, model, texts) -> float:
    """Mean over all next tokens, by transformers' own loss, one text at a time."""
    total = count = 0
    for text in texts:
        ids = model.processor(text, return_tensors="pt").input_ids
        with torch.no_grad():
            total += float(module(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        count += ids.shape[1] - 1
    return total / count


def test_a_dictionary_without_error_fits_perfectly_and_costs_nothing(held):
    model = held("llama").model
    found = atoms.fit(model, mirrored(32, SITE), TEXTS)
    assert found.r2 == pytest.approx(1, abs=1e-12) and found.fvu == pytest.approx(0, abs=1e-12)
    x = cases(model, SITE)
    never = torch.cat([(x <= 0).all(0), (x >= 0).all(0)]).double().mean()
    assert 0 < float(never) == found.dead and (found.l0, found.entries) == (32, len(x))
    assert found.cosine == pytest.approx(1) and found.length_ratio == pytest.approx(1)
    assert found.coherence == 0.0
    assert found.splice.loss_recovered("mean") == found.splice.loss_recovered("zero") == 1
    assert found.splice.kl["spliced"] == found.splice.kl["again"] == found.splice.kl["random"] == 0
    assert found.splice.kl["mean"] > 0 and found.splice.kl_recovered("zero") == 1


def test_a_dictionary_that_knows_the_mean_alone_is_mean_ablation(held):
    model = held("llama").model
    mean = cases(model, SITE).mean(0)
    only = dataclasses.replace(tied(torch.zeros(4, 32), SITE), bias=mean)
    found = atoms.fit(model, only, TEXTS)
    assert found.r2 == pytest.approx(0, abs=1e-9) and (found.l0, found.dead) == (0, 1)
    assert found.splice.loss_recovered("mean") == pytest.approx(0, abs=1e-4)
    assert found.splice.kl["spliced"] == pytest.approx(found.splice.kl["mean"], rel=1e-4)
    shorter = atoms.fit(
        model, dataclasses.replace(mirrored(32, SITE), decoder=mirrored(32).decoder / 2), TEXTS
    )
    assert shorter.length_ratio == pytest.approx(0.5) and shorter.cosine == pytest.approx(1)


def test_losses_are_those_of_hooks_and_padding_counts_nowhere(held):
    one, sae = held("llama"), topk()
    module, model = one.tiny.model, one.model
    single = [TEXTS[0], *TEXTS[1]]
    found, alone = (atoms.fit(model, sae, texts, tokens="all") for texts in (TEXTS, single))
    assert found.r2 == pytest.approx(alone.r2, abs=1e-5) and found.entries == alone.entries
    assert found.splice.loss == pytest.approx(alone.splice.loss, abs=1e-4)
    assert found.splice.loss["clean"] == pytest.approx(cross_entropy(module, model, single), abs=1e-5)
    x = torch.cat([model.capture(text, SITE)[SITE][0] for text in single])
    mean = x.mean(0)
    changes = {"spliced": sae.reconstruct, "zero": torch.zeros_like, "mean": lambda x: mean.expand_as(x)}
    for name, change in changes.items():
        handle = module.model.layers[1].register_forward_hook(lambda m, i, o, change=change: change(o))
        try:
            assert found.splice.loss[name] == pytest.approx(cross_entropy(module, model, single), abs=1e-4)
        finally:
            handle.remove()
    assert found.splice.kl["again"] == 0 and found.splice.kl["random"] > 0
    x, rebuilt = x.double().numpy(), sae.reconstruct(x).double().numpy()
    error = ((x - rebuilt) ** 2).sum()
    assert found.fvu == pytest.approx(error / ((x - x.mean(0)) ** 2).sum(), rel=1e-5)


def test_tokens_choose_what_is_measured_and_what_is_spliced(held):
    model, sae = held("llama").model, topk()
    found = atoms.fit(model, sae, TEXTS)
    assert found.entries == len(cases(model, SITE))
    assert found.splice == atoms.fit(model, sae, TEXTS, tokens="1:").splice
    everywhere = atoms.fit(model, sae, TEXTS, tokens="all")
    assert everywhere.entries == found.entries + 3
    assert found.r2 != everywhere.r2 and 0 < found.splice.kl["spliced"] != everywhere.splice.kl["spliced"]
    only = [logits_with(model, {SITE: sl.Project(sae).on(tokens="1:")}), logits_with(model, None)]
    p, q = (logits.double().log_softmax(-1) for logits in only[::-1])
    kl = float((p.exp() * (p - q)).sum(-1).mean())
    assert atoms.fit(model, sae, TEXTS[:1]).splice.kl["spliced"] == pytest.approx(kl, rel=1e-4)


def logits_with(model, change) -> torch.Tensor:
    if change is None:
        return model.logits(TEXTS[0])[0, :-1]
    with model.edit(change):
        return model.logits(TEXTS[0])[0, :-1]


def test_a_transcoder_is_measured_across_and_spliced_where_it_writes(held):
    model = held("llama").model
    facts = sl.Facts(reads="blocks.1.resid_mid", site="blocks.1.mlp")
    transcoder = dataclasses.replace(topk(3), facts=facts)
    text = TEXTS[0]
    found = atoms.fit(model, transcoder, [text], tokens="all")
    acts = model.capture(text, [facts.reads, facts.site])
    guess = transcoder.reconstruct(acts[facts.reads])
    assert found.r2 == pytest.approx(_r2(acts, guess))
    with model.edit({facts.site: sl.Replace(guess)}):
        edited = model.logits(text)[0, :-1]
    p, q = (logits.double().log_softmax(-1) for logits in (model.logits(text)[0, :-1], edited))
    assert found.splice.kl["spliced"] == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-4)
    assert found.amortisation is None


def _r2(acts, guess) -> float:
    x = acts["blocks.1.mlp"][0].double()
    return 1 - float((x - guess[0]).square().sum() / (x - x.mean(0)).square().sum())


def test_a_model_without_logits_is_measured_and_not_spliced(held):
    one = held("vit")
    found = atoms.fit(one.model, topk(site="blocks.2.resid"), [one.tiny.inputs])
    assert found.splice is None and found.entries == 2 * 17
    assert "R2" in str(found) and "CE" not in str(found)


def test_atoms_along_data_are_at_no_distance_from_it(held):
    model = held("llama").model
    x = cases(model, SITE)
    assert atoms.fit(model, tied(x[:10], SITE), TEXTS).ood == pytest.approx(0, abs=1e-6)
    assert atoms.fit(model, tied(-x[:10], SITE), TEXTS).ood > 0.5
    offset = 3 * x.mean(0)  # what a decoder adds to every reconstruction is no part of its atoms
    shifted = dataclasses.replace(tied(x[:10] - offset, SITE), bias=offset)
    assert atoms.fit(model, shifted, TEXTS).ood == pytest.approx(0, abs=1e-6)


def test_what_cannot_be_measured_is_refused(held):
    model = held("llama").model
    with pytest.raises(sl.SteerlabError, match="gives them once only"):
        atoms.fit(model, topk(), iter(TEXTS))
    with pytest.raises(sl.SteerlabError, match="at which site"):
        atoms.fit(model, mirrored(32), TEXTS)
    with pytest.raises(sl.SteerlabError, match="batches are empty"):
        atoms.fit(model, topk(), [])
    assert atoms.fit(model, atoms.at_site(mirrored(32), SITE), TEXTS[:1]).site == sl.Site.parse(SITE)
