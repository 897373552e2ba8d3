"""A family's row, proved on one tiny forward: which sites exist, and which are refused and why."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from steerlab import attention
from steerlab.errors import SteerlabError
from steerlab.families.family import Denoiser, Family, Tower, child
from steerlab.layouts import Layout
from steerlab.points import Points, canonical_shape, modules_above
from steerlab.proof.blocks import prove_block
from steerlab.proof.findings import Findings, Part
from steerlab.recording import Recording, evaluating, recording


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
    seen = _record(model, family, holder, copies=False)
    if seen.overwritten():  # a model that adds in place: what it was has to be copied in time
        seen = _record(model, family, holder, copies=True)
    for prefix, root in roots.items():
        _prove_entrance(findings, prefix, root, family.towers[prefix], parts, seen)
        for part in (p for p in parts if p.tower == prefix):
            prove_block(findings, part, seen)
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


def _record(model: Any, family: Family, holder: nn.Module, *, copies: bool) -> Recording:
    modules = list(holder.modules())
    attentions = [m for m in modules if hasattr(m, "config") and attention.uses_table(m)]
    with recording(modules, attentions, copies=copies) as seen:
        for module, kwargs in _forwards(model, family):
            with evaluating(module):
                try:
                    module(**kwargs)
                except Exception as fault:
                    raise SteerlabError(
                        f"the proving forward of family {family.name!r} failed on {type(module).__name__}: "
                        f"{type(fault).__name__}: {fault}"
                    ) from fault
    return seen


def _forwards(model: Any, family: Family) -> list[tuple[nn.Module, dict[str, Any]]]:
    try:
        return family.proving(model)
    except AttributeError as fault:
        raise SteerlabError(
            f"family {family.name!r} does not fit {type(model).__name__}: {fault}; leave family= out to "
            "have it found, or pass family='plain' for module paths alone"
        ) from fault


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
                findings.add(
                    place, "update", module, "output", layout=difference, anchor=module, tower=prefix
                )
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
            findings.withdraw(
                site.place, site.stream, f"{type(point.module).__name__} never ran, or gave no tensor"
            )
            continue
        anchor = None if point.anchor is None else seen[point.anchor].given
        findings.known[site] = dataclasses.replace(
            point,
            above=above,
            shape=canonical_shape(point, raw, anchor),
            fires=module.fires,
            volatile=module.overwritten(point.side) or raw.untyped_storage().nbytes() > raw.nbytes,
        )
