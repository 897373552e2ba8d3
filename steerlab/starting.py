"""An intervention that begins while a model generates, and the cache read again when it does."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch

from steerlab import taps
from steerlab.clock import Clock
from steerlab.editing import Editing
from steerlab.errors import SteerlabError
from steerlab.signatures import parameter_names


class Start:
    """Begins an intervention between two steps of one `generate`, so that its rows and its chance go on.

    transformers asks its stopping criteria after each new token; this one never stops anything.

    Parameters
    ----------
    module : nn.Module
        The model.
    columns : int
        Columns of the prompt, as transformers counts them.
    begin : int
        New tokens before the intervention begins.
    recompute : bool
        Whether what is cached by then is read again under the intervention.
    """

    def __init__(self, module: Any, columns: int, begin: int, recompute: bool) -> None:
        self._module, self._columns, self._begin, self._recompute = module, columns, begin, recompute
        self._begun = False
        self._cache: Any = None
        self._mask: torch.Tensor | None = None

    def prepare(self, stack: ExitStack, clock: Clock, editing: Editing, inputs: Mapping[str, Any]) -> None:
        """Follow the run from its start; what `stack` holds ends with the generation."""
        self._stack, self._editing = stack, editing
        self._mask = inputs.get("attention_mask")
        stack.callback(clock.follow())
        for prefix in clock.towers:
            stack.callback(clock.listen(prefix))
        if self._recompute:
            if "input_ids" not in inputs:
                raise SteerlabError("recompute_cache=True needs token ids, to read them again")
            stack.callback(taps.before(self._module, self._look))

    def among(self, others: Any) -> list[Any]:
        """The user's stopping criteria and this one, as transformers takes them."""
        from transformers import StoppingCriteriaList

        return StoppingCriteriaList([*(others or []), self])

    def __call__(self, ids: torch.Tensor, scores: Any, **settings: Any) -> torch.Tensor:
        """Be told what was said, ``[row, column]``; begin when it is time."""
        if not self._begun and ids.shape[1] - self._columns >= self._begin:
            self._begun = True
            self._stack.enter_context(self._editing)
            if self._recompute and self._cache is not None:
                self._read_again(ids[:, :-1])
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    def check(self, columns: int) -> None:
        """Refuse a generation that ended before the intervention began."""
        said = columns - self._columns
        if said <= self._begin:  # the last token is said, but never read
            raise SteerlabError(
                f"begin={self._begin}: the generation ended after {said} new tokens, before the intervention "
                "could act (strict=False accepts this)"
            )

    def _look(self, args: tuple, kwargs: dict[str, Any]) -> None:
        self._cache = kwargs.get("past_key_values")

    def _read_again(self, ids: torch.Tensor) -> None:
        """Empty the cache and fill it anew with everything that it held."""
        if self._cache.get_seq_length() != ids.shape[1]:
            raise SteerlabError(
                f"recompute_cache=True: the cache holds {self._cache.get_seq_length()} tokens, of which "
                f"{ids.shape[1]} are known by their ids; give the ids of the whole conversation"
            )
        self._cache.reset()
        mask = torch.ones_like(ids)
        if self._mask is not None:
            known = self._mask.repeat_interleave(len(ids) // len(self._mask), 0)
            mask[:, : known.shape[1]] = known
        more = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": 1}
        names = parameter_names(self._module.forward)
        inputs = self._module.prepare_inputs_for_generation(
            ids,
            past_key_values=self._cache,
            attention_mask=None if bool(mask.all()) else mask,
            use_cache=True,
            is_first_iteration=True,
            **{name: value for name, value in more.items() if name in names},
        )
        self._module(**inputs, return_dict=True)
