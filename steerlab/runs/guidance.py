"""Guidance: which branches a denoiser's batch holds, as data for each kind of pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Branches = tuple[str, ...]

PLAIN: Mapping[int, Branches] = {1: ("cond",), 2: ("uncond", "cond")}


def _perturbed(pipe: Any) -> Mapping[int, Branches]:
    """Perturbed-attention guidance repeats the conditional half, with or without an unconditional one."""
    if not pipe.do_perturbed_attention_guidance:
        return PLAIN
    return {2: ("cond", "perturbed"), 3: ("uncond", "cond", "perturbed")}


# class of the pipeline or an ancestor: how often the batch repeats the images -> branches in order
LAYOUTS: dict[str, Callable[[Any], Mapping[int, Branches]]] = {
    "PAGMixin": _perturbed,
    "StableDiffusionInstructPix2PixPipeline": lambda _: {1: ("cond",), 3: ("cond", "image", "uncond")},
    "StableDiffusionXLInstructPix2PixPipeline": lambda _: {1: ("cond",), 3: ("cond", "image", "uncond")},
}
# names that pipelines give to separate forwards
PASSES: dict[str, Branches] = {"cond_uncond": ("uncond", "cond"), "uncond_cond": ("uncond", "cond")}


def layout(pipe: Any, rows: int, images: int | None, guided: bool | None) -> tuple[Branches | None, str]:
    """The branches of a batch in order, or None and the reason why they are not known.

    Parameters
    ----------
    pipe : object
        The pipeline.
    rows, images : int
        Rows of the batch, and images that are made.
    guided : bool, optional
        Whether classifier-free guidance is on, where the pipeline says so.
    """
    name = type(pipe).__name__
    if images is None:
        return None, (
            f"outside of a call of {name} it is not known how a batch of {rows} holds images and branches"
        )
    if rows % images:
        return None, f"a batch of {rows} rows does not hold {images} images a whole number of times"
    if not _is_known(type(pipe)):
        return None, (
            f"{name} runs in a way of its own, so how its batch of {rows} holds images and branches is not "
            f"known; say it in steerlab.runs.guidance.LAYOUTS[{name!r}]"
        )
    known = next((LAYOUTS[cls.__name__] for cls in type(pipe).__mro__ if cls.__name__ in LAYOUTS), None)
    table = PLAIN if known is None else known(pipe)
    branches = table.get(rows // images)
    if known is None and branches is not None and guided is not None and guided != (len(branches) > 1):
        branches = None
    if branches is None:
        return None, (
            f"the denoiser's batch of {rows} holds {images} images {rows // images} times, with guidance "
            f"{'on' if guided else 'off'}; in which order {name} does so is not known, so "
            "branches and rows cannot be told apart"
        )
    return branches, ""


def _is_known(kind: type) -> bool:
    """Whether the loop is diffusers' own, or one whose layout somebody wrote down."""
    maker = next((cls for cls in kind.__mro__ if "__call__" in vars(cls)), kind)
    return maker.__module__.startswith("diffusers.") or kind.__name__ in LAYOUTS


def named_pass(name: str) -> Branches:
    """The branches of one separate forward, from the name that the pipeline or its guider gives it."""
    name = name.removeprefix("pred_")
    return PASSES.get(name, (name,))
