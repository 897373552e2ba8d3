"""What one forward passes between modules: the raw material of a proof."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from steerlab import attention, taps
from steerlab.errors import SteerlabError
from steerlab.layouts import first_tensor


@dataclass(eq=False)
class Seen:
    """What one module was given and gave, and how often.

    `given` and `gave` are copies made at once; `given_itself` and `gave_itself` are the tensors
    themselves, which show after the forward whether the model wrote into them.
    """

    fires: int = 0
    given: torch.Tensor | None = None
    gave: torch.Tensor | None = None
    given_itself: torch.Tensor | None = None
    gave_itself: torch.Tensor | None = None

    def overwritten(self, side: str) -> bool:
        """Whether the tensor on this side was changed in place after the module was done."""
        copy = self.given if side == "input" else self.gave
        itself = self.given_itself if side == "input" else self.gave_itself
        return copy is not None and not torch.equal(copy, itself)


@dataclass(eq=False)
class Recording:
    """What the modules and attention calls of a forward did."""

    modules: dict[nn.Module, Seen] = field(default_factory=dict)
    calls: dict[nn.Module, list[tuple[attention.Call, torch.Tensor]]] = field(default_factory=dict)

    def __getitem__(self, module: nn.Module) -> Seen:
        return self.modules.get(module, Seen())


@contextmanager
def recording(modules: Iterable[nn.Module], attentions: Iterable[nn.Module]) -> Iterator[Recording]:
    """Record the inputs and outputs of `modules` and the attention calls of `attentions`."""
    seen = Recording()
    removers: list[Callable[[], None]] = []
    try:
        for module in dict.fromkeys(modules):
            removers.append(taps.before(module, _entered(seen, module)))
            removers.append(taps.after(module, _left(seen, module)))
        attentions = list(attentions)
        if attentions:
            removers.append(
                attention.watch(
                    attentions, lambda m, call, out: seen.calls.setdefault(m, []).append((call, out))
                )
            )
        yield seen
    finally:
        for remove in reversed(removers):
            remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and every module's mode and the random state as before."""
    modes = {module: module.training for module in model.modules()}
    state = torch.get_rng_state()
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        torch.set_rng_state(state)


def _entered(seen: Recording, module: nn.Module) -> Callable[[tuple, dict], None]:
    def look(args: tuple, kwargs: dict[str, Any]) -> None:
        one = seen.modules.setdefault(module, Seen())
        one.fires += 1
        one.given_itself = _tensor(args[0] if args else next(iter(kwargs.values()), None))
        one.given = None if one.given_itself is None else one.given_itself.clone()

    return look


def _left(seen: Recording, module: nn.Module) -> Callable[[tuple, dict, Any], None]:
    def look(args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        one = seen.modules[module]
        one.gave_itself = _tensor(output)
        one.gave = None if one.gave_itself is None else one.gave_itself.clone()

    return look


def _tensor(container: Any) -> torch.Tensor | None:
    try:
        return first_tensor(container)
    except SteerlabError:
        return None
