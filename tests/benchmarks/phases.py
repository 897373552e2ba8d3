"""Phases of depth at scale: memory over the number of pictures, and a Raptor of the real DINOv2-small.

Run by hand from the root of the repository, on a quiet machine with Linux::

    python tests/benchmarks/phases.py memory             # zoo:shapes-vit, 100 and 1,000 pictures
    python tests/benchmarks/phases.py train 6,10 FOLDER  # DINOv2-small: steerlab[models], scikit-image

Peak memory is that of a process of its own for each number of pictures. The training goes on from FOLDER when
it was stopped; its pictures, of 98 pixels, are crops of photographs that ship with scikit-image, and
renderings, made anew at every step; three photographs are kept for the scores.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import numpy as np
import torch
from torch.nn.functional import interpolate

import steerlab as sl
from steerlab.analyzers.raptor.observing import observe
from steerlab.surrogates import Distilling, fit_surrogate
from steerlab.surrogates.scores import closed_loop
from steerlab.surrogates.teacher import paths
from steerlab.zoo.scenes import random_scenes, render

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
SPREAD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
PHOTOS = ("astronaut", "cat", "rocket", "coins", "page", "grass", "gravel", "text", "moon", "clock", "retina")
HELD = ("coffee", "camera", "brick")


class Noise:
    """Parts of 20 pictures that are made when they are asked for."""

    def __init__(self, count: int) -> None:
        self.count = count // 20

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> torch.Tensor:
        if number >= self.count:
            raise IndexError(number)
        return torch.randn(20, 3, 32, 32, generator=torch.Generator().manual_seed(number))


def peak(count: int) -> None:
    """Print the peak memory of a pass over so many pictures, in MiB."""
    model = sl.load("zoo:shapes-vit")
    observe(Noise(count), paths(model, "blocks", (0, 6)), tokens="cls+meanpatch", nulls=20, seed=0)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory() -> None:
    """Peaks of 100 and of 1,000 pictures."""
    for count in (100, 1000):
        done = subprocess.run(
            [sys.executable, __file__, "peak", str(count)], capture_output=True, text=True, check=True
        )
        print(f"{count} pictures: {float(done.stdout.split()[-1]):.0f} MiB")


def photographs(names: tuple[str, ...]) -> list[torch.Tensor]:
    """Pictures ``[3, row, column]`` in [0, 1]."""
    import skimage.data

    found = []
    for name in names:
        pixels = np.asarray(getattr(skimage.data, name)())
        pixels = pixels[..., None].repeat(3, 2) if pixels.ndim == 2 else pixels[..., :3]
        found.append(torch.from_numpy(pixels.copy()).movedim(-1, 0).float() / 255)
    return found


def pictures(seed: int, count: int, photos: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Half crops of photographs, half renderings, at 98 pixels."""
    generator = torch.Generator().manual_seed(seed)

    def below(stop: int) -> int:
        return int(torch.randint(stop, (), generator=generator))

    views = []
    for _ in range(count // 2):
        photo = photos[below(len(photos))]
        side = int(min(photo.shape[1:]) * (0.25 + 0.75 * torch.rand((), generator=generator)))
        row, column = (below(length - side + 1) for length in photo.shape[1:])
        crop = photo[None, :, row : row + side, column : column + side]
        views.append(interpolate(crop, size=98, mode="bilinear", antialias=True)[0])
    drawn = render(random_scenes(count - count // 2, generator), generator, 98)
    return {"pixel_values": (torch.cat([torch.stack(views), drawn]).clamp(0, 1) - MEAN) / SPREAD}


def train(cuts: list[int], folder: str, steps: int) -> None:
    """Train, then print the closed loop on photographs that were not seen."""
    model = sl.load("zoo:dinov2-saliency")
    seen, held = photographs(PHOTOS), photographs(HELD)
    settings = Distilling(
        batch=8, steps=steps, steps_together=steps, lr=1e-3, floor=1e-5, warmup=40, layer_scale=0.1,
        relative=True, half=True,
    )  # fmt: skip
    made = fit_surrogate(
        model, lambda step: pictures(step, 8, seen), cuts=cuts, settings=settings, folder=folder
    )
    sl.save_intervention(made, f"{folder}/raptor")
    read = paths(model, "blocks", (0, 12))
    scores = closed_loop(made, (read(pictures(10**7 + part, 16, held)) for part in range(4)))
    for group, cosines in scores.cosine.items():
        print(group, [round(float(one), 3) for one in cosines])
        print(f"  standing still {[round(float(one), 3) for one in scores.still[group]]}")
    print("R2", [round(float(one), 3) for one in scores.r2])


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("what", choices=["memory", "peak", "train"])
    asked.add_argument("how", nargs="?", default="")
    asked.add_argument("folder", nargs="?", default="raptor-training")
    asked.add_argument("--steps", type=int, default=400)
    given = asked.parse_args()
    torch.set_num_threads(1)
    if given.what == "memory":
        memory()
    elif given.what == "peak":
        peak(int(given.how))
    else:
        train([int(cut) for cut in given.how.split(",") if cut], given.folder, given.steps)
