"""What can be done about sinks: silencing, gating, redirecting and masking, each a plain intervention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from steerlab.edits import Clamp, Scale, Zero
from steerlab.intervention import Changes, Intervention
from steerlab.model import Model
from steerlab.report import Table
from steerlab.sites import Site
from steerlab.store import made_on

NEVER = -1e9  # a score that gets no attention, and that files and half precision hold
KEYS = ("cls", "registers", "first")  # types whose tokens a scope knows by name


def heads_of_class(table: Table, kind: str) -> list[Site]:
    """Single heads of a class, from the table ``"heads"``."""
    return [Site.parse(site) for site, own in zip(table["site"], table["class"], strict=True) if own == kind]


def on_heads(heads: Iterable[Site], edit: object, stream: str = "heads") -> Changes:
    """One edit at several heads, a site a block."""
    blocks: dict[str, list[str]] = {}
    for head in heads:
        blocks.setdefault(head.place, []).append(head.heads)
    return {f"{place}.{stream}.{','.join(numbers)}": edit for place, numbers in blocks.items()}


def redirected(heads: Iterable[Site], keys: object) -> Changes:
    """Scores at some keys set so low that all other keys share the attention.

    The first query of a text sees the first token alone, so it keeps what it has.
    """
    edit = Clamp(high=NEVER)
    scoped = edit.on(keys=keys, exclude="first") if keys == "first" else edit.on(keys=keys)
    return on_heads(heads, scoped, "scores")


def sink_interventions(model: Model, table: Table) -> dict[str, Intervention]:
    """Interventions by name, for the classes and token types that were found.

    No-op heads are silenced, or gated by one half, which stands in for a gate before the output projection
    (arXiv 2505.06708; a constant one is our own). Heads whose sinks are mostly class token, registers or
    first token are redirected away from it, where the remaining keys share the attention, or masked, where
    what went to the sink is lost, as if its value were zero.
    """
    found = {}
    for kind in ("no-op", "broadcast"):
        heads = heads_of_class(table, kind)
        if heads:
            about = f"{len(heads)} {kind} heads set to zero"
            found[f"silence the {kind} heads"] = made_on(model, on_heads(heads, Zero()), about)
    no_ops = heads_of_class(table, "no-op")
    if no_ops:
        half = made_on(model, on_heads(no_ops, Scale(0.5)), f"{len(no_ops)} no-op heads at one half")
        found["gate the no-op heads"] = half
    for keys, heads in heads_by_type(table).items():
        what = f"{len(heads)} heads whose sink is mostly {keys}"
        away = made_on(model, redirected(heads, keys), f"{what}: no attention to it, the rest shares")
        without = made_on(
            model, on_heads(heads, Zero().on(keys=keys), "pattern"), f"{what}: its share is lost"
        )
        found |= {f"redirect from {keys}": away, f"mask {keys}": without}
    return found


def heads_by_type(table: Table) -> Mapping[str, list[Site]]:
    """Heads that have a class, by the type of their commonest sink, where a scope knows it by name."""
    found: dict[str, list[Site]] = {}
    for site, own, kind in zip(table["site"], table["class"], table["type"], strict=True):
        if own != "none" and kind in KEYS:
            found.setdefault(kind, []).append(Site.parse(site))
    return found


def random_heads(table: Table, apart: list[Site], seed: int) -> list[Site]:
    """As many heads as `apart` from the same blocks, or from any where those have too few others."""
    taken = {str(site) for site in apart}
    others = [Site.parse(site) for site in table["site"] if site not in taken]
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = [others[i] for i in order]
    chosen: list[Site] = []
    for site in apart:
        same = [one for one in shuffled if one.place == site.place and one not in chosen]
        rest = [one for one in shuffled if one not in chosen]
        chosen += same[:1] or rest[:1]
    return chosen
