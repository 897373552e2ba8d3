"""Base and edited side by side in one batch, so that the intervention is the only difference."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from steerlab.editing import Arm, Editing
from steerlab.edits import Edit, RandomControl, Scoped
from steerlab.errors import SteerlabError
from steerlab.intervention import Changes, listed
from steerlab.keeping import keeper
from steerlab.layouts import first_tensor
from steerlab.numerics.divergence import kl_last, relative_change
from steerlab.receipts import Receipt
from steerlab.signatures import parameter_names


class Outcome(NamedTuple):
    """One forward whose batch held the inputs once for each arm."""

    tensor: torch.Tensor
    output: Any
    receipt: Receipt
    rows: int


RunArms = Callable[[Sequence[Changes | None]], Outcome]
Metric = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Comparison:
    """An effect beside what it must exceed to mean something.

    Attributes
    ----------
    effect : Tensor
        Metric between base and edited rows, ``[row]``.
    floor : Tensor
        The same between two copies of the base in the batch: the noise of the arithmetic, ``[row]``.
    controls : Tensor
        The same for random changes of equal size at the same entries, ``[control, row]``.
    base, edited : Tensor
        Outputs ``[row, ...]``.
    receipt : Receipt
        What the edits did.
    metric : str
        Name of the metric.
    """

    effect: torch.Tensor
    floor: torch.Tensor
    controls: torch.Tensor
    base: torch.Tensor
    edited: torch.Tensor
    receipt: Receipt
    metric: str

    @property
    def stands_out(self) -> bool:
        """Whether the mean effect exceeds the noise floor and every control."""
        controls = self.controls.mean(1).max() if self.controls.numel() else self.effect.new_zeros(())
        return bool(self.effect.mean() > self.floor.mean()) and bool(self.effect.mean() > controls)

    def __str__(self) -> str:
        effect, floor = float(self.effect.mean()), float(self.floor.mean())
        lines = [f"{self.metric}: effect {effect:.4g}, noise floor {floor:.2g}"]
        if self.controls.numel():
            means = self.controls.mean(1)
            lines.append(
                f"{len(means)} random controls of equal size: {float(means.mean()):.4g} "
                f"({float(means.min()):.4g} to {float(means.max()):.4g})"
            )
        return "\n".join([*lines, str(self.receipt)])


def compare(run: RunArms, intervention: Changes, metric: Metric | None, controls: int) -> Comparison:
    """Run base, base again, edited and controls as one batch, and measure each against the first."""
    controls = controls if can_be_controlled(intervention) else 0
    outcome = run([None, None, intervention, *(controlled(intervention, seed) for seed in range(controls))])
    name, default = default_metric(outcome.output)
    name = getattr(metric, "__name__", "metric") if metric else name
    parts = outcome.tensor.split(outcome.rows)
    values = [per_row(metric or default, parts[0], part) for part in parts[1:]]
    receipt = outcome.receipt
    return Comparison(
        effect=values[1],
        floor=values[0],
        controls=torch.stack(values[2:]) if controls else values[0].new_zeros(0, outcome.rows),
        base=parts[0],
        edited=parts[2],
        receipt=Receipt(receipt.entries[: len(receipt) // (1 + controls)]),
        metric=name,
    )


def sweep(
    run: RunArms, interventions: Sequence[Changes], metric: Metric | None, batch: int, progress: bool
) -> torch.Tensor:
    """Run interventions as arms, `batch` of them in a forward; effects ``[intervention, row]``."""
    from tqdm.auto import tqdm

    if isinstance(interventions, (Mapping, Edit, Scoped)):
        raise SteerlabError("sweep takes a list of interventions; for one of them write [{site: edit}]")
    if not interventions:
        raise SteerlabError("nothing to sweep: the list of interventions is empty")
    kept = keeper()
    call = kept.next_call(f"sweep {batch} {[str(one) for one in interventions]}") if kept else ""

    def effects_from(start: int) -> torch.Tensor:
        outcome = run([None, *interventions[start : start + batch]])
        chosen = metric or default_metric(outcome.output)[1]
        parts = outcome.tensor.split(outcome.rows)
        return torch.stack([per_row(chosen, parts[0], part) for part in parts[1:]])

    effects = []
    for start in tqdm(range(0, len(interventions), batch), desc="sweep", disable=None if progress else True):
        measure = functools.partial(effects_from, start)
        effects.append(kept.batch(call, start, measure) if kept else measure())
    return torch.cat(effects)


def controlled(intervention: Changes, seed: int) -> dict:
    """The same intervention with every edit replaced by a random one of equal size."""
    edits = listed(intervention)
    if any((e.edit if isinstance(e, Scoped) else e).changes_nothing for each in edits.values() for e in each):
        edits = copy.deepcopy(edits)  # what a transcoder hears on these rows is not what it hears on others

    def control(edit: Edit | Scoped) -> Edit | Scoped:
        if (edit.edit if isinstance(edit, Scoped) else edit).changes_nothing:
            return edit
        if isinstance(edit, Scoped):
            return Scoped(RandomControl(edit.edit, seed), edit.scope)
        return RandomControl(edit, seed)

    return {at: [control(edit) for edit in each] for at, each in edits.items()}


def can_be_controlled(intervention: Changes) -> bool:
    """Whether a random change of equal size makes sense: not for masks, whose size is infinite."""
    edits = [edit for each in listed(intervention).values() for edit in each]
    return not any((e.edit if isinstance(e, Scoped) else e).streams for e in edits)


def run_arms(
    kwargs: Mapping[str, Any],
    arms: Sequence[Changes | None],
    edit: Callable[[list[Arm]], Editing],
    call: Callable[[set[str], dict[str, Any]], tuple[Any, dict[str, Any]]],
) -> Outcome:
    """One forward whose batch holds the inputs once for each arm.

    Parameters
    ----------
    kwargs : mapping
        The model's inputs.
    arms : sequence
        An intervention or None for each arm.
    edit : callable
        Makes the context for some arms.
    call : callable
        What to call for the edited towers, and with what.
    """
    wide, rows = repeated(kwargs, len(arms))
    spans = arms_of(len(arms), rows)
    editing = edit([Arm(arm, span) for arm, span in zip(arms, spans, strict=True) if arm is not None])
    run, wide = call(editing.towers(), wide)
    if "logits" not in editing.streams():
        wide = last_logits_alone(run, wide)
    with editing as receipt, torch.no_grad():
        raw = run(**wide)
    return Outcome(main_output(raw, wide), raw, receipt, rows)


def repeated(kwargs: Mapping[str, Any], times: int) -> tuple[dict[str, Any], int]:
    """Keyword arguments with every batched tensor repeated along its rows, and the number of rows."""
    tensors = [value for value in kwargs.values() if isinstance(value, torch.Tensor) and value.ndim]
    if not tensors:
        raise SteerlabError("nothing to compare: the inputs hold no tensors")
    rows = tensors[0].shape[0]
    if any(tensor.shape[0] != rows for tensor in tensors):
        raise SteerlabError(f"the inputs differ in their number of rows: {[t.shape[0] for t in tensors]}")
    wide = {
        name: torch.cat([value] * times) if isinstance(value, torch.Tensor) and value.ndim else value
        for name, value in kwargs.items()
    }
    return wide, rows


def last_logits_alone(run: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The same call without the logits that `main_output` would drop, where the model can leave them out."""
    mask = kwargs.get("attention_mask")
    ends = mask is None or (isinstance(mask, torch.Tensor) and mask.ndim == 2 and bool(mask[:, -1].all()))
    takes = isinstance(run, nn.Module) and "logits_to_keep" in parameter_names(run.forward)
    return {**kwargs, "logits_to_keep": 1} if ends and takes else kwargs


