"""What a family is: a row of data that says where the parts of a model are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from steerlab.errors import SteerlabError
from steerlab.registry import Registry
from steerlab.tokens import TokenMap


@dataclass(frozen=True)
class Attention:
    """One attention of a block. Paths are below the block.

    Parameters
    ----------
    module : str
        The attention module.
    out : str
        Its output projection; the input of it is `heads`.
    add : str
        The module whose output is added to the stream; empty for the attention module itself.
    projections : tuple of str
        For attention outside transformers' table: modules that give queries, keys and values, or the
        one module that gives them side by side.
    heads : str
        For the same: attribute path of the number of heads.
    """

    module: str
    out: str
    add: str = ""
    projections: tuple[str, ...] = ()
    heads: str = ""


@dataclass(frozen=True)
class Block:
    """The parts of one block; each attention under its name, ``""`` where there is only one."""

    attentions: Mapping[str, Attention]
    mlp: str = "mlp"
    mlp_add: str = ""
    mlp_last: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tower:
    """One stack of blocks.

    Parameters
    ----------
    block : Block
        The parts of each block.
    blocks : tuple of str
        Path of the block list below the root; the first that exists counts.
    tokens : callable
        ``(root, inputs, processor) -> TokenMap or None``.
    roots : tuple of str
        Paths from the model to the module that is the tower; ``"base"`` stands for the model's own
        ``base_model_prefix``. The first below which the blocks exist counts.
    outside : mapping
        The streams outside blocks: stream -> paths from the root (or from the model, with a leading
        ``/``) of the module whose output it is.
    """

    block: Block
    blocks: tuple[str, ...]
    tokens: Callable[[nn.Module, Mapping[str, Any], Any], TokenMap | None]
    roots: tuple[str, ...] = ("", "base")
    outside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Denoiser:
    """A denoiser of a diffusers pipeline: maps at named places, each with transformer blocks inside.

    Parameters
    ----------
    block : Block
        The parts of each transformer block.
    places : mapping
        Place -> path, with ``{i}`` and ``{j}`` for numbers: ``{"down.{i}.{j}": "down_blocks.{i}..."}``.
    tokens : callable
        As in `Tower`.
    """

    block: Block
    places: Mapping[str, str]
    blocks: str
    tokens: Callable[[nn.Module, Mapping[str, Any], Any], TokenMap | None]


@dataclass(frozen=True)
class Family:
    """A row of the table of families.

    Parameters
    ----------
    name : str
        The family's name.
    types : tuple of str
        ``config.model_type`` or class names of the models it fits.
    towers : mapping
        Prefix (``""``, ``"vision"``, ``"unet"``) -> `Tower` or `Denoiser`. For a pipeline, prefixes are
        the names of its parts.
    proving : callable
        ``(model) -> [(module, kwargs), ...]``: the tiny forwards that prove the row.
    prepare : callable
        ``(inputs, processor, model) -> kwargs``: what users may pass instead of keyword arguments.
    entrances : mapping
        Prefix -> method that runs this tower alone, where the model has one.
    """

    name: str
    types: tuple[str, ...]
    towers: Mapping[str, Tower | Denoiser]
    proving: Callable[[Any], list[tuple[nn.Module, dict[str, Any]]]]
    prepare: Callable[[Any, Any, Any], dict[str, Any]]
    entrances: Mapping[str, str] = field(default_factory=dict)


FAMILIES: Registry[Family] = Registry("family", "steerlab.families")


def family_of(model: Any) -> Family | None:
    """The family whose row names this model's type, or None."""
    names = type_names(model)
    for family in FAMILIES.values():
        if set(names) & set(family.types):
            return family
    return None


def type_names(model: Any) -> list[str]:
    """The names by which a row may claim a model: its config's model type and its classes."""
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None) if isinstance(model, nn.Module) else None
    classes = [cls.__name__ for cls in type(model).__mro__]
    return [name for name in (model_type, *classes) if name]


def child(module: nn.Module, path: str) -> nn.Module | None:
    """The submodule at a dotted path, or None."""
    for name in filter(None, path.split(".")):
        module = module._modules.get(name) if isinstance(module, nn.Module) else None
        if module is None:
            return None
    return module


def attribute(module: Any, path: str) -> Any:
    """The attribute at a dotted path; a missing one is our mistake, or a model of another shape."""
    for name in path.split("."):
        if not hasattr(module, name):
            raise SteerlabError(f"{type(module).__name__} has no attribute {name!r} (looking for {path!r})")
        module = getattr(module, name)
    return module
