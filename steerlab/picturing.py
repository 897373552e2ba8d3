"""Pictures from a pipeline: a seed for each image, interventions, and what was read on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from steerlab import comparing
from steerlab.activations import Activations
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.intervention import Changes
from steerlab.reading import Reading
from steerlab.receipts import Receipt
from steerlab.scope import Scope
from steerlab.signatures import parameter_names

Edits = Changes | Sequence[Changes | None]


class Pipeline(Protocol):
    """What is needed of a held pipeline."""

    module: Any
    edit: Callable[..., Any]
    read: Callable[..., Reading]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images with what they were made from.

    Attributes
    ----------
    images : list
        PIL images, or latents where they were asked for.
    prompts, seeds : list
        One an image.
    receipt : Receipt
        What the edits did; empty without edits.
    activations : Activations or None
        What was read, in the order of the images.
    """

    images: list[Any]
    prompts: list[str]
    seeds: list[int]
    receipt: Receipt = field(default_factory=Receipt)
    activations: Activations | None = None

    def tensor(self) -> torch.Tensor:
        """The images as numbers in [0, 1], ``[image, 3, row, column]``."""
        if isinstance(self.images[0], torch.Tensor):
            return torch.stack(self.images)
        pixels = np.stack([np.asarray(image.convert("RGB")) for image in self.images])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        seeds = listing(self.seeds, 6)
        return f"Pictures({len(self)} of {listing(dict.fromkeys(self.prompts), 3)}; seeds {seeds})"


@dataclass(frozen=True)
class Settings:
    """How pictures are made, beside the prompt and the intervention.

    Parameters
    ----------
    seed : int or list of int
        One number gives image ``i`` the seed ``seed + i``; a list gives each image its own, and one prompt is
        then drawn for each. An image depends on its own seed alone, whatever batch it is made in.
    steps : int, optional
        Denoising steps.
    guidance : float, optional
        Strength of classifier-free guidance; 1 turns it off.
    at : site or list of sites, optional
        What to read while the images are made.
    during : Scope, optional
        The steps and the branch to read: ``Scope(steps="5:21", branch="cond")``.
    batch : int
        Images made at once.
    strict : bool
        Whether an edit that never fires is an error.
    progress : bool
        A bar over the batches, where there are several.
    """

    seed: int | Sequence[int] = 0
    steps: int | None = None
    guidance: float | None = None
    at: Any = None
    during: Scope | None = None
    batch: int = 8
    strict: bool = True
    progress: bool = True


def generate(
    model: Pipeline, prompt: str | Sequence[str], edit: Edits | None, options: Mapping[str, Any]
) -> Pictures:
    """Make pictures.

    Parameters
    ----------
    model : Pipeline
        The held pipeline.
    prompt : str or list of str
        What to draw.
    edit : dict, list of dicts, optional
        The intervention, or one for each image.
    options : mapping
        Fields of `Settings`, and keyword arguments of the pipeline's own call.
    """
    settings, rest = _settings(model.module, options)
    prompts, seeds = _each(prompt, settings.seed)
    if edit is not None and not isinstance(edit, Mapping) and len(edit) != len(prompts):
        raise SteerlabError(f"{len(edit)} interventions for {len(prompts)} images: give one for each")
    parts = [slice(i, i + settings.batch) for i in range(0, len(prompts), settings.batch)]
    images, receipt, read = [], Receipt(), []
    with ExitStack() as stack:
        if isinstance(edit, Mapping):  # one context for all batches, so one receipt
            receipt = stack.enter_context(model.edit(edit, strict=settings.strict))
        stack.enter_context(_quiet(model.module))
        for part in _shown(parts, settings.progress):
            with ExitStack() as inner:
                if edit is not None and not isinstance(edit, Mapping) and any(edit[part]):
                    own = inner.enter_context(model.edit(edit[part], strict=settings.strict))
                    receipt.entries += own.entries
                reading = None
                if settings.at is not None:
                    reading = inner.enter_context(model.read(settings.at, every=True, during=settings.during))
                images += _call(model.module, prompts[part], seeds[part], settings, rest)
            read += [reading.activations()] if reading is not None else []
    return Pictures(images, prompts, seeds, receipt, _together(read) if read else None)


