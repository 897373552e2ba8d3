"""An independent judge of pictures of shapes: which colour, shape, size, place and number it sees."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from steerlab.errors import SteerlabError
from steerlab.zoo import ZooModel, scenes

__all__ = ["WEIGHTS", "Checker", "Judgement", "judge", "load", "load_checker", "read_checker"]

WEIGHTS = Path(__file__).parent / "weights" / "shapes-checker"

QUESTIONS: dict[str, Sequence[str]] = {
    "colour": tuple(scenes.COLOURS),
    "shape": scenes.SHAPES,
    "size": tuple(scenes.SIZES),
    "place": tuple(scenes.PLACES),
    "count": scenes.COUNTS,
}


class Checker(nn.Module):
    """A small convolutional network with one linear answer a question.

    Parameters
    ----------
    widths : sequence of int
        Channels of the layers, each of which halves the picture's sides.
    hidden : int
        Width of the layer that all answers share.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 64), hidden: int = 96) -> None:
        super().__init__()
        self.config = {"widths": list(widths), "hidden": hidden}
        layers: list[nn.Module] = []
        for before, after in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
        self.features = nn.Sequential(*layers, nn.Flatten())
        spots = (scenes.SIDE >> len(widths)) ** 2
        self.shared = nn.Sequential(nn.Linear(widths[-1] * spots, hidden), nn.SiLU())
        self.answers = nn.ModuleDict({name: nn.Linear(hidden, len(of)) for name, of in QUESTIONS.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits ``[image, option]`` by question, of ``[image, 3, 64, 64]`` in [0, 1]."""
        hidden = self.shared(self.features(2 * images - 1))
        return {name: answer(hidden) for name, answer in self.answers.items()}


@dataclass(frozen=True)
class Judgement:
    """What the checker sees in each picture.

    Attributes
    ----------
    probabilities
        By question (colour, shape, size, place, count): ``[image, option]``, with the options of `QUESTIONS`.
        The place means nothing where there are several objects.
    """

    probabilities: dict[str, torch.Tensor]

    def names(self, question: str) -> list[str]:
        """The likeliest option for every picture."""
        best = self.probabilities[question].argmax(1).tolist()
        return [QUESTIONS[question][i] for i in best]

    @property
    def colours(self) -> list[str]:
        """The likeliest colour of every picture."""
        return self.names("colour")

    @property
    def shapes(self) -> list[str]:
        """The likeliest shape of every picture."""
        return self.names("shape")

    def agreement(
        self, asked: Sequence[scenes.Scene], captions: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Share of the pictures that show what was asked.

        Parameters
        ----------
        asked : sequence of Scene
            One scene a picture.
        captions : sequence of str, optional
            One a picture: a size or place that its caption leaves unsaid does not count.

        Returns
        -------
        dict
            A share a question, and ``all``: the share of pictures that are right in everything asked.
        """
        right: dict[str, list[bool]] = {name: [] for name in (*QUESTIONS, "all")}
        seen = {question: self.names(question) for question in QUESTIONS}
        for i, scene in enumerate(asked):
            wanted = {question: answer(scene, question) for question in QUESTIONS}
            for question in ("size", "place"):
                if captions is not None and wanted[question] not in captions[i].split():
                    wanted[question] = None
            told = {name: seen[name][i] == want for name, want in wanted.items() if want is not None}
            for name, hit in (told | {"all": all(told.values())}).items():
                right[name].append(hit)
        return {name: sum(hits) / len(hits) for name, hits in right.items() if hits}


def answer(scene: scenes.Scene, question: str) -> str | None:
    """The true answer to a question about a scene, None where it has none."""
    if question == "place" and scene.count > 1:
        return None
    return scenes.COUNTS[scene.count - 1] if question == "count" else getattr(scene, question)


def read_checker(folder: Path) -> Checker:
    """Read a checker from the two files that its training writes."""
    checker = Checker(**json.loads((folder / "config.json").read_text()))
    weights = load_file(folder / "model.safetensors")
    checker.load_state_dict({name: value.float() for name, value in weights.items()})
    return checker.eval().requires_grad_(False)


@lru_cache(maxsize=1)
def load_checker() -> Checker:
    """Load the checker that ships with the package; the same one every time, so leave it as it is."""
    return read_checker(WEIGHTS)


@torch.no_grad()
def judge(images: torch.Tensor, checker: Checker | None = None) -> Judgement:
    """Say what pictures show.

    Parameters
    ----------
    images : Tensor
        ``[image, 3, 64, 64]`` in [0, 1].
    checker : Checker, optional
        The one that ships with the package by default.

    Raises
    ------
    SteerlabError
        If the pictures have another size or layout.
    """
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, scenes.SIDE, scenes.SIDE):
        raise SteerlabError(f"the checker judges pictures [n, 3, 64, 64], not {list(images.shape)}")
    logits = (checker or load_checker())(images.detach().float().cpu())
    return Judgement({name: value.softmax(1) for name, value in logits.items()})


def load() -> ZooModel:
    """Load `shapes-checker`: the network, in float32, and its card."""
    return ZooModel(model=read_checker(WEIGHTS), processor=None, card=(WEIGHTS / "README.md").read_text())
