"""Tables of a factor decomposition: blocks with intervals, heads, modes, tokens that stand apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from steerlab.analyzers.bfd.gathering import Gathered, paired
from steerlab.analyzers.heads import block_of
from steerlab.numerics.anova import FactorModel, crossfitted_position
from steerlab.numerics.jackknife import jackknife
from steerlab.numerics.modes import (
    BIASES,
    PAIRS,
    Modes,
    data_modes,
    effective_ranks,
    factor_energies,
    factor_shares,
    head_types,
    specialisation,
)

Columns = dict[str, Any]
HeadModes = dict[tuple[str, int], Modes]


def block_shares(query: FactorModel, key: FactorModel) -> torch.Tensor:
    """Shares of a block, ``[4]``: energies are summed over its heads, so that strong heads count for more."""
    energies = {name: value.sum() for name, value in factor_energies(query, key).items()}
    return factor_shares(energies)


def blocks(found: Gathered, suffix: str = "") -> Columns:
    """A row a block: shares of energy with intervals, the same for shuffled positions, biases of keys."""
    rows: dict[str, list] = {}
    for place in found.places:
        names = [f"{place}.{side}{suffix}" for side in "qk"]
        sides = paired(*(found.model(name) for name in names))
        shares = block_shares(*sides)
        left = torch.stack([block_shares(*paired(*one)) for one in found.left_out(names)])
        low, high = jackknife(shares, left)
        row = {"site": place, "block": block_of(place)}
        for i, pair in enumerate(PAIRS):
            ends = (float(low[i].clamp(0, 1)), float(high[i].clamp(0, 1)))
            row |= {pair: float(shares[i]), f"{pair} low": ends[0], f"{pair} high": ends[1]}
        if not suffix:
            null = block_shares(*found.sides(place, " shuffled"))
            row |= {f"{pair} shuffled": float(null[i]) for i, pair in enumerate(PAIRS)}
        row |= _rest(found, place, sides)
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
    return {name: values if name == "site" else torch.tensor(values) for name, values in rows.items()}


def _rest(found: Gathered, place: str, sides: tuple[FactorModel, FactorModel]) -> dict[str, float]:
    """What stands beside the shares: the key's biases, relative to them, and the size of the logits."""
    energies = {name: float(value.sum()) for name, value in factor_energies(*sides).items()}
    whole = sum(energies[pair] for pair in PAIRS)
    heads, scale = len(sides[0].mu), found.layout.scales[place]
    return {f"{name} / four": energies[name] / whole for name in BIASES} | {
        "logit rms": scale * (whole / heads) ** 0.5
    }


def stream(found: Gathered) -> Columns:
    """A row a block: how much of what varies in the stream after it is position, by three estimators.

    Beside it the parts of content: ``scene``, what an input has at all positions, and ``local``, the rest.
    """
    rows: dict[str, list] = {"position": [], "position low": [], "position high": []}
    rows |= {"naive": [], "cross-fitted": [], "scene": [], "local": []}
    for place in found.places:
        name = f"{place}.resid"
        model = found.model(name)
        left = torch.stack([one[0].unbiased_share() for one in found.left_out([name])])
        low, high = jackknife(model.unbiased_share(), left)
        crossed = float(crossfitted_position(*found.halves(name)).sum())
        energies = model.energies()
        whole = float(energies["position"] + energies["content"])
        values = (model.unbiased_share(), low.clamp(0, 1), high.clamp(0, 1), model.share(), crossed / whole)
        values += (energies["scene"] / whole, energies["local"] / whole)
        for column, value in zip(rows, values, strict=True):
            rows[column].append(float(value))
    places = {"site": list(found.places), "block": torch.tensor([block_of(place) for place in found.places])}
    return places | {name: torch.tensor(values) for name, values in rows.items()}


def modes_of(found: Gathered) -> HeadModes:
    """Modes of every head, by place and number; ``sigma`` holds the attention's scale."""
    modes = {}
    for place in found.places:
        query, key = found.sides(place)
        for head in range(len(query.mu)):
            modes[place, head] = data_modes(query.at(head), key.at(head), unbiased=True)
    return modes


