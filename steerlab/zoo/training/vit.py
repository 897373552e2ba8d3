"""Train and measure `shapes-vit`: a DINOv2 with registers in miniature, taught by what its pictures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from transformers import BitImageProcessorPil, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from steerlab.zoo import scenes
from steerlab.zoo.scenes import Scene
from steerlab.zoo.training.loop import fit

__all__ = ["Taught", "balanced_probe", "evaluate", "new_vit", "patch_means", "render_with_cover", "train"]

ROUNDS, PICTURES, RATE = (1000, 1500), 48, 1e-3  # in each round the rate rises and falls anew
PATCH = 8
HIDDEN_SHARE = 0.15  # of the patches, in every second picture
BACKGROUND, OBJECT = (
    0.02,
    0.3,
)  # a patch that is covered more than the one and less than the other has no label
FITTED, HELD_OUT = 2000, 1500
COLOURS = tuple(scenes.COLOURS)
QUESTIONS: dict[str, Sequence[str]] = {
    "colour": COLOURS,
    "shape": scenes.SHAPES,
    "size": tuple(scenes.SIZES),
    "count": scenes.COUNTS,
}


def new_vit() -> Dinov2WithRegistersModel:
    """Make the untrained model, in training mode."""
    config = Dinov2WithRegistersConfig(
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        image_size=scenes.SIDE,
        patch_size=PATCH,
        num_register_tokens=4,
        use_swiglu_ffn=False,
    )
    return Dinov2WithRegistersModel(config).train()


class Taught(nn.Module):
    """The model with the linear heads that teach it and are thrown away afterwards.

    Parameters
    ----------
    body : Dinov2WithRegistersModel
        Gives a class token, registers and patches of width 128.
    """

    def __init__(self, body: Dinov2WithRegistersModel) -> None:
        super().__init__()
        width = body.config.hidden_size
        self.body = body
        self.picture = nn.ModuleDict({name: nn.Linear(width, len(of)) for name, of in QUESTIONS.items()})
        self.patch = nn.ModuleDict(
            {name: nn.Linear(width, 1 + len(QUESTIONS[name])) for name in ("colour", "shape")}
        )

    def loss(self, shown: list[Scene], generator: torch.Generator) -> torch.Tensor:
        """Draw scenes and add up what is wrong with every answer about pictures and patches: a scalar."""
        pictures, cover = render_with_cover(shown, generator)
        hidden = torch.rand(len(shown), cover.shape[1], generator=generator) < HIDDEN_SHARE
        hidden[::2] = False
        with torch.autocast("cpu", torch.bfloat16):
            tokens = self.body(pixel_values=2 * pictures - 1, bool_masked_pos=hidden).last_hidden_state
        cls, patches = _parts(self.body, tokens.float())
        total = patches.new_zeros(())
        for name, head in self.picture.items():
            total = total + F.cross_entropy(head(cls), targets(shown, name))
        for name, head in self.patch.items():
            seen = (1 + targets(shown, name))[:, None].where(cover > OBJECT, 0)
            seen = seen.masked_fill((cover > BACKGROUND) & (cover <= OBJECT), -1)
            total = total + F.cross_entropy(head(patches).flatten(0, 1), seen.flatten(), ignore_index=-1)
        return total


def train(folder: Path) -> None:
    """Train the model from nothing and write it with its image processor.

    Parameters
    ----------
    folder : Path
        Where the files go; the state of an unfinished training lies beside it.
    """
    torch.manual_seed(0)
    taught = Taught(new_vit())
    taught.body.set_attn_implementation("eager")  # the fused kernel's backward is slow in bfloat16
    for number, steps in enumerate(ROUNDS):

        def loss(generator: torch.Generator, first: int = number * 1_000_000) -> torch.Tensor:
            generator.manual_seed(first + generator.initial_seed())  # no round sees the batches of another
            return taught.loss(scenes.random_scenes(PICTURES, generator), generator)

        checkpoint = folder.with_name(folder.name + "-training") / f"round-{number + 1}.pt"
        fit(taught, loss, steps=steps, rate=RATE, checkpoint=checkpoint)
    taught.body.half().save_pretrained(folder)
    processor = BitImageProcessorPil(
        size={"height": scenes.SIDE, "width": scenes.SIDE},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    processor.save_pretrained(folder)


def render_with_cover(shown: list[Scene], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw scenes and tell how much of each patch the objects cover.

    Parameters
    ----------
    shown : list of Scene
        What to draw.
    generator : torch.Generator
        Gives the jitter and the backgrounds.

    Returns
    -------
    pictures : Tensor
        ``[scene, 3, 64, 64]`` in [0, 1].
    cover : Tensor
        ``[scene, patch]`` in [0, 1].
    """
    # The same draws with the objects in opposite colours differ where there is an object, and there only.
    state = generator.get_state()
    pictures = scenes.render(shown, generator)
    generator.set_state(state)
    opposite = [replace(one, colour=COLOURS[COLOURS.index(one.colour) - len(COLOURS) // 2]) for one in shown]
    change = (pictures - scenes.render(opposite, generator)).abs().sum(1)
    return pictures, patch_means(change / change.amax((1, 2), keepdim=True))


def patch_means(cover: torch.Tensor) -> torch.Tensor:
    """Average ``[scene, row, column]`` over patches, in the order of the tokens: ``[scene, patch]``."""
    return F.avg_pool2d(cover[:, None], PATCH)[:, 0].flatten(1)


def targets(shown: list[Scene], question: str) -> torch.Tensor:
    """The right answers as indices into the options: ``[scene]``."""
    options = list(QUESTIONS[question])
    return torch.tensor(
        [one.count - 1 if question == "count" else options.index(getattr(one, question)) for one in shown]
    )


@torch.no_grad()
def evaluate(folder: Path) -> dict[str, float]:
    """Fit linear probes on frozen features and measure them on other pictures.

    Parameters
    ----------
    folder : Path
        The model's folder.

    Returns
    -------
    dict
        Balanced accuracies. ``cls_*`` ask the class token about the picture, ``patch_object`` asks a patch
        whether it shows an object, ``patch_colour`` and ``patch_shape`` what object. ``control_*`` are the
        same probes on a model with the same shape and random weights.
    """
    torch.manual_seed(1)
    control = new_vit().eval()
    trained = Dinov2WithRegistersModel.from_pretrained(folder, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(30_000_001)
    shown = scenes.random_scenes(FITTED + HELD_OUT, generator)
    pictures, cover = render_with_cover(shown, generator)
    pictures = (pictures * 255).round() / 255  # as a file of 8 bits holds them
    found: dict[str, float] = {}
    for prefix, model in (("", trained), ("control_", control)):
        parts = [
            _parts(model, model(pixel_values=2 * some - 1).last_hidden_state) for some in pictures.split(100)
        ]
        cls, patches = (torch.cat(kind) for kind in zip(*parts, strict=True))
        found |= {f"{prefix}{name}": value for name, value in _probed(shown, cover, cls, patches).items()}
    return {name: round(value, 4) for name, value in found.items()}


def _probed(
    shown: list[Scene], cover: torch.Tensor, cls: torch.Tensor, patches: torch.Tensor
) -> dict[str, float]:
    first = torch.arange(len(shown)) < FITTED
    found = {f"cls_{name}": balanced_probe(cls, targets(shown, name), first) for name in QUESTIONS}
    first = first[:, None].expand(cover.shape)
    inside = cover > OBJECT
    sure = inside | (cover <= BACKGROUND)
    found["patch_object"] = balanced_probe(patches[sure], inside[sure].long(), first[sure])
    for name in ("colour", "shape"):
        found[f"patch_{name}"] = balanced_probe(
            patches[inside], targets(shown, name)[:, None].expand(cover.shape)[inside], first[inside]
        )
    return found


def balanced_probe(features: torch.Tensor, labels: torch.Tensor, first: torch.Tensor) -> float:
    """Fit a ridge classifier on the rows of `first` and give its balanced accuracy on the others.

    Each class weighs the same in the fit, however many rows it has.
    """
    features = features.double()
    features = (features - features[first].mean(0)) / (features[first].std(0) + 1e-6)
    features = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
    wanted = F.one_hot(labels).double()
    weights = (1 / wanted[first].mean(0))[labels[first], None]
    rows = features[first]
    gram = rows.T @ (weights * rows) + 1e-2 * len(rows) * torch.eye(rows.shape[1], dtype=rows.dtype)
    answers = (features[~first] @ torch.linalg.solve(gram, rows.T @ (weights * wanted[first]))).argmax(-1)
    truth = labels[~first]
    return (
        torch.stack([(answers[truth == one] == one).double().mean() for one in truth.unique()]).mean().item()
    )


def _parts(body: Dinov2WithRegistersModel, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Class token ``[picture, dim]`` and patches ``[picture, patch, dim]`` of what the model gives."""
    return tokens[:, 0], tokens[:, 1 + body.config.num_register_tokens :]
