"""Where inputs come into a model: who describes the tokens of a tower, and what to call for some towers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from steerlab.clock import Entrance
from steerlab.errors import SteerlabError, listing
from steerlab.families import Family
from steerlab.signatures import parameter_names


def entrances_of(
    module: Any, family: Family, processor: Any, roots: Mapping[str, nn.Module]
) -> dict[str, Entrance]:
    """The entrance of each tower, by prefix."""
    return {prefix: _entrance_of(module, family, processor, (prefix, root)) for prefix, root in roots.items()}


def _entrance_of(module: Any, family: Family, processor: Any, tower: tuple[str, nn.Module]) -> Entrance:
    prefix, root = tower
    describe = family.towers[prefix].tokens
    if processor is None:  # a pipeline has a tokenizer for each of its encoders
        processor = getattr(module, prefix.replace("text_encoder", "tokenizer") or "-", None)
    return Entrance(root, lambda inputs: describe(root, inputs, processor))


def what_to_call(
    module: Any, family: Family, towers: Collection[str], kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """The model, or the one tower that is asked for, with the inputs that it takes."""
    entrance = family.entrances.get(next(iter(towers))) if len(towers) == 1 else None
    if entrance is None:
        return module, kwargs
    run = getattr(module, entrance)
    names, (tower,) = parameter_names(run), towers
    if names[0] not in kwargs:
        raise SteerlabError(f"the {tower} tower needs {names[0]}; the inputs hold {listing(kwargs)}")
    return run, {name: value for name, value in kwargs.items() if name in names}
