"""The attention seam: queries, keys, values, scores and patterns of the asked blocks, under any kernel.

transformers looks its attention function up in a table; while a tap is installed, the entry that a block
uses is replaced by one that defers to it for every module without taps. The model's config and masks stay
untouched. Attention outside that table (diffusers, timm) is read from its projections.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from steerlab.errors import SteerlabError
from steerlab.layouts import Layout
from steerlab.looks import Looks, RowSums
from steerlab.numerics.attention import attention_pattern, attention_scores, mix_values, some_scores
from steerlab.points import Tap


def uses_table(module: nn.Module) -> bool:
    """Whether this module's file looks its attention function up in transformers' table."""
    return "ALL_ATTENTION_FUNCTIONS" in vars(sys.modules[type(module).__module__])


def install(module: nn.Module, tap: Tap) -> Callable[[], None]:
    """Tap the attention function of one module; returns the remover."""
    table, name = _entry_of(module)
    seam = _SEAMS.get((id(table), name))
    if seam is None:
        seam = _SEAMS[id(table), name] = _Seam(table, name)
    return seam.add(module, tap)


def watch(modules: Sequence[nn.Module], seen: Callable[..., None]) -> Callable[[], None]:
    """Call ``seen(module, call, output)`` for every attention call of these modules; returns the remover."""
    removers = []
    for table, name in {(id(t), n): (t, n) for t, n in map(_entry_of, modules)}.values():
        seam = _SEAMS.get((id(table), name)) or _SEAMS.setdefault((id(table), name), _Seam(table, name))
        removers.append(seam.watch(seen))

    def remove_all() -> None:
        for remove in removers:
            remove()

    return remove_all


@dataclass(frozen=True, eq=False)
class Call:
    """One call of an attention function, as the model made it."""

    module: nn.Module
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    mask: torch.Tensor | None
    settings: Mapping[str, Any]
    name: str

    def scores(self, rows: slice | None = None, keys: slice | torch.Tensor | None = None) -> torch.Tensor:
        """Scores ``[batch, head, query, key]`` as this call's kernel sees them, of all or of some."""
        bias = self.mask
        if bias is not None and bias.ndim != 4:
            raise SteerlabError(
                f"patterns under attention {self.name!r} are not understood; "
                "load the model with attn_implementation='sdpa' or 'eager'"
            )
        position_bias = self.settings.get("position_bias")
        if position_bias is not None:
            raise SteerlabError("attention with a position bias is not understood yet")
        scale = self.settings.get("scaling")
        causal = self.settings.get("is_causal")
        causal = getattr(self.module, "is_causal", True) if causal is None else causal
        # the eager functions rely on a mask alone
        causal = bool(causal) and self.name != "eager" and bias is None and self.q.shape[2] > 1
        bias = bias if bias is None or bias.dtype == torch.bool else bias[..., : self.k.shape[2]]
        how = {
            "scale": self.q.shape[-1] ** -0.5 if scale is None else scale,
            "softcap": self.settings.get("softcap"),
        }
        if rows is None and keys is None:
            return attention_scores(self.q, self.k, bias=bias, causal=causal, **how)
        return some_scores(self.q, self.k, rows=rows, keys=keys, bias=bias, causal=causal, **how)

    def sinks(self) -> torch.Tensor | None:
        """Sink logits ``[head]`` of models that have them."""
        return self.settings.get("s_aux", getattr(self.module, "sinks", None))


class _Seam:
    """The stand-in for one entry of one attention table, present while somebody needs it."""

    def __init__(self, table: Any, name: str) -> None:
        self.table, self.name = table, name
        self.taps: dict[nn.Module, list[Tap]] = {}
        self.watchers: list[Callable[..., None]] = []
        self.original = table.get(name)
        try:  # a local entry of the user's is put back, a global one shines through again
            del table[name]
            self.local = True
        except KeyError:
            self.local = False
        table[name] = self

    def add(self, module: nn.Module, tap: Tap) -> Callable[[], None]:
        self.taps.setdefault(module, []).append(tap)

        def remove() -> None:
            self.taps[module].remove(tap)
            if not self.taps[module]:
                del self.taps[module]
            self._leave_when_idle()

        return remove

    def watch(self, seen: Callable[..., None]) -> Callable[[], None]:
        self.watchers.append(seen)

        def remove() -> None:
            self.watchers.remove(seen)
            self._leave_when_idle()

        return remove

    def __call__(self, module, query, key, value, attention_mask=None, **settings):
        original = self.original or vars(sys.modules[type(module).__module__])["eager_attention_forward"]
        if module not in self.taps and not self.watchers:
            return original(module, query, key, value, attention_mask, **settings)
        call = Call(module, query, key, value, attention_mask, settings, self.name)
        taps = _reads_last(self.taps.get(module, ()))
        output = _run_call(call, taps, original)
        for seen in self.watchers:
            seen(module, call, output[0])
        return output

    def _leave_when_idle(self) -> None:
        if self.taps or self.watchers:
            return
        if _SEAMS.pop((id(self.table), self.name), None) is None:
            return
        del self.table[self.name]
        if self.local:
            self.table[self.name] = self.original


_SEAMS: dict[tuple[int, str], _Seam] = {}


def _entry_of(module: nn.Module) -> tuple[Any, str]:
    table = vars(sys.modules[type(module).__module__])["ALL_ATTENTION_FUNCTIONS"]
    return table, module.config._attn_implementation or "eager"


def _reads_last(taps: Sequence[Tap]) -> list[Tap]:
    """Reads after changes: they see every change, whichever context made it."""
    return sorted(taps, key=lambda tap: tap.store is not None)


