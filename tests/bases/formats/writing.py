"""What the scripts that write fixtures share: random weights, and the file of expected numbers."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file

DIM, ATOMS, ROWS = 16, 48, 16
HERE = Path(__file__).parent


def folder(name: str) -> Path:
    """Where a format's fixtures go: the first argument, or the committed place."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "fixtures"
    (root / name).mkdir(parents=True, exist_ok=True)
    return root / name


def inputs(*shape: int, seed: int = 99) -> torch.Tensor:
    """Activations with an offset, so that a forgotten bias shows."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*(shape or (ROWS, DIM)), generator=generator) * 1.5 + 0.4


def shaken(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random numbers in every parameter: biases, rows of any length, thresholds above 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(values.abs() * 0.7 if "threshold" in name else values * 0.35)
    return module


def expect(where: Path, x: torch.Tensor, codes: torch.Tensor, out: torch.Tensor, **options: object) -> None:
    """What the package makes of `x`, beside the folder of its files, with the options a reader must give."""
    tensors = {"x": x, "codes": codes, "out": out}
    tensors = {name: t.detach().float().contiguous().clone() for name, t in tensors.items()}
    target = where.with_name(where.name + ".expected.safetensors")
    save_file(tensors, target, metadata={"options": json.dumps(options)})


def note(where: Path, *packages: str) -> None:
    """Which versions wrote the fixtures."""
    lines = [f"{name} {version(name)}" for name in (*packages, "torch", "safetensors")]
    (where / "VERSIONS").write_text("\n".join(lines) + "\n")
