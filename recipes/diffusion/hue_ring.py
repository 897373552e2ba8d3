"""Steer an SDXL pipeline along its ring of hues, and along the straight line through the same components.

The manifold is fitted at the `update` of one block of the UNet, from one picture of each shape in each hue.
Steering replaces what lies in its components, where a linear reading of each token says that the object is. A
checker that saw renderings alone judges one picture a seed, the shapes in turn: along the ring every colour
between comes in its order and the shape stays; on the straight line objects go grey, shrink and jump from the
first colour to the last; random steps as long as the ring's own change no colour. The recipe `hue_ring.toml`
asks the same of fewer seeds. One block does not carry every arc: from red to blue through pink, and from
cyan to orange, other blocks that read the prompt hold against it, and hardly any seed is in order.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

import steerlab as sl
from steerlab.zoo.scenes import SHAPES

RECIPE = Path(__file__).with_suffix(".toml")
PROMPT = "a large {{value}} {shape} in the center"
SHOWN = {"curve": "along the ring", "line": "straight line", "random 0": "random steps"}
DOTS, PALETTE = 100, 256  # of the saved figure


def run(
    start: str, end: str, *, seeds: Sequence[int] = range(50), shapes: Sequence[str] = SHAPES
) -> sl.Report:
    """Fit, steer and judge: the report of `PictureManifold`."""
    recipe = sl.Recipe.load(RECIPE)
    asked = dataclasses.replace(recipe.analyzer, start=start, end=end, seeds=list(seeds), batch=25)
    return asked(sl.load(recipe.model), [PROMPT.format(shape=shape) for shape in shapes])


def figure(report: sl.Report, question: str = "hue") -> Figure:
    """One picture along the three ways."""
    strip = report.tables["pictures"]
    rows = {label: [picture.numpy() for picture in strip[way]] for way, label in SHOWN.items()}
    titles = [f"{question} {degrees}°" for degrees in strip["title"]]
    return sl.figures.before_after(rows, titles, title=report.title)


def save_small(drawn: Figure, file: Path) -> None:
    """As a picture of few colours, a quarter as large; they are spread so that none of the hues is lost."""
    buffer = BytesIO()
    drawn.savefig(buffer, format="png", dpi=DOTS)
    few = Image.open(buffer).convert("RGB").quantize(PALETTE, method=Image.Quantize.MAXCOVERAGE)
    few.save(file, optimize=True)


def main() -> None:
    """Run, print the findings, keep the report, its interventions and the strip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", default="green")
    parser.add_argument("--end", default="purple")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("runs/hue_ring"))
    given = parser.parse_args()
    report = run(given.start, given.end, seeds=range(given.seeds))
    report.save(given.out)
    save_small(figure(report), given.out / "hue_ring.png")
    print(report)


if __name__ == "__main__":
    main()
