"""A family's row, proved on one tiny forward: which sites exist, and which are refused and why."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from steerlab import attention
from steerlab.errors import SteerlabError
from steerlab.families.family import Attention, Block, Denoiser, Family, Tower, attribute, child
from steerlab.layouts import Layout
from steerlab.numerics.attention import attention_pattern, mix_values
from steerlab.points import Point, Points, canonical_shape, modules_above
from steerlab.recording import Recording, evaluating, recording
from steerlab.sites import Site


@dataclass(eq=False)
class Part:
    """One block of a tower with the row that describes it."""

    place: str
    module: nn.Module
    row: Block
    tower: str


@dataclass(eq=False)
class Findings:
    """Points proved so far and refusals with their reasons."""

    model: Any
    known: dict[Site, Point] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, place: str, stream: str, module: nn.Module, side: str, **facts: Any) -> None:
        """Note a point."""
        site = Site(place, stream)
        self.known[site] = Point(site, module, side, **facts)

    def refuse(self, place: str, stream: str, reason: str) -> None:
        """Note why a site does not exist."""
        self.refused[str(Site(place, stream))] = reason


def tower_root(model: Any, prefix: str, tower: Tower | Denoiser) -> nn.Module | None:
    """The module that is a tower, or None where this model lacks it."""
    if isinstance(tower, Denoiser):
        return getattr(model, prefix, None)
    model = model if isinstance(model, nn.Module) else getattr(model, prefix, None)
    if model is None:
        return None
    for path in tower.roots:
        path = getattr(model, "base_model_prefix", "") if path == "base" else path
        root = child(model, path)
        if root is not None and any(child(root, blocks) is not None for blocks in tower.blocks):
            return root
    return None


def prove(model: Any, family: Family) -> tuple[Points, dict[str, nn.Module]]:
    """Run the row's tiny forwards and keep what they show.

    Returns
    -------
    points : Points
        The sites that exist, in order, and the refused ones with their reasons.
    roots : dict
        Tower prefix -> module whose inputs describe the tokens.
    """
    title = type(model).__name__
    roots = {prefix: tower_root(model, prefix, tower) for prefix, tower in family.towers.items()}
    roots = {prefix: root for prefix, root in roots.items() if root is not None}
    if family.towers and not roots:
        raise SteerlabError(
            f"{title} is named by the family {family.name!r}, but none of its block lists is there; "
            "pass family=Family(...) to wrap(), or family='plain' for module paths alone"
        )
    findings = Findings(model)
    parts = [p for prefix, root in roots.items() for p in _parts(prefix, root, family.towers[prefix])]
    holder = module_holder(model)
    seen = _record(model, family, holder)
    for prefix, root in roots.items():
        _prove_entrance(findings, prefix, root, family.towers[prefix], parts, seen)
        for part in (p for p in parts if p.tower == prefix):
            _prove_block(findings, part, seen)
        if isinstance(family.towers[prefix], Tower):
            _prove_outside(findings, prefix, root, family.towers[prefix], model, seen)
    _keep_what_fired(findings, holder, seen)
    return Points(holder, title, findings.known, findings.refused), roots


def module_holder(model: Any) -> nn.Module:
    """A module under which every part of the model has its path."""
    if isinstance(model, nn.Module):
        return model
    holder = nn.Module()
    for name, part in model.components.items():
        if isinstance(part, nn.Module):
            holder.add_module(name, part)
    return holder


def _record(model: Any, family: Family, holder: nn.Module) -> Recording:
    modules = list(holder.modules())
    attentions = [m for m in modules if hasattr(m, "config") and attention.uses_table(m)]
    with recording(modules, attentions) as seen:
        for module, kwargs in family.proving(model):
            with evaluating(module):
                try:
                    module(**kwargs)
                except Exception as fault:
                    raise SteerlabError(
                        f"the proving forward of family {family.name!r} failed on {type(module).__name__}: "
                        f"{type(fault).__name__}: {fault}"
                    ) from fault
    return seen


def _parts(prefix: str, root: nn.Module, tower: Tower | Denoiser) -> list[Part]:
    if isinstance(tower, Denoiser):
        return [
            Part(f"{place}.blocks.{k}" if place else f"{prefix}.blocks.{k}", block, tower.block, prefix)
            for place, module in denoiser_places(prefix, root, tower)
            for k, block in enumerate(child(module, tower.blocks) or ())
        ]
    blocks = next(child(root, path) for path in tower.blocks if child(root, path) is not None)
    start = f"{prefix}.blocks" if prefix else "blocks"
    return [Part(f"{start}.{i}", block, tower.block, prefix) for i, block in enumerate(blocks)]


def denoiser_places(prefix: str, root: nn.Module, tower: Denoiser) -> list[tuple[str, nn.Module]]:
    """Named places of a denoiser and their modules, in the order of the paths."""
    found = []
    for place, path in tower.places.items():
        if not path:
            found.append(("", root))
            continue
        for i in range(16 if "{i}" in path else 1):
            for j in range(16):
                module = child(root, path.format(i=i, j=j))
                if module is not None:
                    found.append((f"{prefix}.{place.format(i=i, j=j)}", module))
    return found


def _prove_entrance(findings, prefix, root, tower, parts, seen) -> None:
    if isinstance(tower, Denoiser):
        grid = Layout(grid=True)
        findings.add(prefix, "latent", root, "input", layout=grid, tower=prefix)
        for place, module in denoiser_places(prefix, root, tower):
            if place:
                findings.add(place, "resid_pre", module, "input", layout=grid, tower=prefix)
                difference = Layout("difference", grid=True)
                findings.add(place, "update", module, "output", layout=difference, anchor=module, tower=prefix)
                findings.add(place, "resid", module, "output", layout=grid, tower=prefix)
        findings.add(prefix, "noise", root, "output", layout=grid, tower=prefix)
    if isinstance(tower, Tower) or "" in tower.places:
        first = next(part for part in parts if part.tower == prefix)
        findings.add(prefix, "embed", first.module, "input", tower=prefix)


def _prove_outside(findings, prefix, root, tower, model, seen) -> None:
    top = model if isinstance(model, nn.Module) else getattr(model, prefix)
    for stream, paths in tower.outside.items():
        for path in paths:
            module = child(top, path[1:]) if path.startswith("/") else child(root, path)
            if module is not None:
                findings.add(prefix, stream, module, "output", tower=prefix)
                break


def _prove_block(findings: Findings, part: Part, seen: Recording) -> None:
    block, place, tower = part.module, part.place, part.tower
    inside = seen[block]
    findings.add(place, "resid_pre", block, "input", tower=tower)
    total = inside.given
    sequential = len(part.row.attentions) == 1
    for name, row in part.row.attentions.items():
        where = f"{place}.{name}" if name else place
        module, out = child(block, row.module), child(block, row.out)
        if module is None or out is None:
            findings.refuse(where, "heads", f"no module {row.out if module is not None else row.module!r} here")
            total = None
            continue
        adds = child(block, row.add) if row.add and child(block, row.add) is not None else module
        if seen[adds].gave is None or total is None or seen[adds].gave.shape != inside.given.shape:
            total = None
        else:
            total = total + seen[adds].gave
        findings.add(where, "attn", adds, "output", tower=tower)
        _prove_attention(findings, part, where, row, module, out, seen)
    mlp = child(block, part.row.mlp_add) if part.row.mlp_add else child(block, part.row.mlp)
    mlp = mlp if mlp is not None else child(block, part.row.mlp)
    flat = Layout(flat=seen[mlp].gave is not None and seen[mlp].gave.ndim < inside.given.ndim)
    anchor = block if flat.flat else None
    findings.add(place, "mlp", mlp, "output", layout=flat, anchor=anchor, tower=tower)
    last = next((m for path in part.row.mlp_last if (m := child(block, path)) is not None), None)
    if last is not None:
        findings.add(place, "mlp.act", last, "input", layout=flat, anchor=anchor, tower=tower)
    elif not part.row.mlp_last:
        findings.refuse(place, "mlp.act", "its experts are one fused call; use mlp, or module:<path>")
    findings.add(place, "resid", block, "output", tower=tower)
    _prove_sum(findings, part, total, seen[mlp].gave, inside, sequential, seen)


def _prove_sum(findings, part, total, added, inside, sequential, seen) -> None:
    """The stream is the sum of what was added; and between the two it is where the second norm reads."""
    place, block = part.place, part.module
    names = [f"{place}.{name}" if name else place for name in part.row.attentions]
    off = None
    if total is not None and added is not None and inside.gave is not None:
        off = _distance(total + added.reshape(total.shape), inside.gave)
    if off is None or off > 1e-3:
        reason = "the block does not add it to the stream as it is"
        reason += "" if off is None else f" (resid is off resid_pre + attn + mlp by {off:.1e})"
        for name in names:
            _withdraw(findings, name, "attn", reason)
        if added is None or not any(_same(seen[m].given, inside.gave - added) for m in _below(block)):
            _withdraw(findings, place, "mlp", reason)
        findings.refuse(place, "resid_mid", reason)
        return
    if not sequential:
        findings.refuse(place, "resid_mid", "the block has several attentions; use attn and mlp")
        return
    if not any(_same(seen[m].given, total) for m in _below(block)):
        findings.refuse(place, "resid_mid", "attention and MLP are parallel: nothing reads the stream between")
        return
    # a module that is given the block's own input: it shows that input after every edit of it
    first = next((m for m in _below(block) if seen[m].given_itself is inside.given_itself), block)
    attn = findings.known[Site(place, "attn")]
    findings.add(
        place, "resid_mid", attn.module, "output", layout=Layout("sum"), anchor=first, tower=part.tower
    )


def _below(block: nn.Module) -> list[nn.Module]:
    return [module for module in block.modules() if module is not block]


def _withdraw(findings: Findings, place: str, stream: str, reason: str) -> None:
    findings.known.pop(Site(place, stream), None)
    findings.refuse(place, stream, reason)


def _prove_attention(findings, part, where, row: Attention, module, out, seen) -> None:
    if row.projections:
        _prove_projected(findings, part, where, row, module, out, seen)
        return
    callers = [m for m in module.modules() if m in seen.calls]
    if not callers:
        for stream in ("heads", "q", "k", "v", "scores", "pattern"):
            findings.refuse(where, stream, f"{type(module).__name__} does not call transformers' attention table")
        return
    caller = callers[0]
    call, output = seen.calls[caller][-1]
    heads = Layout(heads=call.q.shape[1])
    rebuilt = output.reshape(seen[out].given.shape)
    if not _same(rebuilt, seen[out].given, 1e-5):
        findings.refuse(where, "heads", "the input of the output projection is not what the heads wrote")
    else:
        findings.add(where, "heads", out, "input", layout=heads, tower=part.tower)
    for stream in "qkv":
        findings.add(
            where, stream, caller, stream, layout=Layout(swapped=True), tower=part.tower,
            shape=tuple(getattr(call, stream).transpose(1, 2).shape),
        )  # fmt: skip
    try:
        scores = call.scores()
        mixed = mix_values(attention_pattern(scores, call.sinks()), call.v).transpose(1, 2)
        off = _distance(mixed, output.reshape(mixed.shape))
        reason = f"pattern times values is off the heads by {off:.1e}" if off > _tolerance(output) else ""
    except SteerlabError as fault:
        reason = str(fault)
    for stream in ("scores", "pattern"):
        if reason:
            findings.refuse(where, stream, reason)
        else:
            findings.add(where, stream, caller, stream, tower=part.tower, shape=tuple(scores.shape))


def _prove_projected(findings, part, where, row: Attention, module, out, seen) -> None:
    count = int(attribute(part.module, row.heads))
    if len(row.projections) == 1:
        layouts = [Layout(part=(i, 3), heads=count) for i in range(3)]
        sources = [child(part.module, row.projections[0])] * 3
    else:
        layouts = [Layout(heads=count)] * 3
        sources = [child(part.module, path) for path in row.projections]
    if any(source is None for source in sources):
        reason = f"its projections are not at {', '.join(row.projections)} (fused?)"
        for stream in ("q", "k", "v", "scores", "pattern"):
            findings.refuse(where, stream, reason)
        sources = []
    findings.add(where, "heads", out, "input", layout=Layout(heads=count), tower=part.tower)
    if not sources or any(seen[source].gave is None for source in sources):
        return
    for stream, source, layout in zip("qkv", sources, layouts, strict=True):
        findings.add(where, stream, source, "output", layout=layout, tower=part.tower)
    q, k, v = zip(sources, layouts, strict=True)
    projected = attention.Projected(module, q, k, v, out)
    stash = {source: seen[source].gave for source in sources} | {module: {}}
    parts = projected.parts(stash)
    scores = attention.attention_scores(parts[0], parts[1], scale=parts[0].shape[-1] ** -0.5)
    mixed = mix_values(attention_pattern(scores), parts[2]).transpose(1, 2).flatten(2)
    off = _distance(mixed, seen[out].given)
    for stream in ("scores", "pattern"):
        if off > _tolerance(mixed):
            findings.refuse(where, stream, f"pattern times values is off the heads by {off:.1e}")
        else:
            findings.add(
                where, stream, module, stream, projected=projected, tower=part.tower, shape=tuple(scores.shape)
            )


def _keep_what_fired(findings: Findings, holder: nn.Module, seen: Recording) -> None:
    """Complete the points with what the forward showed; drop those that never fired."""
    paths = {module: path for path, module in holder.named_modules()}
    for site, point in list(findings.known.items()):
        above = modules_above(holder, paths[point.module])
        if point.side not in ("input", "output"):
            findings.known[site] = dataclasses.replace(point, above=above)
            continue
        module = seen[point.module]
        raw = module.given if point.side == "input" else module.gave
        if raw is None:
            _withdraw(findings, site.place, site.stream, f"{type(point.module).__name__} never ran, or gave no tensor")
            continue
        anchor = None if point.anchor is None else seen[point.anchor].given
        findings.known[site] = dataclasses.replace(
            point,
            above=above,
            shape=canonical_shape(point, raw, anchor),
            fires=module.fires,
            volatile=module.overwritten(point.side),
        )


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).abs().max() / b.float().abs().max().clamp_min(1e-12))


def _tolerance(x: torch.Tensor) -> float:
    return 1e-4 if x.dtype == torch.float32 else 5e-2


def _same(a: torch.Tensor | None, b: torch.Tensor | None, within: float = 1e-4) -> bool:
    if a is None or b is None or a.numel() != b.numel() or a.dtype != b.dtype:
        return False
    return a.shape[-1] == b.shape[-1] and _distance(a.reshape(b.shape), b) <= within
