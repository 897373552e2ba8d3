"""Inputs that a recipe can name: texts, photographs, and the scenes and clips of the embedded models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from steerlab.errors import SteerlabError, nearest

MOST = 100_000  # of anything that is drawn: a slip of the hand, beyond
_DRAWN = 128  # pictures at once


class Inputs(Protocol):
    """What a recipe's ``[data]`` is."""

    def load(self, folder: Path) -> Any:
        """The inputs, as `Model.capture` takes them; paths are looked up in `folder`."""
        ...


@dataclass(frozen=True)
class Texts:
    """Texts for a language model, or captions for a pipeline.

    Parameters
    ----------
    texts : list of str
        At least one.
    """

    texts: Sequence[str]

    def __post_init__(self) -> None:
        some = self.texts if isinstance(self.texts, (list, tuple)) else []
        if not some or not all(isinstance(text, str) and text for text in some):
            raise SteerlabError(f"Texts: texts={self.texts!r}; give a list of texts")

    def load(self, folder: Path) -> list[str]:
        """The texts."""
        return list(self.texts)


@dataclass(frozen=True)
class Photos:
    """Image files beside the recipe.

    Parameters
    ----------
    files : list of str
        Paths inside the recipe's folder.
    """

    files: Sequence[str]

    def __post_init__(self) -> None:
        some = self.files if isinstance(self.files, (list, tuple)) else []
        if not some or not all(isinstance(name, str) and name for name in some):
            raise SteerlabError(f"Photos: files={self.files!r}; give a list of paths")

    def load(self, folder: Path) -> list[Any]:
        """PIL images in RGB."""
        from PIL import Image, UnidentifiedImageError

        images = []
        for name in self.files:
            path = inside(folder, name)
            try:
                with Image.open(path) as opened:
                    images.append(opened.convert("RGB"))
            except (UnidentifiedImageError, OSError) as fault:
                raise SteerlabError(f"{name} is not an image that can be read: {fault}") from None
        return images


@dataclass(frozen=True)
class Scenes:
    """Pictures of coloured shapes on textures, as the embedded models were trained on.

    Parameters
    ----------
    count, seed : int
        How many, and which.
    """

    count: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        _check_counted(self)

    def load(self, folder: Path) -> list[Any]:
        """PIL images."""
        from steerlab.zoo.scenes import random_scenes, render

        generator = torch.Generator().manual_seed(self.seed)
        return _pictures(render(random_scenes(self.count, generator), generator))


@dataclass(frozen=True)
class Curves:
    """Pictures of curved lines, of which the orientation in every patch is known.

    Parameters
    ----------
    count, seed : int
        How many, and which.
    side : int
        Pixels along an edge.
    """

    count: int = 64
    seed: int = 0
    side: int = 64

    def __post_init__(self) -> None:
        _check_counted(self)
        if isinstance(self.side, bool) or not isinstance(self.side, int) or not 16 <= self.side <= 1024:
            raise SteerlabError(f"Curves: side={self.side!r} is not a whole number from 16 to 1024")

    def load(self, folder: Path) -> list[Any]:
        """PIL images."""
        from steerlab.zoo.curves import random_arcs, render_arcs

        generator = torch.Generator().manual_seed(self.seed)
        arcs = random_arcs(self.count, generator)
        return _pictures(render_arcs(arcs, generator, self.side))

    def known(self, rows: int, columns: int) -> dict[str, tuple[torch.Tensor, float | None]]:
        """What is known of every patch ``[picture, row, column]``, and its period; nan where nothing is."""
        from steerlab.zoo.curves import random_arcs

        arcs = random_arcs(self.count, torch.Generator().manual_seed(self.seed))
        return {"orientation": (arcs.orientation(rows, columns), math.pi)}


@dataclass(frozen=True)
class Captioned:
    """Pictures of coloured shapes with their full captions, for models of images and text.

    Every scene comes once before any comes again, so the last 576 pictures have 576 captions.

    Parameters
    ----------
    count, seed : int
        How many, and which.
    """

    count: int = 576
    seed: int = 0

    def __post_init__(self) -> None:
        _check_counted(self)

    def load(self, folder: Path) -> tuple[list[str], list[Any]]:
        """Captions, and PIL images."""
        from steerlab.zoo.scenes import every_scene, render

        generator, scenes = torch.Generator().manual_seed(self.seed), every_scene()
        rounds = -(-self.count // len(scenes))
        order = torch.cat([torch.randperm(len(scenes), generator=generator) for _ in range(rounds)])
        chosen = [scenes[i] for i in order[-self.count :].tolist()]
        pictures = [
            picture
            for start in range(0, self.count, _DRAWN)
            for picture in _pictures(render(chosen[start : start + _DRAWN], generator))
        ]
        return [scene.caption() for scene in chosen], pictures


@dataclass(frozen=True)
class Clips:
    """Clips of one moving shape, as the embedded video model was trained on.

    Parameters
    ----------
    count, seed : int
        How many, and which.
    """

    count: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        _check_counted(self)

    def load(self, folder: Path) -> torch.Tensor:
        """Pixels ``[clip, frame, 3, row, column]`` in [0, 1]."""
        from steerlab.zoo.motion import random_motions, render_motion

        generator = torch.Generator().manual_seed(self.seed)
        return render_motion(random_motions(self.count, generator), generator)


INPUTS: dict[str, type] = {kind.__name__: kind for kind in (Texts, Photos, Scenes, Curves, Captioned, Clips)}


def _pictures(pixels: torch.Tensor) -> list[Any]:
    """Pixels ``[picture, 3, row, column]`` in [0, 1] as PIL images."""
    from PIL import Image

    return [Image.fromarray((255 * p.movedim(0, -1)).round().byte().numpy()) for p in pixels]


def inside(folder: Path, name: str) -> Path:
    """A path in a folder, refused where it leads out of it or to nothing."""
    root, path = folder.resolve(), (folder / name).resolve()
    if root not in (path, *path.parents):
        raise SteerlabError(f"{name!r} leads out of the recipe's folder; keep what a recipe needs beside it")
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SteerlabError(f"there is no {name!r} beside the recipe{nearest(path.name, beside)}")
    return path


def _check_counted(inputs: Any) -> None:
    for name, least in (("count", 1), ("seed", 0)):
        value = getattr(inputs, name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not least <= value <= (MOST if name == "count" else 2**63 - 1):
            kind = type(inputs).__name__
            raise SteerlabError(f"{kind}: {name}={value!r} is not a whole number from {least} on")
