"""Captioned pictures of coloured shapes on textures: what the embedded image models were trained on.

Everything about a picture is known: colour, shape, size, place and number of its objects. The shapes are
drawn from signed distances, so their edges are smooth and their area does not depend on the pixel grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

SIDE = 64

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.96, 0.55, 0.08),
    "yellow": (0.96, 0.90, 0.15),
    "green": (0.13, 0.63, 0.20),
    "cyan": (0.15, 0.80, 0.85),
    "blue": (0.13, 0.25, 0.86),
    "purple": (0.52, 0.16, 0.70),
    "pink": (0.98, 0.52, 0.74),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
SIZES: dict[str, tuple[float, float]] = {"small": (8.0, 10.5), "large": (14.0, 17.5)}  # radius in pixels
PLACES: dict[str, tuple[float, float]] = {  # centre in fractions of the side: across, down
    "center": (0.5, 0.5),
    "left": (0.28, 0.5),
    "right": (0.72, 0.5),
    "top": (0.5, 0.28),
    "bottom": (0.5, 0.72),
}
COUNTS = ("a", "two", "three")
TEXTURES = ("plain", "stripes", "checks", "noise", "slope")

# centres of two and three small objects, in fractions of the side
_TOGETHER = (((0.27, 0.5), (0.73, 0.5)), ((0.27, 0.29), (0.73, 0.29), (0.5, 0.73)))
_JITTER = 2.0


@dataclass(frozen=True)
class Scene:
    """What a picture shows; several objects are small, of one kind, and have no place."""

    colour: str
    shape: str
    size: str = "large"
    place: str = "center"
    count: int = 1

    def caption(self, *, size: bool = True, place: bool = True) -> str:
        """A sentence that is true of the picture; size and place may be left unsaid."""
        many = self.count > 1
        words = [COUNTS[self.count - 1]]
        words += [self.size] if size else []
        words += [
            self.colour,
            f"{self.shape}{'es' if self.shape == 'cross' else 's'}" if many else self.shape,
        ]
        if place and not many:
            words += ["in", "the", "center"] if self.place == "center" else ["on", "the", self.place]
        return " ".join(words)


def vocabulary() -> list[str]:
    """Every word that a caption may hold."""
    shapes = [Scene("red", shape, count=count).caption(size=False, place=False).split()[-1]
              for shape in SHAPES for count in (1, 2)]  # fmt: skip
    return [*COUNTS, *SIZES, *COLOURS, *shapes, "in", "on", "the", *PLACES]


def every_scene() -> list[Scene]:
    """Every scene there is, once: 576 with a caption of their own."""
    single = [
        Scene(colour, shape, size, place)
        for colour in COLOURS
        for shape in SHAPES
        for size in SIZES
        for place in PLACES
    ]
    many = [
        Scene(colour, shape, "small", "center", count)
        for colour in COLOURS
        for shape in SHAPES
        for count in range(2, len(COUNTS) + 1)
    ]
    return single + many


def random_scenes(count: int, generator: torch.Generator) -> list[Scene]:
    """Scenes with every attribute drawn evenly; two thirds show one object."""

    def draw(options: Sequence[str]) -> list[str]:
        return [options[i] for i in torch.randint(len(options), (count,), generator=generator).tolist()]

    colours, shapes, sizes, places = (
        draw(tuple(COLOURS)),
        draw(SHAPES),
        draw(tuple(SIZES)),
        draw(tuple(PLACES)),
    )
    counts = [max(1, number - 2) for number in torch.randint(1, 6, (count,), generator=generator).tolist()]
    return [
        Scene(colour, shape, size, place, number)
        if number == 1
        else Scene(colour, shape, "small", "center", number)
        for colour, shape, size, place, number in zip(colours, shapes, sizes, places, counts, strict=True)
    ]


def random_captions(scenes: Sequence[Scene], generator: torch.Generator) -> list[str]:
    """Captions that say size and place in about two of three cases each."""
    said = torch.rand(len(scenes), 2, generator=generator) < 0.67
    return [
        scene.caption(size=bool(size), place=bool(place))
        for scene, (size, place) in zip(scenes, said, strict=True)
    ]


def render(scenes: Sequence[Scene], generator: torch.Generator, side: int = SIDE) -> torch.Tensor:
    """Draw scenes, with some jitter, on random backgrounds: ``[scene, 3, row, column]``.

    Values lie in [0, 1].
    """
    images = backgrounds(len(scenes), generator, side)
    scale = side / SIDE
    for number in range(max((scene.count for scene in scenes), default=0)):
        chosen = [i for i, scene in enumerate(scenes) if scene.count > number]
        some = [scenes[i] for i in chosen]
        centres = torch.tensor([_centre(scene, number) for scene in some]) * side
        centres += scale * _JITTER * (2 * torch.rand(len(some), 2, generator=generator) - 1)
        low, high = torch.tensor([SIZES[scene.size] for scene in some]).unbind(1)
        radii = scale * (low + (high - low) * torch.rand(len(some), generator=generator))
        tints = torch.tensor([COLOURS[scene.colour] for scene in some])
        tints = (tints + 0.04 * (2 * torch.rand(len(some), 3, generator=generator) - 1)).clamp(0, 1)
        angles = 0.2 * (2 * torch.rand(len(some), generator=generator) - 1)
        cover = coverage([scene.shape for scene in some], centres, radii, angles, side)
        images[chosen] = torch.lerp(images[chosen], tints[:, :, None, None], cover[:, None])
    return images


def coverage(
    shapes: Sequence[str], centres: torch.Tensor, radii: torch.Tensor, angles: torch.Tensor, side: int = SIDE
) -> torch.Tensor:
    """How much of each pixel a shape covers, ``[shape, row, column]`` in [0, 1].

    Parameters
    ----------
    shapes : sequence of str
        Names out of `SHAPES`.
    centres : Tensor
        ``[shape, 2]``: across and down, in pixels.
    radii, angles : Tensor
        ``[shape]``: in pixels and in radians.
    side : int
        Pixels along an edge.
    """
    places = torch.arange(side) + 0.5
    x = places[None, None, :] - centres[:, 0, None, None]
    y = places[None, :, None] - centres[:, 1, None, None]
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    x, y = (cos * x + sin * y) / radii[:, None, None], (cos * y - sin * x) / radii[:, None, None]
    distance = torch.empty(len(shapes), side, side)
    for name in dict.fromkeys(shapes):
        mine = torch.tensor([shape == name for shape in shapes])
        distance[mine] = _DISTANCES[name](x[mine], y[mine])
    return (0.5 - distance * radii[:, None, None]).clamp(0, 1)


def backgrounds(count: int, generator: torch.Generator, side: int = SIDE) -> torch.Tensor:
    """Grey textures with a faint tint, ``[image, 3, row, column]``."""

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    angle, phase = uniform(count, 1, 1, high=math.pi), uniform(count, 1, 1, high=2 * math.pi)
    waves = 2 * math.pi * uniform(count, 1, 1, low=2, high=4.5)
    along = waves * (angle.cos() * x + angle.sin() * y) + phase
    across = waves * (angle.cos() * y - angle.sin() * x) + phase
    coarse = uniform(count, 1, side // 8, side // 8, low=-1)
    textures = {
        "plain": torch.zeros(count, side, side),
        "stripes": along.sin(),
        "checks": (along.sin() * across.sin() * 4).clamp(-1, 1),
        "noise": torch.nn.functional.interpolate(coarse, side, mode="bilinear", align_corners=False)[:, 0],
        "slope": 2 * (angle.cos() * (x - 0.5) + angle.sin() * (y - 0.5)),
    }
    kind = torch.randint(len(TEXTURES), (count,), generator=generator)
    pattern = torch.stack([textures[name] for name in TEXTURES])[kind, torch.arange(count)]
    grey, depth = uniform(count, 1, 1, low=0.25, high=0.75), uniform(count, 1, 1, low=0.05, high=0.15)
    tint = uniform(count, 3, 1, 1, low=-0.03, high=0.03)
    return ((grey + depth * pattern)[:, None] + tint).clamp(0, 1)


def _centre(scene: Scene, number: int) -> tuple[float, float]:
    return PLACES[scene.place] if scene.count == 1 else _TOGETHER[scene.count - 2][number]


# signed distances of shapes that fit a circle of radius 1 around the origin: negative inside


def _circle(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.hypot(x, y) - 0.9


def _ring(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (torch.hypot(x, y) - 0.72).abs() - 0.24


def _square(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.maximum(x.abs(), y.abs()) - 0.8


def _cross(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x, y = x.abs(), y.abs()
    upright = torch.maximum(x - 0.3, y - 0.95)
    return torch.minimum(upright, torch.maximum(y - 0.3, x - 0.95))


def _triangle(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    sides = 0.5 * math.sqrt(3) * x.abs() - 0.5 * y  # pointing up; the image's rows run down
    return torch.maximum(sides - 0.5, y - 0.5)


def _star(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    sector = 2 * math.pi / 5
    angle = torch.remainder(torch.atan2(x, -y) + sector / 2, sector) - sector / 2
    radius = torch.hypot(x, y)
    u, v = radius * angle.cos(), radius * angle.sin().abs()  # in one of five sectors, its tip at (1, 0)
    inner = 0.42
    du, dv = inner * math.cos(sector / 2) - 1.0, inner * math.sin(sector / 2)
    return ((u - 1.0) * dv - v * du) / math.hypot(du, dv)


_DISTANCES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
}
