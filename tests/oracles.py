"""Ground truth for hook tests: what stands at each named site of a tiny model, by plain torch hooks alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from oracle_rows import DENOISERS, ROWS, Row
from torch import nn

HEADS = 4  # in every tiny transformer; attention modules of diffusers state their own


@dataclass(frozen=True)
class Point:
    """Where a site is: `kind` says how to reach it (see `hooked`), `path` names the module."""

    kind: str
    path: str
    other: str = ""
    heads: int = 0  # split the last axis into so many heads


def module_at(model: Any, path: str) -> nn.Module:
    for name in path.split("."):
        model = model[int(name)] if name.isdigit() else getattr(model, name)
    return model


def tower_points(model: Any, prefix: str, row: Row) -> dict[str, Point]:
    points = {f"{prefix}embed": Point("in", f"{row.blocks}.0")}
    for i in range(len(module_at(model, row.blocks))):
        site, block = f"{prefix}blocks.{i}", f"{row.blocks}.{i}"
        points |= {f"{site}.resid_pre": Point("in", block), f"{site}.resid": Point("out", block)}
        if row.attn:
            points[f"{site}.attn"] = Point("out", f"{block}.{row.attn}")
            points[f"{site}.heads"] = Point("in", f"{block}.{row.proj}", heads=HEADS)
            kind, core = ("softmax", f"{block}.{row.core}") if row.core else ("product", f"{block}.attn")
            points[f"{site}.pattern"] = Point(kind, core)
        if row.mid:
            points[f"{site}.resid_mid"] = Point("sum", block, f"{block}.{row.attn}")
        points[f"{site}.mlp"] = Point("out", f"{block}.{row.mlp}")
        if row.act:
            points[f"{site}.mlp.act"] = Point("in", f"{block}.{row.act}")
    points |= {f"{prefix}final": Point("out", row.final)} if row.final else {}
    points |= {f"{prefix}logits": Point("out", row.logits)} if row.logits else {}
    return points


def denoiser_block_points(model: Any, site: str, path: str) -> dict[str, Point]:
    """The blocks of one stack of diffusers' transformer blocks, each with self and cross attention."""
    points = {}
    for k, block in enumerate(module_at(model, f"{path}.transformer_blocks")):
        at, here = f"{site}.blocks.{k}", f"{path}.transformer_blocks.{k}"
        points |= {f"{at}.resid_pre": Point("in", here), f"{at}.resid": Point("out", here)}
        for name, attention in (("self", "attn1"), ("cross", "attn2")):
            heads = getattr(block, attention).heads
            points[f"{at}.{name}.heads"] = Point("in", f"{here}.{attention}.to_out.0", heads=heads)
            points[f"{at}.{name}.pattern"] = Point("product", f"{here}.{attention}")
        points[f"{at}.mlp.act"] = Point("in", f"{here}.ff.net.2")
    return points


def denoiser_points(model: Any, root: str) -> dict[str, Point]:
    points = {f"{root}.latent": Point("in", root), f"{root}.noise": Point("out", root)}
    if root == "transformer":
        points["transformer.embed"] = Point("in", "transformer.transformer_blocks.0")
        return points | denoiser_block_points(model, root, root)
    stages = [(f"down.{i}", f"down_blocks.{i}") for i in range(len(model.unet.down_blocks))]
    stages += [("mid", "mid_block")]
    stages += [(f"up.{i}", f"up_blocks.{i}") for i in range(len(model.unet.up_blocks))]
    for stage, path in stages:
        for j in range(len(getattr(module_at(model, f"unet.{path}"), "attentions", ()))):
            site, stream = f"unet.{stage}.{j}", f"unet.{path}.attentions.{j}"
            points |= {f"{site}.resid_pre": Point("in", stream), f"{site}.resid": Point("out", stream)}
            points |= {f"{site}.update": Point("difference", stream)}
            points |= denoiser_block_points(model, site, stream)
    return points


def points(tiny: Any) -> dict[str, Point]:
    """Every site of the model, by name."""
    found: dict[str, Point] = {}
    for prefix, row in ROWS[tiny.family].items():
        found |= tower_points(tiny.model, prefix, row)
    if tiny.family in DENOISERS:
        found |= denoiser_points(tiny.model, DENOISERS[tiny.family])
    if tiny.family == "plain":  # no vocabulary: any module by its path
        found |= {
            "module:3:input": Point("in", "3"),
            "module:3": Point("out", "3"),
            "module:4": Point("out", "4"),
        }
    return found


Fn = Callable[[torch.Tensor], torch.Tensor]