def main_output(output: Any, kwargs: Mapping[str, Any]) -> torch.Tensor:
    """What a model is for: logits (at the last real token), embeddings or the last hidden state."""
    embeddings = [getattr(output, name, None) for name in ("image_embeds", "text_embeds")]
    if all(isinstance(embedding, torch.Tensor) for embedding in embeddings):
        return torch.cat(embeddings, dim=-1)  # two towers: a change of either counts
    for name in ("logits", "image_embeds", "text_embeds", "pooler_output", "last_hidden_state"):
        tensor = getattr(output, name, None)
        if isinstance(tensor, torch.Tensor):
            break
    else:
        tensor = first_tensor(output)
    mask = kwargs.get("attention_mask")
    if isinstance(mask, torch.Tensor) and tensor.ndim == 3 and mask.shape == tensor.shape[:2]:
        last = mask.shape[1] - 1 - mask.flip(1).long().argmax(dim=1)
        return tensor[torch.arange(len(last), device=tensor.device), last]
    return tensor[:, -1] if tensor.ndim == 3 and hasattr(output, "logits") else tensor


def default_metric(output: Any) -> tuple[str, Metric]:
    """KL for logits, relative change for everything else."""
    if isinstance(getattr(output, "logits", None), torch.Tensor):
        return "KL(base || edited)", kl_last
    return "relative change", relative_change


def per_row(metric: Metric, base: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The metric, checked to be one number a row."""
    value = metric(base, other)
    if not isinstance(value, torch.Tensor) or value.shape != base.shape[:1]:
        shape = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise SteerlabError(f"a metric returns one number a row, [{base.shape[0]}], not {shape}")
    return value


def arms_of(count: int, rows: int) -> Sequence[slice]:
    """The rows of each arm of a batch made by `repeated`."""
    return [slice(i * rows, (i + 1) * rows) for i in range(count)]
