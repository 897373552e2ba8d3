"""Tiny pipelines under test: seeded runs, and hand-written hooks that see what denoiser and scheduler see."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
import torch

SMALL = {"height": 16, "width": 16, "output_type": "latent"}
SITE = {"sd": "unet.noise", "sdxl": "unet.noise", "pixart": "transformer.noise"}


def denoiser(pipe: Any) -> torch.nn.Module:
    return pipe.transformer if hasattr(pipe, "transformer") else pipe.unet


@contextmanager
def seen(pipe: Any) -> Iterator[dict[str, list[torch.Tensor]]]:
    """What the denoiser is given and gives, and what the scheduler is told, each in order."""
    found: dict[str, list[torch.Tensor]] = {"latent": [], "noise": [], "guided": []}
    scheduler, step = pipe.scheduler, pipe.scheduler.step

    @functools.wraps(step)  # pipelines look at the signature
    def told(guided: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        found["guided"].append(guided.clone())
        return step(guided, *args, **kwargs)

    def forward(module: Any, args: tuple, kwargs: dict, output: Any) -> None:
        given = args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))
        found["latent"].append(given.clone())
        found["noise"].append((output[0] if isinstance(output, tuple) else output.sample).clone())

    handle = denoiser(pipe).register_forward_hook(forward, with_kwargs=True)
    scheduler.step = told
    try:
        yield found
    finally:
        handle.remove()
        del scheduler.step


def generate(pipe: Any, inputs: dict[str, Any], **changes: Any) -> torch.Tensor:
    """The final latents of a seeded run."""
    kwargs = {**inputs, **SMALL, **changes}
    kwargs.setdefault("generator", torch.Generator().manual_seed(3))
    pipe.set_progress_bar_config(disable=True)
    return pipe(**{name: value for name, value in kwargs.items() if value is not ...}).images


def observe(pipe: Any, inputs: dict[str, Any], **changes: Any) -> dict[str, list[torch.Tensor]]:
    """One run seen by hand-written hooks, with the final latents under ``"image"``."""
    with seen(pipe) as found:
        found["image"] = [generate(pipe, inputs, **changes)]
    return found


def with_scheduler(pipe: Any, name: str, **settings: Any) -> Any:
    """A pipeline of the same parts with another scheduler."""
    kind = getattr(diffusers, name)
    parts = {**pipe.components, "scheduler": kind.from_config(pipe.scheduler.config, **settings)}
    made = type(pipe)(**parts, **({"requires_safety_checker": False} if "safety_checker" in parts else {}))
    made.set_progress_bar_config(disable=True)
    return made
