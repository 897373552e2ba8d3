"""What users pass, turned into keyword arguments; and the tiny inputs that prove a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from steerlab.errors import SteerlabError, listing
from steerlab.families.chats import chat_texts, conversations
from steerlab.families.family import child
from steerlab.signatures import parameter_names

Forwards = list[tuple[nn.Module, dict[str, Any]]]


def text_inputs(inputs: Any, processor: Any, model: Any) -> dict[str, Any]:
    """Text, a list of texts, chat messages, token ids ``[batch, token]`` or keyword arguments."""
    if isinstance(inputs, Mapping):
        return _to_device(dict(inputs), model)
    if isinstance(inputs, torch.Tensor):
        if inputs.is_floating_point() or inputs.ndim != 2:
            raise SteerlabError(
                f"token ids are integers [batch, token], not {inputs.dtype} {list(inputs.shape)}"
            )
        return _to_device({"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}, model)
    chats = conversations(inputs)
    if chats is not None or isinstance(inputs, str) or _are(inputs, str):
        tokenizer = getattr(processor, "tokenizer", processor)
        if tokenizer is None:
            raise SteerlabError("text needs a tokenizer: wrap(model, tokenizer), or pass token ids")
        if chats is not None:  # the template writes the special tokens itself
            texts = chat_texts(chats, processor)
            return _to_device(_tokenized(tokenizer, texts, add_special_tokens=False), model)
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        return _to_device(_tokenized(tokenizer, texts), model)
    raise SteerlabError(
        f"a text model takes text, token ids or keyword arguments, not {type(inputs).__name__}"
    )


def _tokenized(tokenizer: Any, texts: list[str], **how: Any) -> dict[str, Any]:
    """Ids and mask of some texts, padded where there are several."""
    if len(texts) > 1 and getattr(tokenizer, "pad_token", "") is None:
        raise SteerlabError(
            f"{len(texts)} texts at once need padding, and this {type(tokenizer).__name__} has no padding "
            "token; set tokenizer.pad_token = tokenizer.eos_token"
        )
    return dict(tokenizer(texts, return_tensors="pt", padding=len(texts) > 1, **how))


def image_inputs(inputs: Any, processor: Any, model: Any) -> dict[str, Any]:
    """Images, pixel values ``[batch, channel, height, width]`` or keyword arguments."""
    if isinstance(inputs, Mapping):
        return _to_device(dict(inputs), model)
    name = _pixel_name(model)
    if isinstance(inputs, torch.Tensor) and inputs.is_floating_point():
        return _to_device({name: inputs}, model)
    if processor is None or not callable(processor):
        raise SteerlabError("images need a processor: wrap(model, processor), or pass pixel values")
    images = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    return _to_device(dict(processor(images=images, return_tensors="pt")), model)


def paired_inputs(inputs: Any, processor: Any, model: Any) -> dict[str, Any]:
    """``(texts, images)``, texts or images alone for one tower, or keyword arguments."""
    if isinstance(inputs, Mapping):
        return _to_device(dict(inputs), model)
    if isinstance(inputs, tuple) and len(inputs) == 2:
        texts, images = inputs
        return {**text_inputs(texts, processor, model), **image_inputs(images, processor, model)}
    is_text = isinstance(inputs, str) or _are(inputs, str)
    if is_text or (isinstance(inputs, torch.Tensor) and not inputs.is_floating_point()):
        return text_inputs(inputs, processor, model)
    return image_inputs(inputs, processor, model)


def pipeline_inputs(inputs: Any, processor: Any, model: Any) -> dict[str, Any]:
    """A prompt, a list of prompts, or keyword arguments of the pipeline."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    if isinstance(inputs, str) or _are(inputs, str):
        return {"prompt": inputs}
    raise SteerlabError(f"a pipeline takes a prompt or keyword arguments, not {type(inputs).__name__}")


def plain_inputs(inputs: Any, processor: Any, model: Any) -> dict[str, Any]:
    """Keyword arguments, or one tensor for the first parameter of the forward."""
    if isinstance(inputs, Mapping):
        return _to_device(dict(inputs), model)
    if isinstance(inputs, torch.Tensor):
        return _to_device({parameter_names(model.forward)[0]: inputs}, model)
    raise SteerlabError(f"this model takes a tensor or keyword arguments, not {type(inputs).__name__}")


def text_proof(model: nn.Module) -> Forwards:
    """Five tokens that are not padding."""
    return [(model, {"input_ids": _ids(model.config, 5), "use_cache": False})]


def image_proof(model: nn.Module) -> Forwards:
    """One image of the size in the config."""
    return [(model, {"pixel_values": _pixels(model, model.config)})]


def any_size_proof(model: nn.Module) -> Forwards:
    """One image of 4 x 6 patches, for encoders that take images of any size."""
    config, patch = model.config, model.config.patch_size
    return [(model, {"pixel_values": _noise(model, 1, config.num_channels, 4 * patch, 6 * patch)})]


def saliency_proof(model: nn.Module) -> Forwards:
    """One image of 16 x 16 patches, as its processor makes it; the config names a larger one."""
    config = model.backbone.config
    side = 16 * config.patch_size
    return [(model, {"pixel_values": _noise(model, 1, config.num_channels, side, side)})]


def timm_proof(model: nn.Module) -> Forwards:
    """One image of the size of the patch embedding."""
    height, width = model.patch_embed.img_size or (64, 64)
    return [(model, {"x": _noise(model, 1, model.patch_embed.proj.in_channels, height, width)})]


