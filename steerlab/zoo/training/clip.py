"""Train and measure `shapes-clip`: CLIP in miniature, on pictures of shapes and their captions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from steerlab.errors import SteerlabError
from steerlab.zoo import scenes
from steerlab.zoo.scenes import Scene
from steerlab.zoo.training.loop import fit
from steerlab.zoo.training.words import word_tokenizer

__all__ = ["evaluate", "new_clip", "prompts", "train"]

STEPS, PICTURES, CAPTIONS, RATE = 2000, 64, 256, 1e-3
HELD_OUT = 2000
HOTTEST = 100.0  # the bound on the logits' scale that CLIP has


def new_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    """Make the untrained model, in training mode."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=64,
        hidden_act="gelu",  # one fused step, where CLIP's quick_gelu is three
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=scenes.SIDE,
        patch_size=8,
        projection_dim=64,
        hidden_act="gelu",
    )
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64)).train()


def train(folder: Path) -> None:
    """Train the model from nothing and write it with its processor.

    Parameters
    ----------
    folder : Path
        Where the files go; the state of an unfinished training lies beside it.
    """
    torch.manual_seed(0)
    tokenizer = word_tokenizer()
    clip = new_clip(tokenizer)
    clip.set_attn_implementation("eager")  # the fused kernel's backward is slow in bfloat16

    def loss(generator: torch.Generator) -> torch.Tensor:
        shown = scenes.random_scenes(PICTURES, generator)
        said = scenes.random_captions(shown, generator)
        others = scenes.random_captions(scenes.random_scenes(CAPTIONS - PICTURES, generator), generator)
        captions = list(dict.fromkeys([*said, *others]))
        with torch.autocast("cpu", torch.bfloat16):
            pictures = _pictures(clip, 2 * scenes.render(shown, generator) - 1)
            texts = _texts(clip, tokenizer, captions)
        scale = clip.logit_scale.exp().clamp(max=HOTTEST)
        own = torch.tensor([captions.index(caption) for caption in said])
        return contrast(scale * pictures.float() @ texts.float().T, own, true_of(shown, captions))

    fit(clip, loss, steps=STEPS, rate=RATE, checkpoint=folder.with_name(folder.name + "-training") / "all.pt")
    clip.half().save_pretrained(folder)
    new_processor(tokenizer).save_pretrained(folder)