def heads(found: Gathered, modes: HeadModes) -> Columns:
    """A row a head: shares, type, specialisation and effective ranks."""
    columns: dict[str, list] = {}
    for place in found.places:
        sides = found.sides(place)
        energies = factor_energies(*sides)
        shares = factor_shares(energies)
        whole = sum(energies[pair] for pair in PAIRS)
        ranks = effective_ranks(torch.stack([modes[place, h].sigma for h in range(len(shares))]))
        rows = {
            "site": [f"{place}.heads.{h}" for h in range(len(shares))],
            "block": [block_of(place)] * len(shares),
            "head": list(range(len(shares))),
            **{pair: shares[:, i].tolist() for i, pair in enumerate(PAIRS)},
            "type": head_types(shares),
            "specialisation": specialisation(shares).tolist(),
            "logit rms": (found.layout.scales[place] * whole.sqrt()).tolist(),
            **{f"rank, {name}": value.tolist() for name, value in ranks.items()},
            "rank, numerical": [modes[place, h].rank for h in range(len(shares))],
        }
        for name, values in rows.items():
            columns.setdefault(name, []).extend(values)
    return {name: v if isinstance(v[0], str) else torch.tensor(v) for name, v in columns.items()}


def mode_rows(found: Gathered, modes: HeadModes, most: int) -> Columns:
    """A row a mode, the `most` strongest of each head."""
    columns: dict[str, list] = {}
    for (place, head), one in modes.items():
        share = one.sigma.square() / one.sigma.square().sum()
        some = min(most, max(one.rank, 1))
        rows = {
            "name": [f"{block_of(place)}.{head}.{m}" for m in range(some)],
            "site": [f"{place}.heads.{head}"] * some,
            "mode": list(range(some)),
            "sigma": (found.layout.scales[place] * one.sigma[:some]).tolist(),
            "share of the head": share[:some].tolist(),
            "query position": one.query_position[:some].tolist(),
            "key position": one.key_position[:some].tolist(),
            "type": one.types()[:some],
        }
        for name, values in rows.items():
            columns.setdefault(name, []).extend(values)
    return {name: v if isinstance(v[0], str) else torch.tensor(v) for name, v in columns.items()}


def spectra(found: Gathered, modes: HeadModes, most: int = 4) -> Columns:
    """Energies of modes by rank, a mean over heads, for a few blocks from the first to the last."""
    count = len(found.places)
    chosen = dict.fromkeys(round(i * (count - 1) / max(most - 1, 1)) for i in range(min(most, count)))
    table = {}
    for i in chosen:
        place = found.places[i]
        own = torch.stack([one.sigma for (where, _), one in modes.items() if where == place]).square()
        table[f"block {block_of(place)}"] = (own / own.sum(-1, keepdim=True)).mean(0)
    return table


def apart(found: Gathered) -> Columns:
    """A row a block, token that stands apart and direction: mean squares of the parts of its logits.

    For such a token "position" is a constant: its parts are a mean ``M`` and content ``C``. Here a key's mean
    counts, because it is this key's alone.
    """
    rows: dict[str, list] = {}
    for place in found.places:
        query, key = found.sides(place)
        whole = sum(factor_energies(query, key)[pair].sum() for pair in PAIRS)
        for special in found.layout.design.apart:
            alone = found.sides(place, f" {special}")
            for way, sides, names in (
                (f"patches to {special}", (query, alone[1]), ("CM", "CC", "PM", "PC")),
                (f"{special} to patches", (alone[0], key), ("MC", "MP", "CC", "CP")),
            ):
                energies = factor_energies(*sides, pairs=names)
                row = {"block": block_of(place), "way": way}
                parts = [float(energies[name].sum() / whole) for name in names]
                row |= dict(zip(_words(way.startswith("patches")), parts, strict=True))
                for name, value in row.items():
                    rows.setdefault(name, []).append(value)
    return {name: v if isinstance(v[0], str) else torch.tensor(v) for name, v in rows.items()}


def _words(to_special: bool) -> Sequence[str]:
    """Columns of both directions: what the patches' side is, times what the special token's is."""
    return (
        ("content x mean", "content x content", "position x mean", "position x content")
        if to_special
        else ("content x mean", "position x mean", "content x content", "position x content")
    )
