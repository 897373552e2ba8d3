"""Hue as a ring in a vision model: steering goes through the hues between, read by soft prototypes."""

from __future__ import annotations

import colorsys
import math
from functools import cache

import torch

import steerlab as sl
from steerlab.bases import Manifold, Shape, fit_manifold
from steerlab.numerics.behaviour import Behaviour, fit_behaviour
from steerlab.numerics.naturalness import energy
from steerlab.numerics.simplex import soft_prototypes
from steerlab.zoo.scenes import SHAPES, backgrounds, coverage

HUES, EACH, WAYPOINTS = 8, 12, 9
AT, SEEN = "blocks.4.resid", "blocks.5.resid"
STEPS = [1, -1] * (HUES // 2)  # three hues on from one, three back from the next
PAIRS = [(start, (start + 3 * step) % HUES) for start, step in enumerate(STEPS)]
TURN = 2 * math.pi


def pictures(hues: torch.Tensor, seed: int) -> dict[str, torch.Tensor]:
    """Shapes of given hues (0 to 1) on textures, about the middle."""
    g, n = torch.Generator().manual_seed(seed), len(hues)
    under = backgrounds(n, g, 64)
    tints = torch.tensor([colorsys.hsv_to_rgb(float(hue), 0.85, 0.9) for hue in hues])
    centres, radii = 28 + 8 * torch.rand(n, 2, generator=g), 14 + 3 * torch.rand(n, generator=g)
    shapes = [SHAPES[i] for i in torch.randint(len(SHAPES), (n,), generator=g)]
    cover = coverage(shapes, centres, radii, torch.zeros(n), 64)
    return {"pixel_values": torch.lerp(under, tints[:, :, None, None], cover[:, None])}


class Eye:
    """The model, the ring of its class token at one block, and the prototypes of the last one."""

    def __init__(self) -> None:
        self.model = sl.load("zoo:shapes-vit")
        labels = torch.arange(HUES).repeat_interleave(EACH)
        acts = self.model.capture(pictures(labels / HUES, 0), at=[AT, SEEN])
        given = Shape(torch.arange(HUES).double() * TURN / HUES, periods=(TURN,))
        self.ring: Manifold = fit_manifold(acts[AT][:, 0], labels, shape=given, pca=32, facts={"site": AT})
        last = acts[SEEN][:, 0]
        self.prototypes = torch.stack([last[labels == hue].mean(0) for hue in range(HUES)])
        self.near = float((self.prototypes[0] - self.prototypes[1]).norm()) / 4
        self.behaviour: Behaviour = fit_behaviour(
            self.says(last), labels, coords=given.coords, periods=given.periods
        )

    def says(self, features: torch.Tensor) -> torch.Tensor:
        """Distributions over the hues; nothing else can be said."""
        p = soft_prototypes(features, self.prototypes, temperature=self.near)
        return torch.cat([p, torch.zeros_like(p[..., :1])], -1)

    def under(self, edit: sl.Edit | None, images: dict[str, torch.Tensor]) -> torch.Tensor:
        """What is said with an edit of the class token."""
        if edit is None:
            return self.says(self.model.capture(images, at=SEEN)[SEEN][:, 0])
        with self.model.edit({AT: edit.on(tokens="cls")}):
            return self.says(self.model.capture(images, at=SEEN)[SEEN][:, 0])


@cache
def opened() -> Eye:
    """The eye of this file's tests."""
    return Eye()


@cache
def walk(pair: tuple[int, int], mode: str) -> torch.Tensor:
    """What is said along a way from the first hue to the second, ``[picture, waypoint, hue + 1]``."""
    eye, count = opened(), 3
    images = pictures(torch.full((count,), pair[0] / HUES), 5 + pair[0])
    images = {name: one.repeat_interleave(WAYPOINTS, 0) for name, one in images.items()}
    path = eye.ring.path(*pair, count=WAYPOINTS, mode="manifold" if mode == "random" else mode)
    edit = sl.Replace(path.points.repeat(count, 1)[:, None], path.basis)  # a waypoint a row
    if mode == "random":
        own = eye.model.capture(images, at=AT)[AT][:, :1]
        size = (edit(own) - own).norm(dim=-1, keepdim=True)
        g = torch.Generator().manual_seed(pair[1])
        way = torch.linalg.qr(torch.randn(128, 32, generator=g)).Q @ torch.randn(32, generator=g)
        edit = sl.Add(size * way / way.norm())
    return eye.under(edit, images).unflatten(0, (count, WAYPOINTS))


def passed(pair: tuple[int, int], mode: str) -> list[int]:
    """The likeliest hues along a way, a mean over pictures, each once where it stays."""
    along = walk(pair, mode)[..., :-1].mean(0).argmax(-1).tolist()
    return [hue for i, hue in enumerate(along) if i == 0 or hue != along[i - 1]]


def test_the_hue_goes_to_the_target_and_back_through_those_between_which_a_chord_jumps_over():
    between = [[(start + step * i) % HUES for i in range(4)] for start, step in enumerate(STEPS)]
    ways = {mode: [passed(pair, mode) for pair in PAIRS] for mode in ("manifold", "linear_subspace")}
    for some in ways.values():
        assert all(one[0] == start for one, (start, _) in zip(some, PAIRS, strict=True))
        assert sum(one[-1] == end for one, (_, end) in zip(some, PAIRS, strict=True)) >= 7
    in_order = {
        mode: sum(one == whole for one, whole in zip(some, between, strict=True))
        for mode, some in ways.items()
    }
    assert in_order["manifold"] >= 7 and in_order["linear_subspace"] <= 1


def test_the_chord_is_less_natural_and_a_random_change_as_large_moves_no_hue():
    ways = {
        mode: torch.stack([walk(pair, mode) for pair in PAIRS])
        for mode in ("manifold", "linear_subspace", "random")
    }
    costs = {mode: energy(said, opened().behaviour).mean(-1) for mode, said in ways.items()}
    assert float(costs["manifold"].mean()) < 0.7 * float(costs["linear_subspace"].mean())
    assert int((costs["manifold"] < costs["linear_subspace"]).sum()) >= 7
    ends = torch.tensor([end for _, end in PAIRS])[:, None]
    reached = {
        mode: said[:, :, -1].gather(-1, ends.expand(-1, said.shape[1])[..., None]).mean()
        for mode, said in ways.items()
    }
    assert float(reached["manifold"]) > 0.4 > 0.2 > float(reached["random"])
    assert [passed(pair, "random") for pair in PAIRS] == [[start] for start, _ in PAIRS]
