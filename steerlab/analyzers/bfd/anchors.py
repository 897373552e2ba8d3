"""Whether the position factor at the first block is the learned table of positions, patches shuffled."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from steerlab.analyzers.bfd.design import Design, count_of, part_of, shuffled
from steerlab.atoms.stream import prepared
from steerlab.keeping import kept
from steerlab.model import Model
from steerlab.numerics.anova import FactorMoments

STEADY = 1e-4  # of its size: what the embedding of positions may vary by between inputs


def anchor(model: Model, data: Any, design: Design, *, batch: int) -> dict[str, Any] | None:
    """A row a position: the cosine of its factor with its learned embedding, patches shuffled and not.

    The table is what the stream at the first block holds beyond the embedding of the patches. In pictures as
    they are the position factor also holds the mean patch at that place (a sky above, a subject in the
    middle); with the patches of each picture shuffled before positions are added it must become the centred
    table as inputs grow in number. None for models without learned additive positions of patches. The check
    is our own.
    """
    path = next((n for n, _ in model.module.named_modules() if n.endswith("patch_embeddings")), None)
    if path is None or len(design.grid) != 2:
        return None
    first = "blocks.0.resid_pre"
    table = _table(model, part_of(data, 0, 2), design, f"module:{path}", first)
    if table is None:
        return None

    def measure(mix: bool) -> torch.Tensor:
        moments = FactorMoments(diagonal=True)
        for start in range(0, count_of(data), batch):
            inputs = prepared(model, part_of(data, start, start + batch))
            if mix:
                inputs = _mixed(inputs, design, start)
            # the module of the embedding is not read here: a forward ends early after known sites alone
            moments.update(model.capture(inputs, first)[first][:, design.start : design.stop])
        return torch.nn.functional.cosine_similarity(moments.finalize().pos, table, dim=-1)

    names = {"pictures as they are": False, "patches shuffled": True}
    found = {name: kept(f"anchor {name} {batch}", partial(measure, mix)) for name, mix in names.items()}
    return {"position": torch.arange(design.positions), **found}


def _table(model: Model, few: Any, design: Design, *sites: str) -> torch.Tensor | None:
    """The centred embedding of positions, ``[position, dim]``, where it is the same in two inputs."""
    acts = model.capture(few, sites)
    patches, stream = acts[sites[0]], acts[sites[1]][:, design.start : design.stop]
    if patches.shape != stream.shape or len(stream) < 2:
        return None
    table = (stream - patches).double()
    size = table[0].norm()
    if not size > 0 or (table[0] - table[1]).norm() > STEADY * size:
        return None
    return table[0] - table[0].mean(0)


def _mixed(inputs: dict[str, Any], design: Design, seed: int) -> dict[str, Any]:
    """Pictures with the patches of each in an order of its own."""
    generator = torch.Generator().manual_seed(seed)
    mixed = dict(inputs)
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim == 4:
            rows, columns = design.grid
            high, wide = value.shape[2] // rows, value.shape[3] // columns
            parts = value.unfold(2, high, high).unfold(3, wide, wide)  # [b, c, rows, columns, h, w]
            flat = parts.flatten(2, 3).movedim(2, 1)
            order = torch.rand(len(value), rows * columns, generator=generator).argsort(1)
            back = shuffled(flat, order).movedim(1, 2).unflatten(2, (rows, columns))
            mixed[name] = back.permute(0, 1, 2, 4, 3, 5).reshape(value.shape)
    return mixed