def clip_proof(model: nn.Module) -> Forwards:
    """One image and five tokens, or the one tower that is there."""
    kwargs: dict[str, Any] = {}
    if child(model, "text_model") is not None:
        kwargs["input_ids"] = _ids(getattr(model.config, "text_config", model.config), 5)
    if child(model, "vision_model") is not None:
        kwargs["pixel_values"] = _pixels(model, getattr(model.config, "vision_config", model.config))
    return [(model, kwargs)]


def clip_text_proof(model: nn.Module) -> Forwards:
    """Five tokens for a text tower alone."""
    return [(model, {"input_ids": _ids(model.config, 5)})]


def siglip2_proof(model: nn.Module) -> Forwards:
    """Six patches of one image in a grid of 2 x 3, and five tokens."""
    config = getattr(model.config, "vision_config", model.config)
    patch = config.num_channels * config.patch_size**2
    kwargs = {
        "pixel_values": _noise(model, 1, 6, patch),
        "pixel_attention_mask": torch.ones(1, 6, dtype=torch.long, device=_device(model)),
        "spatial_shapes": torch.tensor([[2, 3]], device=_device(model)),
    }
    if child(model, "text_model") is not None:
        kwargs["input_ids"] = _ids(model.config.text_config, 5)
    return [(model, _to_device(kwargs, model))]


def video_proof(model: nn.Module) -> Forwards:
    """One short clip; encoders that scale get two tubes of it."""
    config = model.config
    if config.model_type == "vjepa2":
        clip = _noise(model, 1, 2 * config.tubelet_size, config.in_chans, config.crop_size, config.crop_size)
        return [(model, {"pixel_values_videos": clip})]
    clip = _noise(model, 1, config.num_frames, config.num_channels, config.image_size, config.image_size)
    return [(model, {"pixel_values": clip})]


def pipeline_proof(pipe: Any) -> Forwards:
    """A small latent with random conditions for the denoiser, five tokens for each text encoder."""
    forwards: Forwards = []
    for name in ("text_encoder", "text_encoder_2"):
        encoder = getattr(pipe, name, None)
        if encoder is not None and encoder.config.model_type == "clip_text_model":
            forwards += clip_text_proof(encoder)
    if getattr(pipe, "unet", None) is not None:
        forwards.append((pipe.unet, _unet_kwargs(pipe)))
    if getattr(pipe, "transformer", None) is not None:
        forwards.append((pipe.transformer, _transformer_kwargs(pipe.transformer)))
    return forwards


def no_proof(model: Any) -> Forwards:
    """Nothing is claimed, so nothing is proved."""
    return []


def _unet_kwargs(pipe: Any) -> dict[str, Any]:
    unet, config = pipe.unet, pipe.unet.config
    side = 2 ** len(config.down_block_types)
    kwargs = {
        "sample": _noise(unet, 1, config.in_channels, side, 2 * side),
        "timestep": torch.tensor([1], device=_device(unet)),
        "encoder_hidden_states": _noise(unet, 1, 5, config.cross_attention_dim),
    }
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        time_ids = torch.zeros(1, 6, device=_device(unet), dtype=kwargs["sample"].dtype)
        kwargs["added_cond_kwargs"] = {"text_embeds": _noise(unet, 1, pooled), "time_ids": time_ids}
    return kwargs


def _transformer_kwargs(transformer: nn.Module) -> dict[str, Any]:
    config = transformer.config
    side = config.patch_size * 4
    return {
        "hidden_states": _noise(transformer, 1, config.in_channels, side, 2 * side),
        "encoder_hidden_states": _noise(transformer, 1, 5, config.caption_channels),
        "timestep": torch.tensor([1], device=_device(transformer)),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


def _ids(config: Any, count: int) -> torch.Tensor:
    """Distinct ids from the middle of the vocabulary, where no special tokens are."""
    middle = config.vocab_size // 2
    return torch.arange(middle, middle + count)[None] % config.vocab_size


def _pixels(model: nn.Module, config: Any) -> torch.Tensor:
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return _noise(model, 1, config.num_channels, height, width)


def _noise(model: nn.Module, *shape: int) -> torch.Tensor:
    weights = next(p for p in model.parameters() if p.is_floating_point())
    generator = torch.Generator().manual_seed(0)
    # what it computes in, where that is not what it stores
    dtype = getattr(model, "dtype", None)
    dtype = dtype if isinstance(dtype, torch.dtype) and dtype.is_floating_point else weights.dtype
    dtype = dtype if dtype.itemsize > 1 else torch.float32
    return torch.randn(shape, generator=generator).to(device=_device(model), dtype=dtype)


def _device(model: Any) -> torch.device:
    if not isinstance(model, nn.Module):
        return torch.device("cpu")
    return next((p.device for p in model.parameters() if p.device.type != "meta"), torch.device("cpu"))


def _to_device(kwargs: dict[str, Any], model: Any) -> dict[str, Any]:
    device = _device(model)
    return {name: v.to(device) if isinstance(v, torch.Tensor) else v for name, v in kwargs.items()}


def _pixel_name(model: nn.Module) -> str:
    names = parameter_names(model.forward)
    found = [name for name in names if name in ("pixel_values", "pixel_values_videos", "x")]
    if not found:
        raise SteerlabError(f"{type(model).__name__} takes no pixels (its forward takes {listing(names)})")
    return found[0]


def _are(inputs: Any, kind: type) -> bool:
    return isinstance(inputs, (list, tuple)) and bool(inputs) and all(isinstance(i, kind) for i in inputs)
