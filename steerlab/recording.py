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
class Side:
    """The tensor that a module was given, or gave, and whether it was written into afterwards."""

    itself: torch.Tensor
    version: int
    copy: torch.Tensor | None

    @property
    def overwritten(self) -> bool:
        """Whether the model wrote into the tensor after it was recorded."""
        return self.itself._version != self.version

    @property
    def value(self) -> torch.Tensor:
        """The tensor as it was recorded, where copies were made."""
        return self.itself if self.copy is None else self.copy


@dataclass(eq=False)
class Seen:
    """What one module was given and gave, and how often."""

    fires: int = 0
    sides: dict[str, Side] = field(default_factory=dict)

    @property
    def given(self) -> torch.Tensor | None:
        """The stream that came in."""
        return self.sides["input"].value if "input" in self.sides else None

    @property
    def gave(self) -> torch.Tensor | None:
        """The stream that went out."""
        return self.sides["output"].value if "output" in self.sides else None

    def overwritten(self, side: str) -> bool:
        """Whether the tensor on this side was changed in place after the module was done."""
        return side in self.sides and self.sides[side].overwritten

    def given_the_tensor_of(self, other: Seen) -> bool:
        """Whether both were given one and the same tensor."""
        sides = [seen.sides.get("input") for seen in (self, other)]
        return None not in sides and sides[0].itself is sides[1].itself


@dataclass(eq=False)
class Recording:
    """What the modules and attention calls of a forward did."""

    modules: dict[nn.Module, Seen] = field(default_factory=dict)
    calls: dict[nn.Module, list[tuple[attention.Call, torch.Tensor]]] = field(default_factory=dict)

    def __getitem__(self, module: nn.Module) -> Seen:
        return self.modules.get(module, Seen())

    def overwritten(self) -> bool:
        """Whether the model wrote into anything that was recorded."""
        return any(side.overwritten for seen in self.modules.values() for side in seen.sides.values())


@contextmanager
def recording(
    modules: Iterable[nn.Module], attentions: Iterable[nn.Module], *, copies: bool = False
) -> Iterator[Recording]:
    """Record the inputs and outputs of `modules` and the attention calls of `attentions`.

    With ``copies=False`` tensors are kept as they are, which is right unless the model writes into them.
    """
    seen = Recording()
    removers: list[Callable[[], None]] = []
    try:
        for module in dict.fromkeys(modules):
            removers.append(taps.before(module, _entered(seen, module, copies)))
            removers.append(taps.after(module, _left(seen, module, copies)))
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
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    try:
        model.eval()
        # inference tensors do not tell whether they were written into
        with torch.random.fork_rng(devices), torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _entered(seen: Recording, module: nn.Module, copies: bool) -> Callable[[tuple, dict], None]:
    def look(args: tuple, kwargs: dict[str, Any]) -> None:
        one = seen.modules.setdefault(module, Seen())
        one.fires += 1
        _keep(one, "input", args[0] if args else next(iter(kwargs.values()), None), copies)

    return look


def _left(seen: Recording, module: nn.Module, copies: bool) -> Callable[[tuple, dict, Any], None]:
    def look(args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        _keep(seen.modules[module], "output", output, copies)

    return look


def _keep(seen: Seen, side: str, container: Any, copies: bool) -> None:
    try:
        tensor = first_tensor(container)
    except SteerlabError:
        return
    seen.sides[side] = Side(tensor, tensor._version, tensor.clone() if copies else None)
