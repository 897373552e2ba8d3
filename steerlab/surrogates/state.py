"""Where the training of a surrogate stands: weights and AdamW's moments, in one file that it goes on from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from steerlab.errors import SteerlabError

_FILE = "surrogate.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(eq=False)
class Standing:
    """A training between two steps.

    Parameters
    ----------
    blocks : ModuleList
        What is trained.
    stage, done : int
        The stage, 1 or 2, and the steps done in it.
    losses : list of float
        The loss at every step so far.
    """

    blocks: nn.ModuleList
    stage: int = 1
    done: int = 0
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.anew()

    def anew(self) -> None:
        """Forget the moments, as a stage begins; one optimiser a block, so that each is clipped alone."""
        self.optimisers = [torch.optim.AdamW(block.parameters()) for block in self.blocks]

    def moments(self) -> dict[str, torch.Tensor]:
        """AdamW's moments by the name of their parameter."""
        found = {}
        for number, (block, optimiser) in enumerate(zip(self.blocks, self.optimisers, strict=True)):
            for name, parameter in block.named_parameters():
                for moment in _MOMENTS:
                    if parameter in optimiser.state:
                        found[f"{moment}.{number}.{name}"] = optimiser.state[parameter][moment]
        return found


def save(standing: Standing, folder: Path, asked: dict[str, object]) -> None:
    """Write weights, moments and, as JSON in the header, the rest: in one move."""
    tensors = {f"weights.{name}": t.detach() for name, t in standing.blocks.state_dict().items()}
    tensors |= {name: moment.contiguous() for name, moment in standing.moments().items()}
    kept = {"stage": standing.stage, "done": standing.done, "losses": standing.losses, "asked": asked}
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / (_FILE + ".new")
    save_file(tensors, fresh, metadata={"training": json.dumps(kept)})
    fresh.replace(folder / _FILE)


def resume(standing: Standing, folder: Path, asked: dict[str, object]) -> None:
    """Go on from what a folder keeps, in place; a folder of another training is refused."""
    path = folder / _FILE
    if not path.exists():
        return
    try:
        with safe_open(path, framework="pt") as file:
            kept = json.loads(file.metadata()["training"])
            # cloned, because sums round by where a tensor lies in memory, and fresh ones lie aligned
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except (SafetensorError, TypeError, KeyError, ValueError) as fault:
        raise SteerlabError(
            f"{path} is no training to go on from ({fault}); delete it to begin anew"
        ) from None
    known, asked = kept["asked"], json.loads(json.dumps(asked))
    other = sorted(name for name in {*known, *asked} if known.get(name) != asked.get(name))
    if other:
        told = ", ".join(f"{name} {known.get(name)!r} there, {asked.get(name)!r} here" for name in other)
        raise SteerlabError(f"{path} belongs to another training ({told}); name another folder")
    weights = {n.removeprefix("weights."): t for n, t in tensors.items() if n.startswith("weights.")}
    standing.blocks.load_state_dict(weights)
    standing.stage, standing.done, standing.losses = kept["stage"], kept["done"], kept["losses"]
    for number, (block, optimiser) in enumerate(zip(standing.blocks, standing.optimisers, strict=True)):
        for name, parameter in block.named_parameters():
            found = {m: tensors.get(f"{m}.{number}.{name}") for m in _MOMENTS}
            if None not in found.values():
                optimiser.state[parameter] = {"step": torch.tensor(float(standing.done)), **found}