def run_arms(model: Pipeline, kwargs: Mapping[str, Any], arms: Sequence[Changes | None]) -> comparing.Outcome:
    """Draw the same pictures once for each arm, in one batch and from the same noise.

    Parameters
    ----------
    model : Pipeline
        The held pipeline.
    kwargs : mapping
        ``prompt`` and the options of `generate`.
    arms : sequence
        An intervention or None for each arm.
    """
    options = dict(kwargs)
    prompts, seeds = _each(options.pop("prompt"), options.pop("seed", 0))
    rows, many = len(prompts), len(arms)
    each = [arm for arm in arms for _ in range(rows)]
    made = generate(model, prompts * many, each, {**options, "seed": seeds * many, "batch": rows * many})
    return comparing.Outcome(made.tensor(), None, made.receipt, rows)


def _settings(pipe: Any, options: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """Our own settings, and what goes on to the pipeline."""
    own = list(Settings.__dataclass_fields__)
    theirs = [name for name in parameter_names(type(pipe).__call__) if name != "self"]
    renamed = {"num_inference_steps": "steps", "guidance_scale": "guidance", "generator": "seed"}
    for name in options:
        if name in renamed:
            raise SteerlabError(f"generate: write {renamed[name]}= in place of {name}=")
        if name not in own and name not in theirs:
            raise SteerlabError(
                f"generate has no option {name!r}{nearest(name, [*own, *theirs])} (ours: {listing(own)}; "
                f"the rest are those of {type(pipe).__name__})"
            )
    settings = Settings(**{name: value for name, value in options.items() if name in own})
    return settings, {name: value for name, value in options.items() if name not in own}


def _each(prompt: str | Sequence[str], seed: int | Sequence[int]) -> tuple[list[str], list[int]]:
    """A prompt and a seed for each image."""
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if not prompts or not all(isinstance(one, str) for one in prompts):
        raise SteerlabError(f"a pipeline draws a prompt or a list of prompts, not {prompt!r}")
    if isinstance(seed, int):
        return prompts, [seed + i for i in range(len(prompts))]
    seeds = [int(one) for one in seed]
    if isinstance(prompt, str):
        prompts = prompts * len(seeds)
    if len(seeds) != len(prompts):
        raise SteerlabError(f"{len(seeds)} seeds for {len(prompts)} prompts: give one for each")
    return prompts, seeds


def _call(
    pipe: Any, prompts: list[str], seeds: list[int], settings: Settings, rest: Mapping[str, Any]
) -> list[Any]:
    """One call of the pipeline, with a generator for each image."""
    many = rest.get("num_images_per_prompt", 1)
    if many != 1:
        raise SteerlabError("generate: give a list of seeds in place of num_images_per_prompt=")
    own = {"num_inference_steps": settings.steps, "guidance_scale": settings.guidance}
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    kwargs = {name: value for name, value in own.items() if value is not None} | dict(rest)
    output = pipe(prompt=prompts, generator=generators, **kwargs)
    return list(output.images)


@contextmanager
def _quiet(pipe: Any) -> Iterator[None]:
    """The pipeline's own bar off: the batches have theirs."""
    before = getattr(pipe, "_progress_bar_config", None)
    pipe.set_progress_bar_config(**{**(before or {}), "disable": True})
    try:
        yield
    finally:
        if before is None:
            del pipe._progress_bar_config
        else:
            pipe._progress_bar_config = before


def _shown(parts: list[slice], progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(parts, desc="drawing", disable=None if progress and len(parts) > 1 else True)


def _together(read: list[Activations]) -> Activations:
    """Activations of several batches as one, along the batch axis."""
    if len(read) == 1:
        return read[0]
    first = read[0]
    tensors = {
        site: torch.cat([acts.tensors[site] for acts in read], first.axes[site].index("batch"))
        for site in first.tensors
    }
    return Activations(tensors, first.axes, first.maps, first.steps)
