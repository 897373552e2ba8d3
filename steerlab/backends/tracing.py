"""One nnsight trace: the model to trace, the block that runs, and where it runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import nnsight
import torch
from nnsight.intervention.backends.local import LocalSimulationBackend
from nnsight.intervention.interleaver import OutOfOrderError
from nnsight.modeling.mixins.remotable import Remotable
from torch import nn

from steerlab.backends.acts import Act, acted, tally
from steerlab.errors import SteerlabError
from steerlab.foreign import is_nnsight
from steerlab.model import Model
from steerlab.receipts import Entry

Jobs = dict[tuple[nn.Module, str], list[Act]]


def trace(model: Any, inputs: dict[str, Any], jobs: Jobs, entries: list[Entry], remote: bool | str) -> tuple:
    """One trace: a worker for each side of each module, and one for the result."""
    if model.interleaver.interleaving:
        raise SteerlabError(
            "this nnsight model is inside a trace already; call this outside of `with model.trace(...)`"
        )
    # by identity: on an nnsight model a submodule called "output" goes by another name
    envoys = {id(vars(envoy)["_module"]): envoy for envoy in model.modules()}
    sides = [(envoys[id(module)], side, acts) for (module, side), acts in jobs.items()]
    where = _where(model, remote)
    output, reads, numbers = None, {}, []
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # `tracer.iter[:]` stands for every call of a module; nnsight warns at the end of each such loop
            warnings.filterwarnings("ignore", message=".*was never reached: the loop asked for a step")
            # nnsight reads this block again from its source, line by line: in it stand no comments, no empty
            # lines and no statements of several lines
            with model.trace(**where) as tracer:
                reads = nnsight.save({})
                stash = {}
                with tracer.invoke(**inputs):
                    pass
                for envoy, side, acts in sides:
                    with tracer.invoke():
                        for _ in tracer.iter[:]:
                            given = envoy.inputs if side == "input" else envoy.output
                            gone = acted(acts, given, reads, stash)
                            if gone is not given and side == "input":
                                envoy.inputs = gone
                            if gone is not given and side == "output":
                                envoy.output = gone
                with tracer.invoke():
                    output = nnsight.save(tracer.result)
                    numbers = nnsight.save(tally(entries))
    except OutOfOrderError as fault:
        raise SteerlabError(f"an edited or read module never ran in this forward: {fault}") from None
    return output, reads, numbers


def _where(model: Any, remote: bool | str) -> dict[str, Any]:
    """The keywords of ``model.trace`` that say where it runs."""
    if not remote:
        return {}
    # an installed package travels by name otherwise, and the server does not have it
    nnsight.register("steerlab")
    if isinstance(model, Remotable):
        return {"remote": remote}
    # `trace` of a plain NNsight would hand `remote` on to the model's forward
    return {"backend": LocalSimulationBackend(_Persistent(model))}


@dataclass(frozen=True, eq=False)
class _Persistent:
    """A plain NNsight model with the one method that the simulated request asks of it."""

    model: Any

    def _remoteable_persistent_objects(self) -> dict[str, Any]:
        return Remotable._remoteable_persistent_objects(self.model)


@contextmanager
def traceable(model: Model, remote: bool | str) -> Iterator[Any]:
    """The user's nnsight model, or one around the module that is taken off again."""
    held = model.held
    if is_nnsight(held) and held.parent is None:
        if remote is True and not isinstance(held, Remotable):
            raise SteerlabError(_unnamed(held))
        yield held
        return
    if remote is True:
        raise SteerlabError(_unnamed(held))
    names = ("forward", "__nnsight__", "_persistent_id")
    before = [(m, {name: vars(m)[name] for name in names if name in vars(m)}) for m in model.module.modules()]
    try:
        with warnings.catch_warnings():
            # envoys are found by the identity of their modules here, so their names do not matter
            warnings.filterwarnings("ignore", message=".*which nnsight already serves on every module")
            traced = nnsight.NNsight(model.module)
        yield traced
    finally:
        for module, had in before:
            for name in names:
                vars(module).pop(name, None)
            vars(module).update(had)


def _unnamed(held: Any) -> str:
    return (
        f"remote=True: NDIF runs checkpoints that it can name, and {type(held).__name__} is a module of this "
        "process; wrap nnsight.TransformersModel(repo_id, dispatch=True)"
    )
