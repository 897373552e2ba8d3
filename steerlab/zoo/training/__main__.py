"""``python -m steerlab.zoo.training train|evaluate NAME [--out FOLDER]``."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
from pathlib import Path

MODELS = {
    "shapes-checker": "steerlab.zoo.training.checker",
    "shapes-sdxl": "steerlab.zoo.training.sdxl",
    "shapes-clip": "steerlab.zoo.training.clip",
    "shapes-vit": "steerlab.zoo.training.vit",
    "motion-video": "steerlab.zoo.training.video",
}
WEIGHTS = Path(__file__).parents[1] / "weights"


def main() -> None:
    """Train a model afresh, or measure the one that ships, and print its numbers."""
    parser = argparse.ArgumentParser(prog="python -m steerlab.zoo.training", description=main.__doc__)
    parser.add_argument("what", choices=["train", "evaluate"])
    parser.add_argument("name", choices=list(MODELS))
    parser.add_argument("--out", type=Path, help="folder of the model; that of the package by default")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    module = importlib.import_module(MODELS[asked.name])
    folder = asked.out or WEIGHTS / asked.name
    if asked.what == "train":
        module.train(folder)
    print(json.dumps(module.evaluate(folder), indent=1))


if __name__ == "__main__":
    main()
