"""``python -m steerlab.zoo.training train|evaluate NAME [--out FOLDER]``."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
from functools import partial
from pathlib import Path

from steerlab.zoo.training import dictionaries

MODELS = {
    "shapes-checker": "steerlab.zoo.training.checker",
    "shapes-sdxl": "steerlab.zoo.training.sdxl",
    "shapes-clip": "steerlab.zoo.training.clip",
    "shapes-vit": "steerlab.zoo.training.vit",
    "motion-video": "steerlab.zoo.training.video",
}
WEIGHTS = Path(__file__).parents[1] / "weights"


def main() -> None:
    """Train a model or a dictionary afresh, or measure the one that ships, and print its numbers."""
    parser = argparse.ArgumentParser(prog="python -m steerlab.zoo.training", description=main.__doc__)
    parser.add_argument("what", choices=["train", "evaluate"])
    parser.add_argument("name", choices=[*MODELS, *dictionaries.PLANS])
    parser.add_argument("--out", type=Path, help="folder of the model, or of all dictionaries; the package's")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if plan := dictionaries.PLANS.get(asked.name):
        folder = asked.out or WEIGHTS / "dictionaries"
        train, evaluate = partial(dictionaries.train, plan), partial(dictionaries.evaluate, plan)
    else:
        module = importlib.import_module(MODELS[asked.name])
        folder = asked.out or WEIGHTS / asked.name
        train, evaluate = module.train, module.evaluate
    if asked.what == "train":
        train(folder)
    print(json.dumps(evaluate(folder), indent=1))


if __name__ == "__main__":
    main()
