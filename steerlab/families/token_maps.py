"""From the inputs of a tower to its token map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from steerlab.families.family import attribute
from steerlab.tokens import TokenMap

Specials = tuple[tuple[str, int | str], ...]


def text_tokens(root: nn.Module, inputs: Mapping[str, Any], processor: Any) -> TokenMap | None:
    """Tokens of a text tower, with padding, absolute places under a cache, and pieces of text."""
    ids, embedded = inputs.get("input_ids"), inputs.get("inputs_embeds")
    given = ids if ids is not None else embedded
    if given is None:
        return None
    batch, count = given.shape[:2]
    start = inputs.get("cached_tokens")  # what the clock saw before the forward
    if start is None:
        cache = inputs.get("past_key_values")
        start = int(cache.get_seq_length()) if hasattr(cache, "get_seq_length") else 0
    mask = inputs.get("attention_mask")
    if isinstance(mask, torch.Tensor) and mask.ndim == 2:
        real = mask.bool()[:, start : start + count]
        position = (mask.long().cumsum(1) - 1)[:, start : start + count]
    else:
        real = torch.ones(batch, count, dtype=torch.bool, device=given.device)
        position = torch.arange(start, start + count, device=given.device).expand(batch, -1)
    tokenizer = getattr(processor, "tokenizer", processor)
    return TokenMap(
        count,
        real=real,
        position=position,
        ids=ids,
        pieces=pieces_of(tokenizer),
        named_ids=_named_ids(tokenizer, root),
    )


def image_tokens(specials: Specials = (("cls", 1),)):
    """Tokens of a ViT: special tokens first, then the patches row by row.

    Parameters
    ----------
    specials : tuple of (name, count)
        In order; a count may be an attribute path below the tower's root.
    """

    def describe(root: nn.Module, inputs: Mapping[str, Any], processor: Any) -> TokenMap | None:
        pixels = _first_of(inputs, "pixel_values", "x", "pixel_values_videos")
        if pixels is None:
            return None
        height, width = patch_size(root)
        return laid_out(root, specials, (pixels.shape[-2] // height, pixels.shape[-1] // width))

    return describe


def shuffled_tokens(root: nn.Module, inputs: Mapping[str, Any], processor: Any) -> TokenMap | None:
    """Tokens of a masked autoencoder, which keeps a random part of the patches in random order."""
    pixels = inputs.get("pixel_values")
    if pixels is None:
        return None
    height, width = patch_size(root)
    patches = (pixels.shape[-2] // height) * (pixels.shape[-1] // width)
    kept = int(patches * (1 - root.config.mask_ratio))
    groups = {"cls": (0, 1), "patches": (1, 1 + kept)}
    return TokenMap(1 + kept, groups, without_grid="a masked autoencoder keeps its patches in random order")


def packed_image_tokens(root: nn.Module, inputs: Mapping[str, Any], processor: Any) -> TokenMap | None:
    """Tokens of SigLIP 2, whose images come as lists of patches with the shape of each grid."""
    pixels, shapes = inputs.get("pixel_values"), inputs.get("spatial_shapes")
    if pixels is None:
        return None
    count, mask = pixels.shape[1], _first_of(inputs, "pixel_attention_mask", "attention_mask")
    grid = None
    if shapes is not None and bool((shapes == shapes[0]).all()) and int(shapes[0].prod()) == count:
        grid = tuple(shapes[0].tolist())
    real = None if mask is None or mask.ndim != 2 else mask.bool()
    return TokenMap(
        count,
        {"patches": (0, count)},
        grid,
        real=real,
        without_grid="the images have grids of different shape",
    )


def video_tokens(specials: Specials = (), *, tubelet: str = "", frame_last: bool = False):
    """Tokens of a video encoder: tubes of patches, frames first unless said otherwise.

    Parameters
    ----------
    specials : tuple of (name, count)
        Special tokens before the patches.
    tubelet : str
        Attribute path of the number of frames in a tube; empty for one.
    frame_last : bool
        Whether tokens run over places first and frames last.
    """

    def describe(root: nn.Module, inputs: Mapping[str, Any], processor: Any) -> TokenMap | None:
        pixels = _first_of(inputs, "pixel_values", "pixel_values_videos")
        if pixels is None:
            return None
        height, width = patch_size(root)
        frames = pixels.shape[1] // (attribute(root, tubelet) if tubelet else 1)
        grid = (frames, pixels.shape[-2] // height, pixels.shape[-1] // width)
        return laid_out(root, specials, grid, frame_last)

    return describe


def latent_tokens(per_patch: int = 1):
    """Tokens of a denoiser: the places of its latent, row by row; of a video, frame by frame."""

    def describe(root: nn.Module, inputs: Mapping[str, Any], processor: Any) -> TokenMap | None:
        sample = _first_of(inputs, "sample", "hidden_states")
        if sample is None or sample.ndim not in (4, 5):
            return None
        grid = (*sample.shape[2:-2], sample.shape[-2] // per_patch, sample.shape[-1] // per_patch)
        count = torch.Size(grid).numel()
        return TokenMap(count, {"patches": (0, count)}, grid)

    return describe


def unknown_tokens(root: nn.Module, inputs: Mapping[str, Any], processor: Any) -> TokenMap | None:
    """No description: tokens are known by their index at the site alone."""
    return None


def timm_tokens(root: nn.Module, inputs: Mapping[str, Any], processor: Any) -> TokenMap | None:
    """Tokens of a timm ViT: class token, registers, patches."""
    classes = int(root.cls_token is not None)
    specials = (("cls", classes), ("registers", root.num_prefix_tokens - classes))
    return image_tokens(specials)(root, inputs, processor)


def laid_out(
    root: nn.Module, specials: Specials, grid: tuple[int, ...], frame_last: bool = False
) -> TokenMap:
    """Special tokens in order, then the patches of a grid."""
    groups, start = {}, 0
    for name, count in specials:
        count = attribute(root, count) if isinstance(count, str) else count
        if count:
            groups[name] = (start, start + count)
        start += count
    patches = torch.Size(grid).numel()
    groups["patches"] = (start, start + patches)
    return TokenMap(start + patches, groups, grid, frame_last=frame_last)


def patch_size(root: nn.Module) -> tuple[int, int]:
    """Height and width of a patch, from the config or timm's patch embedding."""
    holder = root.config if hasattr(root, "config") else root.patch_embed
    size = holder.patch_size
    return (size, size) if isinstance(size, int) else tuple(size)[-2:]


