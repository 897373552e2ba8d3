"""Where a training stands: weights, Adam's moments, and a file that it goes on from."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from steerlab.errors import SteerlabError
from steerlab.fitting.settings import Fitting

_DECAYS, _EPS = (0.9, 0.999), 1e-8
_FILE = "training.safetensors"


@dataclass(eq=False)
class State:
    """A training between two steps.

    Parameters
    ----------
    weights, first, second : dict
        What is trained, and Adam's moments of each.
    idle : Tensor
        Steps since each atom had a code, whole numbers ``[atom]``.
    done : int
        Steps done.
    """

    weights: dict[str, torch.Tensor]
    first: dict[str, torch.Tensor]
    second: dict[str, torch.Tensor]
    idle: torch.Tensor
    done: int = 0

    def step(self, rate: float) -> None:
        """One step of Adam (arXiv 1412.6980) along the gradients that the weights hold."""
        one, two = (1 - decay ** (self.done + 1) for decay in _DECAYS)
        with torch.no_grad():
            for name, weight in self.weights.items():
                slope, weight.grad = weight.grad, None
                self.first[name].lerp_(slope, 1 - _DECAYS[0])
                self.second[name].lerp_(slope.square_(), 1 - _DECAYS[1])
                length = (self.second[name] / two).sqrt_().add_(_EPS)
                weight.addcdiv_(self.first[name], length, value=-rate / one)


def begun(weights: dict[str, torch.Tensor]) -> State:
    """A training that has not made a step."""
    zeros = [{name: torch.zeros_like(weight) for name, weight in weights.items()} for _ in range(2)]
    atoms = len(weights["decoder"])
    idle = torch.zeros(atoms, dtype=torch.int32, device=weights["decoder"].device)
    return State({name: weight.requires_grad_() for name, weight in weights.items()}, *zeros, idle)


def save(state: State, folder: Path, asked: dict[str, object]) -> None:
    """Write the state as one file of tensors with JSON in its header, in one move."""
    parts = {"weights": state.weights, "first": state.first, "second": state.second}
    tensors = {f"{part}.{name}": t.detach() for part, some in parts.items() for name, t in some.items()}
    header = {"training": json.dumps({"done": state.done, "asked": asked})}
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / (_FILE + ".new")
    save_file(tensors | {"idle": state.idle}, fresh, metadata=header)
    fresh.replace(folder / _FILE)


def resume(state: State, folder: Path, asked: dict[str, object]) -> State:
    """The state that a folder keeps, or `state` where it keeps none; refused if it is of another training."""
    path = folder / _FILE
    if not path.exists():
        return state
    try:
        with safe_open(path, framework="pt", device=str(state.idle.device)) as file:
            kept = json.loads(file.metadata()["training"])
            # cloned, because sums round by where a tensor lies in memory, and fresh ones lie aligned
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except (SafetensorError, TypeError, KeyError, ValueError) as fault:
        raise SteerlabError(
            f"{path} is no training to go on from ({fault}); delete it to begin anew"
        ) from None
    known = kept["asked"]
    other = sorted(name for name in {*known, *asked} if known.get(name) != asked.get(name))
    if other:
        told = ", ".join(f"{name} {known.get(name)!r} there, {asked.get(name)!r} here" for name in other)
        raise SteerlabError(f"{path} belongs to another training ({told}); name another folder")
    names = list(state.weights)
    weights, first, second = (
        {name: tensors[f"{part}.{name}"] for name in names} for part in ("weights", "first", "second")
    )
    weights = {name: weight.requires_grad_() for name, weight in weights.items()}
    return State(weights, first, second, tensors["idle"], kept["done"])


def request(settings: Fitting, **more: object) -> dict[str, object]:
    """What was asked for, as JSON can hold it."""
    return dataclasses.asdict(settings) | more