def _run_call(call: Call, taps: Sequence[Tap], original: Callable) -> tuple:
    parts = {"q": call.q, "k": call.k, "v": call.v}
    for tap in taps:
        if tap.point.side in parts:
            parts[tap.point.side] = tap.run(parts[tap.point.side])
    call = Call(call.module, **parts, mask=call.mask, settings=call.settings, name=call.name)
    pattern, changed = _staged(taps, call.scores, call.sinks)
    sums = RowSums()
    with sums if any(tap.point.side == "looks" for tap in taps) else nullcontext():
        output = original(call.module, call.q, call.k, call.v, call.mask, **call.settings)
    if pattern is not None:
        dropped = nn.functional.dropout(pattern, call.settings.get("dropout", 0.0), call.module.training)
        mixed = _where_changed(changed.unsqueeze(-1), mix_values(dropped, call.v), output[0].transpose(1, 2))
        weights = None if output[1] is None else pattern.to(output[1].dtype)
        output = mixed.transpose(1, 2).contiguous(), weights
    for tap in taps:
        if tap.point.side == "looks":
            lse = sums.of(call.q.shape[:3])
            tap.store(Looks(call.q, call.k, call.v, output[0], call.scores, call.sinks(), lse, pattern))
    return output


def _where_changed(changed: torch.Tensor, mixed: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """`mixed` where the pattern changed, elsewhere the bits of the kernel with the gradient of `mixed`.

    An edit in training may start as the identity: it changes nothing yet, and its gradient must not be zero.
    """
    if mixed.requires_grad:
        kernel = kernel.detach() + (mixed - mixed.detach())
    return torch.where(changed, mixed, kernel)


def _staged(
    taps: Sequence[Tap], scores_of: Callable, sinks_of: Callable
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Run the taps on scores, then on the pattern.

    Returns
    -------
    pattern, changed : Tensor
        The pattern ``[batch, head, query, key]``, and which rows of it ``[batch, head, query]`` are not as
        the kernel has them; the others keep what the kernel wrote. None and None without a change.
    """
    inner = [tap for tap in taps if tap.point.side in ("scores", "pattern")]
    if not inner:
        return None, None
    before = scores = scores_of()
    for tap in inner:
        if tap.point.side == "scores":
            scores = tap.change(scores) if tap.store is None else (tap.store(scores), scores)[1]
    changed = None if scores is before else (scores != before).any(-1)
    if all(tap.point.side == "scores" for tap in inner) and changed is None:
        return None, None
    before = pattern = attention_pattern(scores, sinks_of())
    for tap in inner:
        if tap.point.side == "pattern":
            pattern = tap.change(pattern) if tap.store is None else (tap.store(pattern), pattern)[1]
    if pattern is not before:
        rows = (pattern != before).any(-1)
        changed = rows if changed is None else changed | rows
    return (None, None) if changed is None else (pattern, changed)


@dataclass(frozen=True, eq=False)
class Projected:
    """Attention whose queries, keys and values are outputs of modules, as in diffusers and timm.

    Parameters
    ----------
    module : nn.Module
        The attention module.
    q, k, v : tuple of (nn.Module, Layout)
        Where each is found, as ``[batch, token, head, dim]``.
    out : nn.Module
        The output projection; its input is the heads.
    """

    module: nn.Module
    q: tuple[nn.Module, Layout]
    k: tuple[nn.Module, Layout]
    v: tuple[nn.Module, Layout]
    out: nn.Module

    def modules(self) -> list[nn.Module]:
        """The modules whose outputs are needed, each once."""
        return list(dict.fromkeys(module for module, _ in (self.q, self.k, self.v)))

    def parts(self, stash: Mapping) -> list[torch.Tensor]:
        """Queries, keys and values, each ``[batch, head, token, dim]``."""
        return [
            layout.unpack(stash[module], None).transpose(1, 2) for module, layout in (self.q, self.k, self.v)
        ]

    def bias(self, stash: Mapping, keys: int, batch: int) -> torch.Tensor | None:
        """The mask of this call, ``[batch, head, 1 or query, key]``, prepared as the module does."""
        mask = stash[self.module].get("attention_mask")
        if mask is None:
            return None
        mask = self.module.prepare_attention_mask(mask, keys, batch)
        return mask.view(batch, self.q[1].heads, -1, mask.shape[-1])


def run_projected(taps: Sequence[Tap], raw: torch.Tensor) -> torch.Tensor:
    """Run score and pattern taps of one module where `raw` is the input of its output projection."""
    projected, stash = taps[0].point.projected, taps[0].stash
    q, k, v = projected.parts(stash)

    def scores_of(rows: slice | None = None, keys: slice | torch.Tensor | None = None) -> torch.Tensor:
        bias = projected.bias(stash, k.shape[2], k.shape[0])
        how = {"scale": q.shape[-1] ** -0.5, "bias": bias}
        some = rows is not None or keys is not None
        return some_scores(q, k, rows=rows, keys=keys, **how) if some else attention_scores(q, k, **how)

    pattern, changed = _staged(_reads_last(taps), scores_of, lambda: None)
    heads = raw.unflatten(-1, (q.shape[1], -1))
    if pattern is not None:
        kept = changed.transpose(1, 2).unsqueeze(-1)
        heads = _where_changed(kept, mix_values(pattern, v).transpose(1, 2), heads)
    for tap in taps:
        if tap.point.side == "looks":
            tap.store(Looks(q, k, v, heads, scores_of, pattern=pattern))
    return raw if pattern is None else heads.flatten(2)