def _first_of(inputs: Mapping[str, Any], *names: str) -> torch.Tensor | None:
    return next((inputs[name] for name in names if isinstance(inputs.get(name), torch.Tensor)), None)


def pieces_of(tokenizer: Any) -> Callable[[list[int]], list[str]] | None:
    """How ids are spelled, token by token with their spaces, or None without a tokenizer."""
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        return None

    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    may_continue = model is None or type(model).__name__ == "WordPiece"  # elsewhere ## is a heading

    def pieces(ids: list[int]) -> list[str]:
        words = [word or "" for word in tokenizer.convert_ids_to_tokens(ids)]
        if may_continue and any(word.startswith("##") for word in words):  # WordPiece's mark
            return [word[2:] if word.startswith("##") else " " + word for word in words]
        return [_piece(tokenizer, word) for word in words]

    return pieces


def _named_ids(tokenizer: Any, root: nn.Module) -> dict[str, int]:
    named = {}
    for name in ("bos", "eos", "pad"):
        number = getattr(tokenizer, f"{name}_token_id", None)
        if number is None:
            number = getattr(getattr(root, "config", None), f"{name}_token_id", None)
        if isinstance(number, int):
            named[name] = number
    return named


def _piece(tokenizer: Any, word: str) -> str:
    """The text of one token with its spaces; decoding a token alone would drop some of them."""
    if word.endswith("</w>"):
        return word[:-4] + " "
    return word.replace("\u2581", " ") if "\u2581" in word else tokenizer.convert_tokens_to_string([word])