def new_processor(tokenizer: CLIPTokenizer) -> CLIPProcessor:
    """Make the processor: pictures are resized to a square and never cut, so that a place stays a place."""
    images = CLIPImageProcessorPil(
        size={"height": scenes.SIDE, "width": scenes.SIDE},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return CLIPProcessor(images, tokenizer)


def contrast(logits: torch.Tensor, own: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Make each picture find its own caption among the false ones, and each caption its own picture.

    Parameters
    ----------
    logits : Tensor
        ``[picture, caption]``; there may be more captions than pictures.
    own : Tensor
        ``[picture]``: the index of the caption that was drawn for it.
    true : Tensor
        ``[picture, caption]``: which captions hold for which pictures. True pairs other than a picture with
        its own caption are left out: they are no negatives.

    Returns
    -------
    Tensor
        The mean of both cross-entropies.
    """
    each = torch.arange(len(own))
    others = true.clone()
    others[each, own] = False
    by_picture = F.cross_entropy(logits.masked_fill(others, -torch.inf), own)
    square, same = logits[:, own], true[:, own].clone()  # column j: the caption drawn for picture j
    same[each, each] = False
    return (by_picture + F.cross_entropy(square.masked_fill(same, -torch.inf).T, each)) / 2


def true_of(shown: Sequence[Scene], captions: Sequence[str]) -> torch.Tensor:
    """Tell which captions hold for which scenes: ``[scene, caption]``, boolean."""
    column = {caption: number for number, caption in enumerate(captions)}
    true = torch.zeros(len(shown), len(captions), dtype=torch.bool)
    for row, scene in enumerate(shown):
        for size, place in product((True, False), repeat=2):
            caption = scene.caption(size=size, place=place)
            if caption in column:
                true[row, column[caption]] = True
    return true


def prompts(question: str) -> dict[object, list[str]]:
    """Captions that stand for each answer to a question, every other attribute being left open or varied.

    Parameters
    ----------
    question : str
        "colour", "shape", "colour_and_shape", "size", "place" or "count".

    Returns
    -------
    dict
        Lists of captions by answer.
    """
    kinds = list(product(scenes.COLOURS, scenes.SHAPES))
    bare = {kind: Scene(*kind).caption(size=False, place=False) for kind in kinds}
    match question:
        case "colour":
            return {name: [bare[name, shape] for shape in scenes.SHAPES] for name in scenes.COLOURS}
        case "shape":
            return {name: [bare[colour, name] for colour in scenes.COLOURS] for name in scenes.SHAPES}
        case "colour_and_shape":
            return {kind: [caption] for kind, caption in bare.items()}
        case "size":
            return {s: [Scene(*kind, size=s).caption(place=False) for kind in kinds] for s in scenes.SIZES}
        case "place":
            return {p: [Scene(*kind, place=p).caption(size=False) for kind in kinds] for p in scenes.PLACES}
        case "count":
            numbers = range(1, len(scenes.COUNTS) + 1)
            return {n: [Scene(*k, count=n).caption(size=False, place=False) for k in kinds] for n in numbers}
    raise SteerlabError(f"no captions answer {question!r}")


@torch.no_grad()
def evaluate(folder: Path) -> dict[str, float]:
    """Measure zero-shot answers on renderings that the model has not seen.

    Parameters
    ----------
    folder : Path
        The model's folder.

    Returns
    -------
    dict
        The share of right answers a question, where the probability of an answer is summed over its captions;
        ``shape_by_mean``, the same by the nearest mean of a shape's captions; ``caption``, the one full
        caption out of all 576; and ``modality_gap``, how far the mean of the pictures' unit vectors is from
        that of the captions'.
    """
    clip = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    generator = torch.Generator().manual_seed(20_000_003)
    shown = scenes.random_scenes(HELD_OUT, generator)
    drawn = (scenes.render(shown, generator) * 255).round() / 255  # as a file of 8 bits holds them
    pictures = torch.cat([_pictures(clip, 2 * part - 1) for part in drawn.split(100)])
    single = [number for number, scene in enumerate(shown) if scene.count == 1]
    truths = {
        "colour": lambda scene: scene.colour,
        "shape": lambda scene: scene.shape,
        "colour_and_shape": lambda scene: (scene.colour, scene.shape),
        "size": lambda scene: scene.size,
        "place": lambda scene: scene.place,
        "count": lambda scene: scene.count,
    }
    scale = clip.logit_scale.exp()
    found: dict[str, float] = {}
    for question, truth in truths.items():
        asked = list(range(len(shown))) if question == "count" else single
        options = prompts(question)
        texts = [_texts(clip, tokenizer, said) for said in options.values()]
        likely = [(scale * pictures[asked] @ of.T).logsumexp(1) for of in texts]
        found[question] = _share(likely, list(options), [truth(shown[number]) for number in asked])
        if question == "shape":
            close = [pictures[asked] @ F.normalize(of.mean(0), dim=-1) for of in texts]
            found["shape_by_mean"] = _share(close, list(options), [truth(shown[number]) for number in asked])
    captions = _full_captions()
    texts = _texts(clip, tokenizer, captions)
    own = torch.tensor([captions.index(scene.caption()) for scene in shown])
    found["caption"] = ((pictures @ texts.T).argmax(-1) == own).double().mean().item()
    found["modality_gap"] = (pictures.mean(0) - texts[own].mean(0)).norm().item()
    return {name: round(value, 4) for name, value in found.items()}


def _share(scores: Sequence[torch.Tensor], options: Sequence[object], truth: Sequence[object]) -> float:
    """How often the option with the highest score, each ``[picture]``, is the truth."""
    chosen = torch.stack(list(scores)).argmax(0).tolist()
    return sum(options[one] == right for one, right in zip(chosen, truth, strict=True)) / len(truth)


def _full_captions() -> list[str]:
    single = product(scenes.COLOURS, scenes.SHAPES, scenes.SIZES, scenes.PLACES)
    several = product(scenes.COLOURS, scenes.SHAPES, ("small",), ("center",), (2, 3))
    return [Scene(*parts).caption() for parts in (*single, *several)]


def _pictures(clip: CLIPModel, pixels: torch.Tensor) -> torch.Tensor:
    """Unit vectors ``[picture, 64]`` of pixels ``[picture, 3, 64, 64]`` in [-1, 1]."""
    return F.normalize(clip.get_image_features(pixel_values=pixels).pooler_output, dim=-1)


def _texts(clip: CLIPModel, tokenizer: CLIPTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """Unit vectors ``[caption, 64]``."""
    inputs = tokenizer(list(captions), padding=True, return_tensors="pt")
    return F.normalize(clip.get_text_features(**inputs).pooler_output, dim=-1)
