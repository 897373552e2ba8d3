"""Generation: where the prompt ends, what was said so far, which rows are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from steerlab import calls
from steerlab.errors import SteerlabError
from steerlab.moment import Moment
from steerlab.runs.base import Run
from steerlab.tokens import TokenMap


@dataclass(frozen=True, eq=False)
class _Prompt:
    """What a generation starts from.

    Parameters
    ----------
    columns : int
        Width of the prompt, padding counted.
    ids, real : Tensor, optional
        ``[batch, column]``: the prompt's ids, where it has ids, and what of it is not padding.
    ends : tuple of int
        Ids after which a row is done: the end of the text, and the padding that follows it.
    beams : int
        Beams that change places between steps; 1 where rows stay what they are.
    """

    columns: int
    ids: torch.Tensor | None = None
    real: torch.Tensor | None = None
    ends: tuple[int, ...] = ()
    beams: int = 1


class GeneratingRun(Run):
    """Follows a model that generates, by `generate` or by hand with a cache.

    By hand, the forward that starts on an empty cache holds the prompt, and single tokens that continue the
    cache are generated. Several tokens at once may be either, which is refused where it matters.

    Parameters
    ----------
    model : nn.Module
        The model; its `generate` is listened to where it has one.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._prompt: _Prompt | None = None
        self._inside = False
        self._start = 0
        self._ids: torch.Tensor | None = None
        self._mask: torch.Tensor | None = None
        self._unknown = ""

    def follow(self) -> Callable[[], None]:
        """Listen to `generate`."""
        if not callable(getattr(self._model, "generate", None)):
            return lambda: None
        return calls.listen(self._model, "generate", before=self._begin, after=self._end)

    def enter(self, tower: str, inputs: Mapping[str, Any]) -> None:
        """Note where this forward starts, and add its ids to what was said."""
        ids, embeds = inputs.get("input_ids"), inputs.get("inputs_embeds")
        given = ids if ids is not None else embeds
        if given is None:
            return
        start, count = int(inputs.get("cached_tokens", 0)), given.shape[1]
        mask = inputs.get("attention_mask")
        self._mask = mask.bool() if isinstance(mask, torch.Tensor) and mask.ndim == 2 else None
        if not self._inside:
            self._by_hand(start, count)
        self._ids = self._said(start, ids)
        self._start = start

    def moment(self, tower: str, tokens: TokenMap | None, forward: int) -> Moment:
        """The tokens of this forward, seen from the start of the run."""
        if tokens is None or self._prompt is None:
            return Moment(tokens, forward)
        prompt, ends = self._prompt, self._start + tokens.count
        real, done = self._real(tokens), self._done(tokens)
        ids = self._ids

        def keys(count: int) -> TokenMap:
            """The last columns, as attention sees them in a cache that grows."""
            columns = slice(ends - count, ends)
            if count > ends:
                raise SteerlabError(
                    f"attention sees {count} keys of {ends} tokens: in a cache of fixed size it is not known "
                    "which they are; generate with a cache that grows"
                )
            return replace(
                known,
                count=count,
                start=ends - count,
                real=real[:, columns] & ~done[:, columns],
                position=(real.long().cumsum(1) - 1)[:, columns],
                ids=None if ids is None else ids[:, columns],
            )

        known = replace(
            tokens,
            start=self._start,
            prompt=prompt.columns,
            prompt_real=real[:, : prompt.columns].sum(1),
            real=tokens.real & ~done[:, self._start :] if tokens.real is not None else None,
            sequence=lambda: self._sequence(tokens, real),
            keys=keys,
            unknown=self._unknown,
        )
        return Moment(known, forward)

    def _begin(self, given: Mapping[str, Any]) -> None:
        config = given.get("generation_config") or self._model.generation_config

        def setting(name: str) -> Any:
            value = given.get(name)
            return getattr(config, name, None) if value is None else value

        if setting("guidance_scale") not in (None, 1, 1.0):
            raise SteerlabError(
                "generate(guidance_scale=...) runs the model a second time on other tokens, which the clock "
                "does not follow; leave guidance_scale out, or do without a choice of tokens"
            )
        ids = next((given[n] for n in ("input_ids", "inputs") if given.get(n) is not None), None)
        whole = ids if ids is not None else given.get("inputs_embeds")
        columns = 1 if whole is None else whole.shape[1]
        ends = _ids(setting("eos_token_id")) + _ids(setting("pad_token_id"))
        real = given.get("attention_mask")
        if real is None and ids is not None:  # as transformers guesses it
            real = torch.ones_like(ids, dtype=torch.bool)
            for pad in set(_ids(setting("pad_token_id"))) - set(_ids(setting("eos_token_id"))):
                real = ids != pad
        beams = setting("num_beams") or 1
        self._prompt = _Prompt(columns, ids, None if real is None else real.bool(), tuple(ends), beams)
        self._inside, self._unknown, self._ids = True, "", None

    def _end(self, result: Any) -> None:
        self._inside, self._prompt, self._ids = False, None, None

    def _by_hand(self, start: int, count: int) -> None:
        if start == 0:
            self._prompt, self._unknown, self._ids = _Prompt(count), "", None
        elif self._prompt is None:
            self._prompt = _Prompt(start)
            self._unknown = "the forward that read the prompt ran before this context began"
        elif count > 1:
            self._unknown = (
                f"{count} tokens follow {start} cached ones outside of generate(): they may be a part of the "
                "prompt or be generated; use generate(prefill_chunk_size=...) or read the prompt at once"
            )

    def _said(self, start: int, ids: torch.Tensor | None) -> torch.Tensor | None:
        """Ids from the first column on, as far as they are known; None where some never had ids."""
        if ids is None:
            return None
        if start == 0:
            return ids
        before = self._ids if self._ids is not None and self._ids.shape[1] >= start else self._prompt.ids
        if before is None or before.shape[1] < start:
            return None
        return torch.cat([_for_rows(before, ids.shape[0])[:, :start].to(ids.device), ids], 1)

    def _real(self, tokens: TokenMap) -> torch.Tensor:
        """What is not padding, ``[batch, column]``, of the prompt and of everything up to this forward."""
        rows = tokens.position.shape[0]
        ends = self._start + tokens.count
        real = torch.ones(rows, ends, dtype=torch.bool, device=tokens.position.device)
        if self._mask is not None and self._mask.shape[1] >= ends:
            real = self._mask[:, :ends]
        if self._prompt.real is not None and self._prompt.real.shape[1] > ends:  # a chunk of the prompt
            rest = _for_rows(self._prompt.real, rows)[:, ends:].to(real.device)
            real = torch.cat([real, rest], 1)
        return real

    def _sequence(self, tokens: TokenMap, real: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._prompt.beams > 1 and self._start:
            raise SteerlabError(
                "with num_beams > 1 rows change places, so what each of them said is not known"
            )
        ids = self._ids
        if ids is None:
            raise SteerlabError("the earlier tokens of this run were read before this context, or had no ids")
        if self._prompt.ids is not None and self._prompt.ids.shape[1] > ids.shape[1]:
            ids = torch.cat([ids, _for_rows(self._prompt.ids, len(ids))[:, ids.shape[1] :].to(ids.device)], 1)
        return ids, real[:, : ids.shape[1]]

    def _done(self, tokens: TokenMap) -> torch.Tensor:
        """``[batch, column]`` up to this forward: rows that had ended before, or end with this token."""
        rows, ends = tokens.position.shape[0], self._start + tokens.count
        done = torch.zeros(rows, ends, dtype=torch.bool, device=tokens.position.device)
        prompt = self._prompt
        if not prompt.ends or prompt.beams > 1 or self._ids is None or self._ids.shape[1] <= prompt.columns:
            return done
        said = torch.isin(self._ids[:, prompt.columns :], torch.tensor(prompt.ends, device=self._ids.device))
        done[:, prompt.columns :] = said.cumsum(1) > 0
        return done


def _ids(value: Any) -> list[int]:
    """Token ids as a list, from a number, a list, a tensor or nothing."""
    if value is None:
        return []
    return [int(one) for one in torch.as_tensor(value).reshape(-1).tolist()]


def _for_rows(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """Rows of the prompt for the rows of the run, which holds several answers to each."""
    count = tensor.shape[0]
    return tensor if count == rows else tensor.repeat_interleave(rows // count, 0)
