"""What `steerlab demo` runs: two real models opened, changed and measured, written to a folder."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from steerlab import figures
from steerlab.comparing import Comparison
from steerlab.edits import Zero
from steerlab.errors import SteerlabError
from steerlab.loading import load
from steerlab.model import Model
from steerlab.sites import Site

PROMPTS = (
    "The capital of France is",
    "Paris is in France. Rome is in",
    "When Mary and John met, John gave a drink to",
)
PATCHES = "blocks.8.resid"  # the last blocks serve the saliency map; block 8 still knows what is where
HEADS = "blocks.6.heads"  # two blocks earlier, so that a change has been used by others when it is measured
ROWS = 30  # interventions that share a forward

Tick = Callable[[str, float], None]


@dataclass
class Outcome:
    """What a demo found and wrote.

    Attributes
    ----------
    folder : Path
        Where everything is.
    files : list of Path
        What was written, in order.
    findings : list of (str, str)
        What was asked and what came out, in words.
    """

    folder: Path
    files: list[Path] = field(default_factory=list)
    findings: list[tuple[str, str]] = field(default_factory=list)

    def write(self, name: str, content: Any) -> None:
        """Write a figure, text or a table, by the ending of the name."""
        path = self.folder / name
        if path.suffix == ".png":
            figures.save(content, path)
        else:
            text = content if path.suffix == ".txt" else json.dumps(content, indent=1, allow_nan=False)
            path.write_text(text, encoding="utf-8")
        self.files.append(path)


def run(out: str | Path, *, quick: bool = False, tick: Tick = lambda what, done: None) -> Outcome:
    """Ablate every head of a language model, and map the patches of a photograph.

    Parameters
    ----------
    out : path
        The folder to write to; it is made.
    quick : bool
        One prompt and fewer controls.
    tick : callable
        Told what is going on and which part of the whole is done, in [0, 1].
    """
    outcome = Outcome(Path(out))
    try:
        outcome.folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise SteerlabError(f"cannot write to the folder {out}: {fault.strerror}") from None
    tick("opening SmolLM2-135M (the first time, its weights are converted)", 0.0)
    language = load("zoo:smollm2")
    receipts = ablate_heads(language, outcome, quick, lambda what, done: tick(what, 0.15 + 0.55 * done))
    tick("opening DINOv2-small", 0.7)
    vision = load("zoo:dinov2-saliency")
    receipts += map_patches(vision, outcome, quick, lambda what, done: tick(what, 0.75 + 0.25 * done))
    outcome.write("receipts.txt", "\n".join(receipts))
    tick("done", 1.0)
    return outcome


def ablate_heads(model: Model, outcome: Outcome, quick: bool, tick: Tick) -> list[str]:
    """Zero every head of every block; then look closely at the strongest one."""
    prompts = list(PROMPTS[:1] if quick else PROMPTS)
    blocks, heads = len(model.sites("blocks.*.heads")), model.heads("blocks.*.heads")
    effects = []
    for prompt in prompts:  # one at a time, so that nothing is padded
        for start in range(0, len(heads), ROWS):
            some = heads[start : start + ROWS]
            tick(f"zeroing {some[0]} ... {some[-1]}", len(effects) * ROWS / (len(prompts) * len(heads)))
            effects.append(model.sweep(prompt, [{h: Zero()} for h in some], batch=ROWS, progress=False))
    kl = torch.cat(effects).view(len(prompts), blocks, -1)
    tick("comparing the strongest head with controls", 0.95)
    means = kl.mean(dim=0)
    strongest = heads[int(means.argmax())]
    comparison = model.compare(prompts, {strongest: Zero()}, controls=4 if quick else 8)
    telling = prompts[int(comparison.effect.argmax())]  # where the head matters most
    pieces, looks = _attention(model, telling, strongest)

    title = "Change of the next token when one head of SmolLM2-135M is zeroed"
    outcome.write("heads.png", figures.block_head_grid(means, title, "KL(base ‖ edited), nats", log=True))
    strip = figures.token_strip(pieces, looks, f"Where the last token looks in {strongest}", "attention")
    outcome.write("tokens.png", strip)
    outcome.write(
        "heads.json",
        {
            "metric": comparison.metric,
            "unit": "nats",
            "prompts": prompts,
            "values": kl.tolist(),  # prompt, block, head
            "strongest": {"site": str(strongest), **_evidence(comparison)},
            "attention": {"tokens": pieces, "values": looks.tolist()},
        },
    )
    words = [_next_words(model, tensor) for tensor in (comparison.base, comparison.edited)]
    outcome.findings += [
        (f"{means.numel()} heads zeroed, {len(prompts)} prompts", f"strongest: {strongest}"),
        *_findings(comparison),
        ("next word, before", ", ".join(words[0])),
        ("next word, after", ", ".join(words[1])),
    ]
    return [f"SmolLM2-135M, {len(prompts)} prompts", str(comparison), ""]


def map_patches(model: Model, outcome: Outcome, quick: bool, tick: Tick) -> list[str]:
    """Where patches are strong, where a head looks, and what changes where when it is silent."""
    tick("zeroing each head of one block", 0.0)
    pixels = model.processor(images=[photograph()])["pixel_values"]
    heads = model.heads(HEADS)
    effects = model.sweep(pixels, [{h: Zero()} for h in heads], batch=ROWS, progress=False)[:, 0]
    strongest = heads[int(effects.argmax())]
    tick("comparing the strongest head with controls", 0.4)
    comparison = model.compare(pixels, {strongest: Zero()}, controls=4 if quick else 8)

    tick("reading patches and attention", 0.8)
    pattern = Site(strongest.place, "pattern", strongest.heads)
    before = model.capture(pixels, [PATCHES, pattern])  # attention is computed for this block alone
    with model.edit({strongest: Zero()}) as receipt:
        after = model.capture(pixels, PATCHES)
    change = after.grid(PATCHES)[0] - before.grid(PATCHES)[0]
    tokens = before.map_of(PATCHES)
    rows, columns = tokens.patch_grid()
    maps = {
        f"norm of {PATCHES}": before.grid(PATCHES)[0].norm(dim=-1),
        f"CLS attention, {pattern}": before[pattern][0, 0, tokens.span("patches")].view(rows, columns),
        f"change of {PATCHES}\nwithout {strongest}": change.norm(dim=-1),
        "saliency": comparison.base[0, 0],
        "change of the saliency": comparison.edited[0, 0] - comparison.base[0, 0],
    }
    picture = model.processor.denormalise(pixels)[0].permute(1, 2, 0)
    outcome.write("patches.png", figures.patch_maps([picture], [list(maps.values())], list(maps)))
    tables = {name.replace("\n", " "): values.tolist() for name, values in list(maps.items())[:3]}
    outcome.write(
        "patches.json",
        {
            "grid": [rows, columns],
            "maps": tables,
            "heads": {str(head): float(effect) for head, effect in zip(heads, effects, strict=True)},
            "strongest": {"site": str(strongest), **_evidence(comparison)},
        },
    )
    outcome.findings += [
        (f"{len(heads)} heads of block 6 of DINOv2-small zeroed", f"strongest: {strongest}"),
        *_findings(comparison),
    ]
    return [
        "DINOv2-small with a saliency decoder, one photograph",
        str(comparison),
        "while reading:",
        str(receipt),
    ]


def photograph() -> Any:
    """A photograph that comes with matplotlib, or a drawing where it was packaged without."""
    from PIL import Image

    matplotlib = importlib.import_module("matplotlib")
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return Image.open(path).convert("RGB") if path.is_file() else drawing()


def drawing() -> Any:
    """Coloured shapes on a rough ground, the same each time."""
    from PIL import Image, ImageDraw

    noise = torch.randint(90, 150, (56, 56), generator=torch.Generator().manual_seed(0))
    picture = Image.fromarray(noise.to(torch.uint8).numpy()).resize((448, 448)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    pen.ellipse((60, 70, 190, 200), fill=(200, 40, 40))
    pen.rectangle((250, 90, 390, 210), fill=(40, 80, 200))
    pen.polygon([(140, 390), (230, 240), (320, 390)], fill=(240, 200, 40))
    return picture


def _attention(model: Model, prompt: str, head: Site) -> tuple[list[str], torch.Tensor]:
    """The pieces of a prompt and the attention that a head's last query pays to each."""
    pattern = Site(head.place, "pattern", head.heads)
    looks = model.capture([prompt], pattern)[pattern][0, -1]
    ids = model.processor(prompt)["input_ids"]
    return [model.processor.decode([token]) for token in ids], looks


def _next_words(model: Model, logits: torch.Tensor) -> list[str]:
    return [repr(model.processor.decode([token])) for token in logits.argmax(dim=-1).tolist()]


def _evidence(comparison: Comparison) -> dict[str, Any]:
    """The numbers of a comparison as a table; a row is a prompt or a picture."""
    return {
        "effect": comparison.effect.tolist(),
        "noise_floor": comparison.floor.tolist(),
        "controls": comparison.controls.tolist(),
        "stands_out": comparison.stands_out,
        "relative_size_of_the_edit": [entry.relative for entry in comparison.receipt],
    }


def _findings(comparison: Comparison) -> list[tuple[str, str]]:
    means = comparison.controls.mean(dim=1)
    verdict = "stands out" if comparison.stands_out else "does not stand out"
    return [
        (comparison.metric, f"{float(comparison.effect.mean()):.3g} ({verdict})"),
        ("the same between two equal rows", f"{float(comparison.floor.mean()):.2g}"),
        (
            f"{len(means)} random changes of equal size",
            f"{float(means.mean()):.3g} ({float(means.min()):.3g} to {float(means.max()):.3g})",
        ),
    ]
