"""Find the direction of a colour inside an SDXL pipeline and steer along it: purple shapes become green.

The direction is a difference of means at the `update` of the UNet's up blocks, from a few purple and green
pictures of each shape. Mirroring along it (what lies toward purple comes to lie as far toward green) acts
where the colour is and leaves the background alone, which adding one vector everywhere does not. A checker
that saw renderings alone judges other seeds, beside random directions of the same length, and beside random
steps as long as the edit's own. Not every pair mirrors so well: these two lie on either side of one
axis, while red mirrored toward blue comes out cyan. For the real SDXL change MODEL, PROMPT and SITES.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import torch
from matplotlib.figure import Figure

import steerlab as sl
from steerlab.picturing import Pictures
from steerlab.zoo.checker import judge
from steerlab.zoo.scenes import SHAPES

MODEL, SITES = "zoo:shapes-sdxl", "unet.up.**.update"
FROM, TO = "purple", "green"
PROMPT = "a large {colour} {shape} in the center"
STEPS, GUIDANCE, FACTOR = 20, 3.0, -1.0  # -1 mirrors, 0 removes what lies along the direction
FIT_SEEDS, SEEDS = range(1000, 1004), range(50)

STEERED = "mirrored"

Directions = dict[sl.Site, sl.Direction]


def find_directions(sd: sl.Model) -> Directions:
    """From the mean in the one colour to that in the other, at each site; the origin lies halfway."""
    means = []
    for colour in (FROM, TO):
        prompts = [PROMPT.format(colour=colour, shape=shape) for shape in SHAPES for _ in FIT_SEEDS]
        settings = {"steps": STEPS, "guidance": GUIDANCE, "at": SITES, "during": sl.Scope(branch="cond")}
        acts = sd.generate(prompts, seed=[*FIT_SEEDS] * len(SHAPES), **settings).activations
        means.append({site: acts[site].mean((0, 1, 2)) for site in acts.tensors})
    return {
        site: sl.Direction(means[1][site] - m, origin=(m + means[1][site]) / 2)
        for site, m in means[0].items()
    }


def random_directions(like: Directions, seed: int) -> Directions:
    """Random directions of the same length through the same points."""
    generator = torch.Generator().manual_seed(seed)
    noise = {site: torch.randn(basis.dim, generator=generator) for site, basis in like.items()}
    return {site: sl.Direction(noise[site], origin=basis.origin) for site, basis in like.items()}


def mirrored(directions: Directions, factor: float = FACTOR) -> dict[sl.Site, sl.Scale]:
    """The intervention."""
    return {site: sl.Scale(factor, basis=basis) for site, basis in directions.items()}


def draw(sd: sl.Model, edit: dict | None = None, *, seeds: range = SEEDS) -> Pictures:
    """One picture a seed, the shapes in turn."""
    prompts = [PROMPT.format(colour=FROM, shape=SHAPES[seed % len(SHAPES)]) for seed in seeds]
    return sd.generate(prompts, edit=edit, seed=list(seeds), steps=STEPS, guidance=GUIDANCE, batch=25)


def shares(before: torch.Tensor, after: torch.Tensor) -> dict:
    """How often the checker sees another colour and the same shape, and which colours it sees."""
    first, then = judge(before), judge(after)
    pairs = list(zip(first.names("colour"), then.names("colour"), strict=True))
    shapes = list(zip(first.names("shape"), then.names("shape"), strict=True))
    return {
        "colour changed": sum(a != b for a, b in pairs) / len(pairs),
        f"became {TO}": sum(b == TO for _, b in pairs) / len(pairs),
        "shape kept": sum(a == b for a, b in shapes) / len(shapes),
        "colours": dict(Counter(then.names("colour"))),
    }


def run(*, seeds: range = SEEDS, controls: int = 2) -> dict:
    """Find, steer, judge; pictures and numbers of the steered and of the random directions."""
    sd = sl.load(MODEL)
    directions = find_directions(sd)
    edit = mirrored(directions)
    rows = {"before": draw(sd, seeds=seeds), STEERED: draw(sd, edit, seeds=seeds)}
    for number in range(controls):
        noise = mirrored(random_directions(directions, number))
        rows[f"random {number}"] = draw(sd, noise, seeds=seeds)
    # a harder control: at every place a step as long as the edit's own, in one random direction
    rows["equal steps"] = draw(sd, {site: sl.RandomControl(one) for site, one in edit.items()}, seeds=seeds)
    base = rows["before"].tensor()
    numbers = {name: shares(base, made.tensor()) for name, made in rows.items() if name != "before"}
    return {"numbers": numbers, "pictures": rows, "receipt": rows[STEERED].receipt}


def figure(result: dict, columns: int = 8) -> Figure:
    """Pictures before and after, with the change and one random direction."""
    shown = ("before", STEERED, "random 0")
    rows = {name: result["pictures"][name].images[:columns] for name in shown}
    titles = [f"seed {seed}" for seed in result["pictures"]["before"].seeds[:columns]]
    head = f'"{PROMPT.format(colour=FROM, shape="...")}", mirrored from {FROM} to {TO} at {SITES}'
    return sl.figures.before_after(rows, titles, title=head, differences=[STEERED])


def main() -> None:
    """Run, print the shares, keep numbers and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/colour_direction"))
    out = parser.parse_args().out
    result = run()
    out.mkdir(parents=True, exist_ok=True)
    (out / "shares.json").write_text(json.dumps(result["numbers"], indent=1))
    sl.figures.save(figure(result), out / "colour_direction.png")
    print(result["receipt"])
    for name, numbers in result["numbers"].items():
        print(f"{name:12}", ", ".join(f"{what} {share}" for what, share in numbers.items()))


if __name__ == "__main__":
    main()
