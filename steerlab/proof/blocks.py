"""The proof of a block: the stream is the sum of what attention and MLP add to it."""

from __future__ import annotations

import torch
from torch import nn

from steerlab.families.family import child
from steerlab.layouts import Layout
from steerlab.proof.attentions import prove_attention
from steerlab.proof.findings import Findings, Part, distance, same, tolerance
from steerlab.recording import Recording, Seen
from steerlab.sites import Site


def prove_block(findings: Findings, part: Part, seen: Recording) -> None:
    """Note the points of one block, and withdraw what the forward does not bear out."""
    block, place, tower = part.module, part.place, part.tower
    inside = seen[block]
    if inside.given is None or inside.gave is None:
        findings.refuse(place, "*", f"{type(block).__name__} never ran in the proving forward")
        return
    findings.add(place, "resid_pre", block, "input", tower=tower)
    total = inside.given
    sequential = len(part.row.attentions) == 1
    for name, row in part.row.attentions.items():
        where = f"{place}.{name}" if name else place
        found = prove_attention(findings, part, where, row, seen)
        if found is None:
            total = None
            continue
        module, _ = found
        adds = child(block, row.add) if row.add and child(block, row.add) is not None else module
        if seen[adds].gave is None or total is None or seen[adds].gave.shape != inside.given.shape:
            total = None
        else:
            total = total + seen[adds].gave
        findings.add(where, "attn", adds, "output", tower=tower)
    added = _prove_mlp(findings, part, inside, seen)
    findings.add(place, "resid", block, "output", tower=tower)
    _prove_sum(findings, part, total, added, inside, sequential, seen)


def _prove_mlp(findings: Findings, part: Part, inside: Seen, seen: Recording) -> torch.Tensor | None:
    """Note what the MLP adds and its hidden units; returns what it added."""
    block, place, row = part.module, part.place, part.row
    mlp = child(block, row.mlp_add) if row.mlp_add else None
    mlp = child(block, row.mlp) if mlp is None else mlp
    if mlp is None:
        for stream in ("mlp", "mlp.act"):
            findings.refuse(place, stream, f"no module {row.mlp!r} here")
        return None
    gave = seen[mlp].gave
    flat = Layout(flat=gave is not None and gave.ndim < inside.given.ndim)
    facts = {"layout": flat, "anchor": block if flat.flat else None, "tower": part.tower}
    findings.add(place, "mlp", mlp, "output", **facts)
    last = next((m for path in row.mlp_last if (m := child(block, path)) is not None), None)
    if last is not None:
        findings.add(place, "mlp.act", last, "input", **facts)
    elif row.mlp_last:
        findings.refuse(place, "mlp.act", f"no module {' or '.join(map(repr, row.mlp_last))} here")
    else:
        findings.refuse(place, "mlp.act", "its experts are one fused call; use mlp, or module:<path>")
    return gave


def _prove_sum(findings, part, total, added, inside, sequential, seen) -> None:
    """The stream is the sum of what was added; and between the two it is where the second norm reads."""
    place, block = part.place, part.module
    names = [f"{place}.{name}" if name else place for name in part.row.attentions]
    off = None
    if total is not None and added is not None and inside.gave is not None:
        off = distance(total + added.reshape(total.shape), inside.gave)
    if off is None or off > max(1e-3, tolerance(inside.gave)):
        reason = "the block does not add it to the stream as it is"
        reason += "" if off is None else f" (resid is off resid_pre + attn + mlp by {off:.1e})"
        for name in names:
            findings.withdraw(name, "attn", reason)
        if added is None or not any(same(seen[m].given, inside.gave - added) for m in _below(block)):
            findings.withdraw(place, "mlp", reason)
        findings.refuse(place, "resid_mid", reason)
        return
    if not sequential:
        findings.refuse(place, "resid_mid", "the block has several attentions; use attn and mlp")
        return
    if not any(same(seen[m].given, total) for m in _below(block)):
        findings.refuse(
            place, "resid_mid", "attention and MLP are parallel: nothing reads the stream between"
        )
        return
    # a module that is given the block's own input: it shows that input after every edit of it
    first = next((m for m in _below(block) if seen[m].given_the_tensor_of(inside)), block)
    attn = findings.known[Site(place, "attn")]
    findings.add(
        place, "resid_mid", attn.module, "output", layout=Layout("sum"), anchor=first, tower=part.tower
    )


def _below(block: nn.Module) -> list[nn.Module]:
    return [module for module in block.modules() if module is not block]
