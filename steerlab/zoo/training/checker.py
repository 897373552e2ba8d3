"""Train and measure `shapes-checker`, which learns from renderings alone."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from steerlab.zoo import scenes
from steerlab.zoo.checker import QUESTIONS, Checker, answer, judge, read_checker
from steerlab.zoo.training.loop import fit

__all__ = ["evaluate", "train"]

STEPS, BATCH, RATE = 1500, 64, 2e-3
HELD_OUT = 4000


def train(folder: Path) -> None:
    """Train the checker from nothing and write ``config.json`` and ``model.safetensors``.

    Parameters
    ----------
    folder : Path
        Where the files go.
    """
    torch.manual_seed(0)
    checker = Checker().train()

    def loss(generator: torch.Generator) -> torch.Tensor:
        shown = scenes.random_scenes(BATCH, generator)
        logits = checker(roughen(scenes.render(shown, generator), generator))
        return sum(
            F.cross_entropy(logits[question], _targets(shown, question), ignore_index=-1)
            for question in QUESTIONS
        )

    fit(
        checker,
        loss,
        steps=STEPS,
        rate=RATE,
        checkpoint=folder.with_name(folder.name + "-training") / "all.pt",
    )
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().half().contiguous() for name, value in checker.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(checker.config, indent=1) + "\n")


def evaluate(folder: Path) -> dict[str, float]:
    """Measure the share of right answers on renderings it has not seen, clean and roughened.

    Parameters
    ----------
    folder : Path
        The model's folder.

    Returns
    -------
    dict
        A share a question, such as ``colour``, and ``rough_colour`` for blurred and noisy pictures.
    """
    checker = read_checker(folder)
    generator = torch.Generator().manual_seed(10_000_019)
    shown = scenes.random_scenes(HELD_OUT, generator)
    pictures = scenes.render(shown, generator)
    rough = torch.cat([roughen(part, generator) for part in pictures.split(BATCH)])
    clean_shares = judge(pictures, checker).agreement(shown)
    rough_shares = {f"rough_{name}": share for name, share in judge(rough, checker).agreement(shown).items()}
    return {name: round(share, 4) for name, share in (clean_shares | rough_shares).items()}


def roughen(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur, brighten and add noise, a little and at random: ``[picture, 3, row, column]`` in and out.

    The pictures that the checker is for were decoded from latents and are not quite as sharp as renderings.
    """
    count = len(pictures)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    planes = F.pad(pictures.flatten(0, 1)[:, None], (2, 2, 2, 2), mode="replicate")
    blurred = F.conv2d(planes, torch.outer(kernel, kernel)[None, None]).view_as(pictures)
    blurred = torch.lerp(pictures, blurred, uniform(0.0, 1.0))
    noise = torch.randn(pictures.shape, generator=generator)
    return (uniform(0.92, 1.08) * blurred + uniform(0.0, 0.04) * noise).clamp(0, 1)


def _targets(shown: list[scenes.Scene], question: str) -> torch.Tensor:
    options = list(QUESTIONS[question])
    truths = [answer(scene, question) for scene in shown]
    return torch.tensor([-1 if truth is None else options.index(truth) for truth in truths])
