"""What one edit of a map costs a tiny SDXL run of 20 steps: bare, a hand-written hook, steerlab.

Run by hand from the root of the repository, on a quiet machine::

    PYTHONPATH=tests python tests/benchmarks/diffusion.py

One thread, CPU time of the whole process, rounds in shuffled order, medians of ratios within a round.
"""

from __future__ import annotations

import argparse

import tiny
import torch
from denoising import generate
from measure import table

import steerlab as sl

STEPS, PLACE = 20, "mid_block.attentions.0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    made, vector = tiny.tiny("sdxl"), torch.ones(32)
    model = sl.wrap(made.model)

    def bare() -> object:
        return generate(made.model, made.inputs, num_inference_steps=STEPS, height=32, width=32)

    def hooked() -> object:
        def add(module, args, output):
            return (output[0] + vector[:, None, None], *output[1:])

        handle = made.model.unet.get_submodule(PLACE).register_forward_hook(add)
        try:
            return bare()
        finally:
            handle.remove()

    def edited(edit):
        def run() -> object:
            with model.edit({"unet.mid.0.update": edit}):
                return bare()

        return run

    variants = {
        "bare": bare,
        "torch hook, add": hooked,
        "steerlab, add": edited(sl.Add(vector)),
        "steerlab, add on the conditional branch": edited(sl.Add(vector).on(branch="cond")),
        "steerlab, add in steps 5 to 14": edited(sl.Add(vector).on(steps=range(5, 15))),
    }
    print(
        table(f"tiny SDXL, {STEPS} steps, two images: one edit", variants, rounds, sites=STEPS)
    )  # a step, not a site


if __name__ == "__main__":
    main()
