"""What may help against long tokens, as interventions, and their random controls."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steerlab.analyzers.registers.finding import Neurons, Plan
from steerlab.bases import Subspace
from steerlab.edits import Edit, Gate, Replace, Scoped, Shorten, ToToken, Zero
from steerlab.sites import Site

NEAR = 16  # neurons of about the same size, of which a control draws one

Edits = dict[str, Edit | Scoped]
Chosen = Sequence[tuple[int, int]]  # (block, neuron)


def chosen_neurons(found: Neurons, count: int, below: int) -> list[tuple[int, int]]:
    """The neurons of blocks up to `below` that are largest on average at long patches, strongest first."""
    scores = found.at_long[: below + 1]
    order = scores.flatten().argsort(descending=True)[:count].tolist()
    return [divmod(one, scores.shape[1]) for one in order]


def similar_neurons(found: Neurons, chosen: Chosen, seed: int) -> list[tuple[int, int]]:
    """For each neuron a random other one of its block among the 16 whose mean magnitude is nearest."""
    generator, taken = torch.Generator().manual_seed(seed), set(chosen)
    others = []
    for block, neuron in chosen:
        size = found.at_all[block]
        order = (size.clamp_min(1e-12).log() - size[neuron].clamp_min(1e-12).log()).abs().argsort().tolist()
        near = [(block, one) for one in order if (block, one) not in taken][:NEAR]
        one = near[int(torch.randint(len(near), (1,), generator=generator))]
        taken.add(one)
        others.append(one)
    return others


def into_token(plan: Plan, chosen: Chosen, token: int, found: Neurons | None = None) -> Edits:
    """The test-time register: what these neurons say goes to one token alone.

    At the patches they are silent, or with `found` say what they say on average at ordinary ones. Other
    special tokens are left alone.
    """
    edits = {}
    on = torch.zeros(plan.tokens.count, dtype=torch.bool)
    on[plan.patches], on[token] = True, True
    for block, neurons in _by_block(chosen).items():
        held = 0.0 if found is None else found.ordinary[block, neurons].float()
        edits[f"{plan.blocks[block]}.mlp.act"] = ToToken(neurons, token=token, elsewhere=held).on(tokens=on)
    return edits


def silenced(plan: Plan, chosen: Chosen, found: Neurons) -> Edits:
    """These neurons set to zero at the patches."""
    width = found.at_long.shape[1]
    return {
        f"{plan.blocks[block]}.mlp.act": Zero(Subspace(torch.eye(width)[neurons])).on(tokens="patches")
        for block, neurons in _by_block(chosen).items()
    }


def overwritten(plan: Plan, found: Neurons, group: str) -> tuple[Edits, Edits]:
    """What enters blocks at some special tokens becomes its mean over the inputs; and becomes zero.

    The first block is left out: what enters it there is the same for every input.
    """
    mean, zero = {}, {}
    for block, values in list(zip(plan.blocks, found.special, strict=True))[1:]:
        whole = torch.zeros(plan.tokens.count, values.shape[-1])
        whole[plan.special] = values.float()
        mean[f"{block}.resid_pre"] = Replace(whole).on(tokens=group)
        zero[f"{block}.resid_pre"] = Zero().on(tokens=group)
    return mean, zero


def shortened(plan: Plan, found: Neurons, above: float) -> dict[str, Edits]:
    """Long tokens at the probe: cut, made zero, made their own mean."""
    return {
        "long tokens cut": {plan.probe: Shorten(above)},
        "long tokens zero": {plan.probe: Shorten(above, 0.0)},
        "long tokens their mean": {plan.probe: Shorten(above, found.long.float())},
    }


def gated(heads: Sequence[Site], *, soft: bool = False) -> Edits:
    """The heads closed where a query looks at their sink, or as far as it does."""
    return {str(head): Gate(above=None) if soft else Gate() for head in heads}


def _by_block(chosen: Chosen) -> dict[int, list[int]]:
    blocks: dict[int, list[int]] = {}
    for block, neuron in chosen:
        blocks.setdefault(block, []).append(neuron)
    return dict(sorted(blocks.items()))
