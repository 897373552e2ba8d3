"""Steer what colour an SDXL pipeline draws with one atom of a sparse dictionary, and take it away again.

The dictionary explains the change that one transformer of the UNet makes. For each colour one atom is chosen
by a rule: the atom whose mean code over a picture's places and steps tells that colour best from the others,
on pictures that serve for nothing else. A checker that saw renderings alone, never a generated picture,
judges. Adding the atom on the conditional branch should make it see the colour in pictures that ask for
others, more the more is added; taking its code away should make it doubt the colour where it is asked for.
Beside it stand random atoms: added with the same length, or taken away where they write about as much.

What came out: red does both (seen in 43 % of other pictures; in 14 % of its own instead of all). Adding works
for blue and cyan (54 %, 46 %), taking away for pink (43 % instead of all). Orange and yellow share one atom,
and no single atom that the rule finds makes green or purple. For the real SDXL change MODEL, DICTIONARY and
PROMPT.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import steerlab as sl
from steerlab.zoo.checker import judge
from steerlab.zoo.scenes import COLOURS, SHAPES

MODEL, DICTIONARY = "zoo:shapes-sdxl", "zoo:shapes-sdxl/unet.up.1.2.update"
PROMPT = "a large {colour} {shape} in the center"
NAMES = tuple(COLOURS)
STRENGTHS = (0.5, 1.0, 2.0)  # in units of the mean length of what the site writes
STEPS, GUIDANCE, AT_ONCE = 12, 3.0, 28
FIT_SEED, SEED = 6000, 100
CONTROLS = 2


def choose_atoms(codes: torch.Tensor, colours: torch.Tensor) -> list[int]:
    """The atom of each colour: the largest difference of means over the deviation.

    Parameters
    ----------
    codes : Tensor
        Mean code of each picture, ``[picture, atom]``.
    colours : Tensor
        ``[picture]``.
    """
    chosen = []
    for colour in range(len(NAMES)):
        ours, others = codes[colours == colour], codes[colours != colour]
        spread = (0.5 * (ours.var(0) + others.var(0))).sqrt() + 0.05 * codes.std(0).max()
        chosen.append(int(((ours.mean(0) - others.mean(0)) / spread).argmax()))
    return chosen


def log_odds(pictures: torch.Tensor, colour: str) -> tuple[float, float]:
    """Mean log-odds that the checker gives a colour, and the share of pictures in which it sees it."""
    seen = judge(pictures)
    chance = seen.probabilities["colour"].double()[:, NAMES.index(colour)].clamp(1e-9, 1 - 1e-9)
    share = sum(name == colour for name in seen.names("colour")) / len(pictures)
    return float((chance.log() - (1 - chance).log()).mean()), share


def prompts_without(colour: str, count: int) -> list[str]:
    """Prompts that ask for the other colours in turn."""
    others = [name for name in NAMES if name != colour]
    return [
        PROMPT.format(colour=others[i % len(others)], shape=SHAPES[i % len(SHAPES)]) for i in range(count)
    ]


def run(colours: tuple[str, ...] = NAMES, *, count: int = 28, controls: int = CONTROLS) -> dict:
    """Choose atoms, add them, take them away, and measure; a row a colour."""
    sd, sae = sl.load(MODEL), sl.load_dictionary(DICTIONARY)
    site = str(sae.site)
    how = {"steps": STEPS, "guidance": GUIDANCE, "batch": AT_ONCE, "progress": False}

    asked = [PROMPT.format(colour=colour, shape=shape) for colour in NAMES for shape in SHAPES]
    seeds = [FIT_SEED + number for number in range(len(asked))]
    made = sd.generate(asked, seed=seeds, at=site, during=sl.Scope(branch="cond"), **how)
    codes = sae.encode(made.activations[site]).mean((0, 2))
    labels = torch.arange(len(NAMES)).repeat_interleave(len(SHAPES))
    atoms = choose_atoms(codes, labels)

    def drawn(prompts: list[str], edit: sl.Edit | None = None) -> torch.Tensor:
        edits = None if edit is None else {site: edit.on(branch="cond")}
        return sd.generate(prompts, edit=edits, seed=[SEED + i for i in range(len(prompts))], **how).tensor()

    generator = torch.Generator().manual_seed(0)
    alive = (~sae.stats.dead).nonzero()[:, 0]
    rows = []
    for colour in colours:
        atom = atoms[NAMES.index(colour)]
        others, own = prompts_without(colour, count), [PROMPT.format(colour=colour, shape=s) for s in SHAPES]
        own = (own * count)[: max(12, count // 2)]
        row = {"colour": colour, "atom": atom, "added 0": log_odds(drawn(others), colour)}

        def added(one: int, strength: float, colour: str = colour, others: list[str] = others) -> tuple:
            edit = sl.Add(sae[one], sae.strength(one, strength, unit="norm"))
            return log_odds(drawn(others, edit), colour)

        row |= {f"added {strength:g}": added(atom, strength) for strength in STRENGTHS}
        some = alive[torch.randperm(len(alive), generator=generator)[:controls]].tolist()
        row["random added"] = [added(one, STRENGTHS[-1]) for one in some]

        here = codes[labels == NAMES.index(colour)].mean(0)
        far = (here - here[atom]).abs()
        far[atom] = torch.inf
        near = far.argsort()[: 3 * controls]
        some = near[torch.randperm(len(near), generator=generator)[:controls]].tolist()
        row["kept"] = log_odds(drawn(own), colour)
        row["taken away"] = log_odds(drawn(own, sl.Zero(sae.only(atom))), colour)
        row["random taken away"] = [log_odds(drawn(own, sl.Zero(sae.only(one))), colour) for one in some]
        rows.append(row)
    return {"rows": rows}


def main() -> None:
    """Run, print the rows (log-odds and shares), keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/steer_with_an_atom_diffusion"))
    out = parser.parse_args().out
    result = run()
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text(json.dumps(result, indent=1))
    for row in result["rows"]:
        print(json.dumps(row))


if __name__ == "__main__":
    main()
