"""What the moments of a factor decomposition cost, beyond the forward and their products; and their memory.

Run by hand from the root of the repository, on a quiet machine with Linux::

    HF_HUB_OFFLINE=1 python tests/benchmarks/factors.py   # DINOv2-small: steerlab[models]

Queries, keys and the stream of all 12 blocks, with the class token apart and shuffled positions beside. One
thread, CPU time of the whole process, rounds in shuffled order. The products are timed on activations that
were captured before. Peak memory is that of a process of its own for each number of pictures, on
``zoo:shapes-vit``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

import torch
from measure import ratios

import steerlab as sl
from steerlab.analyzers.bfd.gathering import _empty, _layout, _places, _read

BATCH = 4


class Noise:
    """Pictures that are made when they are asked for."""

    def __init__(self, count: int, side: int) -> None:
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, part: slice) -> dict[str, torch.Tensor]:
        start, stop, _ = part.indices(self.count)
        generator = torch.Generator().manual_seed(start)
        return {"pixel_values": torch.randn(stop - start, 3, self.side, self.side, generator=generator)}


class Seen:
    """A stand-in for a model whose activations are known already, so that only the products are left."""

    def __init__(self, acts: sl.Activations) -> None:
        self.acts = acts

    def capture(self, inputs: object, at: object) -> sl.Activations:
        return self.acts


def runs(model: sl.Model) -> dict:
    data = Noise(BATCH, 224)
    places = _places(model, "blocks.*.q")
    layout = _layout(model, data[:2], places)
    sites = list(dict.fromkeys(name.split(" ")[0] for name in layout.shapes))
    seen = Seen(model.capture(data[:BATCH], sites))

    def bare() -> None:
        with torch.no_grad():
            model.module(**data[:BATCH])

    return {
        "bare": bare,
        "activations captured": lambda: model.capture(data[:BATCH], sites),
        "moments gathered": lambda: _read(model, data[:BATCH], layout, (_empty(layout), 0)),
        "their products alone": lambda: _read(seen, None, layout, (_empty(layout), 0)),
    }


def peak(count: int) -> float:
    """Peak memory in MiB of a process that gathers from so many pictures."""
    code = (
        "import sys, torch, steerlab as sl\n"
        "sys.path.insert(0, 'tests/benchmarks')\n"
        "from factors import Noise\nfrom steerlab.analyzers.bfd import gather\n"
        "torch.set_num_threads(1)\n"
        f"gather(sl.load('zoo:shapes-vit'), Noise({count}, 64), batch=10)\n"
        "status = open('/proc/self/status').read()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    model = sl.load("zoo:dinov2-saliency")
    measured = ratios(runs(model), rounds)
    print(f"\nDINOv2-small, {BATCH} pictures of 224 px, all 12 blocks ({rounds} rounds)")
    for name, values in measured.items():
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"  {name:40} {middle:7.3f}   {low:.3f} to {high:.3f}")
    pairs = zip(measured["moments gathered"], measured["their products alone"], strict=True)
    rest = statistics.median(a - b for a, b in pairs)
    print(f"  {'gathered less products':40} {rest:7.3f}   (to be below 1.3)")
    for count in (100, 1000):
        print(f"  {f'peak memory at {count} pictures (MiB)':40} {peak(count):7.1f}")


if __name__ == "__main__":
    main()