def canonical(x: torch.Tensor, fn: Fn, heads: int, batch: int) -> torch.Tensor:
    """Apply fn to x seen as [batch, token, channel] or [batch, token, head, dim], and put x's shape back."""
    if x.ndim == 4:  # a map: batch, channel, height, width
        return fn(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(x.shape)
    seen = x.reshape(batch, -1, x.shape[-1]) if x.ndim == 2 else x
    seen = seen.unflatten(-1, (heads, -1)) if heads else seen
    return fn(seen).reshape(x.shape)


def first(value: Any) -> torch.Tensor:
    return value if torch.is_tensor(value) else value[0]


def on_input(module: nn.Module, change: Fn) -> Any:
    def hook(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        name = "hidden_states" if "hidden_states" in kwargs else "sample"
        return args, kwargs | {name: change(kwargs[name])}

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def on_output(module: nn.Module, change: Fn) -> Any:
    def hook(_: nn.Module, args: tuple, output: Any) -> Any:
        changed = change(first(output))
        return changed if torch.is_tensor(output) else (changed, *output[1:])

    # Put first: transformers keeps hooks of its own that collect hidden states, and they must see the change.
    return module.register_forward_hook(hook, prepend=True)


def keep(store: dict[str, torch.Tensor], name: str) -> Fn:
    def change(x: torch.Tensor) -> torch.Tensor:
        store[name] = x
        return x

    return change


@contextmanager
def softmax_changed(core: nn.Module, fn: Fn, sink: bool) -> Iterator[None]:
    """Change what torch's softmax returns while an eager attention runs."""
    real, inside = nn.functional.softmax, []

    def softmax(*args: Any, **kwargs: Any) -> torch.Tensor:
        probs = real(*args, **kwargs)
        if not inside:
            return probs
        return torch.cat([fn(probs[..., :-1]), probs[..., -1:]], -1) if sink else fn(probs)

    enter = core.register_forward_pre_hook(lambda *_: inside.append(True))
    leave = core.register_forward_hook(lambda *_: inside.clear())
    nn.functional.softmax = softmax
    try:
        yield
    finally:
        nn.functional.softmax = real
        enter.remove()
        leave.remove()


def product_hooks(attention: nn.Module, fn: Fn) -> list[Any]:
    """Work out the pattern from queries and keys, and feed the output projection from what fn makes of it."""
    kept: dict[str, Any] = {}
    timm = hasattr(attention, "qkv")

    def see_mask(_: nn.Module, args: tuple, kwargs: dict) -> None:
        kept["mask"] = kwargs.get("attention_mask")

    def mixed(x: torch.Tensor) -> torch.Tensor:
        heads = attention.num_heads if timm else attention.heads
        q, k, v = kept["qkv"].chunk(3, -1) if timm else (kept["q"], kept["k"], kept["v"])
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if kept["mask"] is not None:  # [batch, 1, key], added to the scores
            scores = scores + kept["mask"].unsqueeze(1)
        return (fn(scores.softmax(-1)) @ v).transpose(1, 2).reshape(x.shape)

    if timm:
        sources = [on_output(attention.qkv, keep(kept, "qkv"))]
    else:
        sources = [on_output(getattr(attention, f"to_{n}"), keep(kept, n)) for n in "qkv"]
    projection = attention.proj if timm else attention.to_out[0]
    mask = attention.register_forward_pre_hook(see_mask, with_kwargs=True)
    return [mask, *sources, on_input(projection, mixed)]


@contextmanager
def hooked(tiny: Any, model: Any, point: Point, fn: Fn, batch: int) -> Iterator[None]:
    """Have fn applied to the canonical tensor at the point, each time the model passes it."""
    kept: dict[str, torch.Tensor] = {}
    module = module_at(model, point.path)

    def shaped(x: torch.Tensor) -> torch.Tensor:
        return canonical(x, fn, point.heads, batch)

    def moved(x: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        return x + (shaped(whole) - whole)  # fn speaks of the whole, and x is the part of it that can change

    with ExitStack() as stack:
        handles = []
        if point.kind == "in":
            handles = [on_input(module, shaped)]
        elif point.kind == "out":
            handles = [on_output(module, shaped)]
        elif point.kind == "sum":  # what the block was given and its attention's addition
            handles = [on_input(module, keep(kept, "x"))]
            handles += [on_output(module_at(model, point.other), lambda a: moved(a, kept["x"] + a))]
        elif point.kind == "difference":  # the module's output less its input
            handles = [
                on_input(module, keep(kept, "x")),
                on_output(module, lambda y: moved(y, y - kept["x"])),
            ]
        elif point.kind == "product":
            handles = product_hooks(module, fn)
        else:
            stack.enter_context(softmax_changed(module, fn, sink=tiny.family == "gpt_oss"))
        for handle in handles:
            stack.callback(handle.remove)
        yield


def main(output: Any) -> torch.Tensor:
    """The tensor of a model's output that the tests compare, one that every site has a part in."""
    if getattr(output, "predictor_output", None) is not None:
        return output.predictor_output.last_hidden_state
    for name in ("images", "logits", "logits_per_image", "last_hidden_state"):
        if hasattr(output, name):
            return getattr(output, name)
    return output


def run(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    seed = {"generator": torch.Generator().manual_seed(0)} if "prompt" in inputs else {}
    with torch.no_grad():
        return main(model(**inputs, **seed))


def eager(model: Any) -> Any:
    """A copy of the model, or of the pipeline, whose transformers compute attention step by step."""
    model = copy.deepcopy(model)
    for part in model.components.values() if hasattr(model, "components") else [model]:
        for module in part.modules() if isinstance(part, nn.Module) else ():
            if hasattr(module, "set_attn_implementation"):  # a model of transformers may be a part of another
                module.set_attn_implementation("eager")
    return model


def sites(tiny: Any) -> list[str]:
    return list(points(tiny))


def bare(tiny: Any, inputs: dict[str, Any] | None = None) -> torch.Tensor:
    """The main output with nothing attached."""
    return run(tiny.model, inputs or tiny.inputs)


def write(tiny: Any, site: str, fn: Fn, inputs: dict[str, Any] | None = None) -> torch.Tensor:
    """The main output when fn changes the canonical tensor at the site, each time the model passes it."""
    point, inputs = points(tiny)[site], inputs or tiny.inputs
    model = eager(tiny.model) if point.kind == "softmax" else tiny.model
    with hooked(tiny, model, point, fn, batch=len(next(iter(inputs.values())))):
        return run(model, inputs)


def read(tiny: Any, site: str, inputs: dict[str, Any] | None = None) -> torch.Tensor:
    """The canonical tensor at the site, the first time the model passes it."""
    seen: list[torch.Tensor] = []

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.clone())
        return x

    write(tiny, site, look, inputs)
    return seen[0]
