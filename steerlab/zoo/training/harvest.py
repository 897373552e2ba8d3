"""Activations that the zoo's dictionaries are trained and measured on, from data made with seeds alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from steerlab.activations import Activations
from steerlab.model import Model
from steerlab.scope import Scope
from steerlab.zoo import motion, scenes
from steerlab.zoo.training.corpus import written

__all__ = ["HARVESTS", "harvest"]

_TEXTS, _TEXTS_HELD_OUT = 12, 1  # batches of 128 texts that the model writes itself
_PICTURES, _CLIPS, _CAPTIONS = (1600, 300), (400, 80), (240, 40)  # to train on, to measure on
_STEPS, _GUIDANCE = 20, 3.0
_AT_ONCE = 40
_SEEDS = (40_000_001, 50_000_001)  # none of them is a seed of the models' own training or evaluation


def harvest(name: str, lm: Model, site: str, *, held_out: bool, folder: Path) -> torch.Tensor:
    """Read the activations of one site, or load them where they were kept.

    Parameters
    ----------
    name : str
        The model's name in the zoo.
    lm : Model
        The model.
    site : str
        What to read.
    held_out : bool
        Other data than those that are trained on.
    folder : Path
        Keeps the rows, and what they were read from.

    Returns
    -------
    Tensor
        ``[row, dim]`` in float16.
    """
    file = folder / f"{name}-{site}-{'held-out' if held_out else 'train'}.pt"
    if not file.exists():
        rows = torch.cat([rows.half() for rows in HARVESTS[name](lm, site, held_out, folder)])
        folder.mkdir(parents=True, exist_ok=True)
        fresh = file.with_suffix(".new")
        torch.save(rows, fresh)
        fresh.replace(file)
    return torch.load(file, weights_only=True, mmap=True)


def _texts(lm: Model, site: str, held_out: bool, folder: Path) -> Iterator[torch.Tensor]:
    """Every token of texts that the model wrote, but the first of each, whose activation is huge."""
    corpus = written(lm, _TEXTS + _TEXTS_HELD_OUT, folder / "corpus")
    for batch in tqdm(corpus[_TEXTS:] if held_out else corpus[:_TEXTS], desc="reading", disable=None):
        for ids, mask in zip(batch["input_ids"].split(32), batch["attention_mask"].split(32), strict=True):
            acts = lm.capture({"input_ids": ids.long(), "attention_mask": mask.long()}, at=site)
            yield acts[site][mask.bool() & (mask.cumsum(1) > 1)]


def _pictures(lm: Model, site: str, held_out: bool, folder: Path) -> Iterator[torch.Tensor]:
    """Class token and patches of pictures of shapes; the registers of a model that has some are left out."""
    generator = torch.Generator().manual_seed(_SEEDS[held_out])
    shown = scenes.random_scenes(_PICTURES[held_out], generator)
    for begin in tqdm(range(0, len(shown), _AT_ONCE), desc="reading", disable=None):
        pictures = scenes.render(shown[begin : begin + _AT_ONCE], generator)
        pixels = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
        acts = lm.capture([Image.fromarray(np.ascontiguousarray(one)) for one in pixels], at=site)
        yield _kept(acts, site).flatten(0, 1)


def _kept(acts: Activations, site: str) -> torch.Tensor:
    begin, end = acts.map_of(site).groups.get("registers", (0, 0))
    return torch.cat([acts[site][:, :begin], acts[site][:, end:]], dim=1)


def _clips(lm: Model, site: str, held_out: bool, folder: Path) -> Iterator[torch.Tensor]:
    """Every tube of clips of moving shapes."""
    generator = torch.Generator().manual_seed(_SEEDS[held_out])
    shown = motion.random_motions(_CLIPS[held_out], generator)
    for begin in tqdm(range(0, len(shown), _AT_ONCE), desc="reading", disable=None):
        clips = motion.render_motion(shown[begin : begin + _AT_ONCE], generator)
        yield lm.capture({"pixel_values": clips}, at=site)[site].flatten(0, 1)


def _drawings(lm: Model, site: str, held_out: bool, folder: Path) -> Iterator[torch.Tensor]:
    """Every place and step of the conditional branch, while pictures of captions are drawn."""
    generator = torch.Generator().manual_seed(_SEEDS[held_out])
    shown = scenes.random_scenes(_CAPTIONS[held_out], generator)
    captions = scenes.random_captions(shown, generator)
    how = {"steps": _STEPS, "guidance": _GUIDANCE, "at": site, "during": Scope(branch="cond")}
    for begin in tqdm(range(0, len(captions), _AT_ONCE), desc="drawing", disable=None):
        some = captions[begin : begin + _AT_ONCE]
        seeds = [_SEEDS[held_out] + begin + i for i in range(len(some))]
        made = lm.generate(some, seed=seeds, batch=_AT_ONCE, progress=False, **how)
        yield made.activations[site].flatten(0, 2)


HARVESTS: dict[str, Callable[[Model, str, bool, Path], Iterator[torch.Tensor]]] = {
    "smollm2": _texts,
    "shapes-vit": _pictures,
    "shapes-clip": _pictures,
    "motion-video": _clips,
    "shapes-sdxl": _drawings,
}
