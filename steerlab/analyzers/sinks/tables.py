"""Tables and figures of sinks, from recorded facts and rules alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from steerlab.analyzers.sinks.facts import SPACES, SinkFacts, SinkRules
from steerlab.analyzers.sinks.parts import TYPES
from steerlab.numerics.sink_classes import CLASSES, gini, heads_carrying, transition, type_shares
from steerlab.report import Plot, Table

MEDIANS = ("mass", "ratio_out", "ratio_head", "stable_rank", "update_norm")


def sink_tables(facts: SinkFacts, rules: SinkRules, least: float) -> dict[str, Table]:
    """Every table of a report on sinks; other rules give other tables from the same facts.

    Parameters
    ----------
    facts : SinkFacts
        What was recorded; `SinkFacts.read` takes it from a saved report.
    rules : SinkRules
        When a head sinks, and what kind of sink it is.
    least : float
        Share of the inputs on which a head must sink to be given a class.

    Returns
    -------
    dict
        ``events`` (a row for every input, block and head), ``heads``, ``sinking heads`` (those with a class),
        ``blocks`` (the depth profile), ``sensitivity`` (to eps and the rule) and ``specialisation``.
    """
    heads = head_table(facts, rules, least)
    sinking = [i for i, kind in enumerate(heads["class"]) if kind != "none"]
    tables = {"events": event_table(facts, rules), "heads": heads}
    if sinking:
        tables["sinking heads"] = {
            name: values[sinking] if isinstance(values, torch.Tensor) else [values[i] for i in sinking]
            for name, values in heads.items()
        }
    profile = block_table(facts, rules)
    return tables | {
        "blocks": profile,
        "sensitivity": facts.sensitivity(rules),
        "specialisation": _specialisation(facts, rules),
    }


def event_table(facts: SinkFacts, rules: SinkRules) -> Table:
    """A row for every input, block and head, events or not, so that other rules need no rerun."""
    inputs, blocks, heads = facts.shape
    axes = torch.meshgrid(*(torch.arange(n) for n in facts.shape), indexing="ij")
    numbers = [int(block.rpartition(".")[2]) for block in facts.blocks]
    first = {"input": axes[0], "row": axes[1], "block": torch.tensor(numbers)[axes[1]], "head": axes[2]}
    found = {"event": facts.events(rules), "class": facts.classes(rules).to(torch.int8)}
    return {name: one.flatten() for name, one in (first | found | dict(facts.values)).items()}


def head_table(facts: SinkFacts, rules: SinkRules, least: float) -> Table:
    """A row a head: how often it sinks, its commonest class and token type, and medians over its events."""
    inputs, blocks, heads = facts.shape
    events, classes = facts.events(rules), facts.classes(rules)
    count = events.sum(0).flatten()
    kinds = _commonest(classes, events, range(1, len(CLASSES)))
    types = _commonest(facts.values["sink_type"], events, range(len(TYPES)))
    enough = (count >= max(1.0, least * inputs)).tolist()
    places = [(block, head) for block in facts.blocks for head in range(heads)]
    medians = {
        name: facts.values[name].masked_fill(~events, torch.nan).nanmedian(0).values.flatten()
        for name in MEDIANS
    }
    return {
        "site": [f"{block}.heads.{head}" for block, head in places],
        "block": torch.tensor([int(block.rpartition(".")[2]) for block, _ in places]),
        "head": torch.tensor([head for _, head in places]),
        "events": count,
        "rate": count / inputs,
        "class": [CLASSES[kind] if on else CLASSES[0] for kind, on in zip(kinds, enough, strict=True)],
        "type": [TYPES[kind] if n else "" for kind, n in zip(types, count.tolist(), strict=True)],
        **medians,
        "mass of all inputs": facts.values["mass"].nanmean(0).flatten(),
        "first strength of all inputs": facts.values["first_strength"].nanmean(0).flatten(),
    }


def block_table(facts: SinkFacts, rules: SinkRules) -> Table:
    """A row a block: events an input, shares by token type (the depth profile) and by class."""
    events, classes = facts.events(rules), facts.classes(rules)
    inputs = facts.shape[0]
    types = type_shares(events, facts.values["sink_type"], len(TYPES))
    table = {
        "site": list(facts.blocks),
        "block": torch.tensor([int(block.rpartition(".")[2]) for block in facts.blocks]),
        "events an input": events.sum((0, 2)) / inputs,
    }
    table |= {name: types[:, i] for i, name in enumerate(TYPES)}
    return table | {
        f"{name} an input": (classes == i).sum((0, 2)) / inputs for i, name in enumerate(CLASSES) if i
    }


def _specialisation(facts: SinkFacts, rules: SinkRules) -> Table:
    """How few heads sink, and where sinks move from the class token to patches."""
    events = facts.events(rules)
    counts = events.sum(0).flatten()
    shares = type_shares(events, facts.values["sink_type"], len(TYPES))
    later = shares[[not block.endswith("blocks.0") for block in facts.blocks]]  # its sinks are another thing
    moved = transition(later, TYPES.index("cls"), TYPES.index("patches"))
    skipped = len(shares) - len(later)
    rows = {
        "Gini coefficient of the rates of heads": gini(counts),
        "heads that carry 80 % of the events": float(heads_carrying(counts)),
        "heads": float(counts.numel()),
        "first later block with more patch than class token sinks": (
            torch.nan if moved is None else float(moved + skipped)
        ),
        "share of heads with a first token strength above 0.3": float(
            (facts.values["first_strength"] > 0.3).float().mean()
        ),
        "mass of a sink logit": float(facts.values["virtual_mass"].mean()),
    }
    return {"what": list(rows), "value": torch.tensor(list(rows.values()), dtype=torch.float64)}


def sink_plots(tables: dict[str, Table], rules: SinkRules) -> dict[str, Plot]:
    """The depth profile, the rate of every head, and the heads that sink by rank and value ratio."""
    profile = tables["blocks"]
    kinds = [name for name in TYPES if bool((profile[name].nan_to_num() > 0).any())]
    plots = {
        "rate": Plot(
            "head grid",
            "heads",
            "share of inputs on which each head sinks",
            {"value": "rate", "label": "share of inputs"},
        )
    }
    if not kinds:
        return plots
    block = {"x": "block", "x label": "block", "x ticks": "whole"}
    plots["depth"] = Plot(
        "lines",
        "blocks",
        "what sinks are, block by block",
        block | {"y": ",".join(kinds), "y label": "share of the sink events"},
    )
    plots["classes"] = Plot(
        "lines",
        "blocks",
        "sinks of each class, block by block",
        block
        | {"y": ",".join(f"{name} an input" for name in CLASSES[1:]), "y label": "sink events an input"},
    )
    if "sinking heads" in tables:
        plots["heads"] = Plot(
            "scatter",
            "sinking heads",
            "heads that sink: medians over their events",
            {
                "x": "stable_rank",
                "x label": "stable rank of the update",
                "y": SPACES[rules.norm_space],
                "y label": "value norm, sink over others",
                "y reference": f"{rules.no_op:g}",
                "y reference label": "no-op below",
                "classes": "class",
                "names": "site",
            },
        )
    return plots


def _commonest(values: torch.Tensor, on: torch.Tensor, among: Sequence[int]) -> list[int]:
    """The value that a head most often has where it counts."""
    counts = torch.stack([((values == one) & on).sum(0).flatten() for one in among])
    return [among[i] for i in counts.argmax(0).tolist()]
