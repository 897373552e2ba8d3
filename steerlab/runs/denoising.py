"""Denoising: which step of the scheduler a forward belongs to, and which guidance branches it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from steerlab import calls
from steerlab.moment import Moment
from steerlab.runs.base import Run
from steerlab.runs.guidance import Branches, layout, named_pass
from steerlab.steps import Step
from steerlab.tokens import TokenMap


class DenoisingRun(Run):
    """Follows a pipeline: its scheduler, its prompt encoder, its guider.

    Steps are counted by `scheduler.step` from `scheduler.set_timesteps` on, so a run that takes only the last
    part of a schedule (image to image) starts at step 0, and several denoisers share one count.

    Parameters
    ----------
    pipe : object
        The pipeline.
    denoisers : iterable of str
        Names of its parts that denoise; other towers encode prompts.
    """

    tells_time = True

    def __init__(self, pipe: Any, denoisers: Iterable[str]) -> None:
        self._pipe, self._denoisers = pipe, tuple(denoisers)
        self._scheduler: Any = None
        self._leave_scheduler: Callable[[], None] = lambda: None
        self._taken = 0  # calls of scheduler.step
        self._steps: list[int] | None = None  # the step of each call to come
        self._offset = 0
        self._images: int | None = None
        self._guided: bool | None = None
        self._pass: Branches | None = None
        self._passes: list[str] = []
        self._prompts: list[str] | None = None  # branches that the encoders are still to read
        self._read: dict[str, int] = {}
        self._now: dict[str, Moment] = {}

    def follow(self) -> Callable[[], None]:
        """Listen to the parts of the pipeline."""
        pipe, removers = self._pipe, []
        heard = {
            "encode_prompt": {"before": self._encode, "after": self._encoded},
            "_encode_prompt": {"before": self._encode, "after": self._encoded},
            "prepare_latents": {"after": self._latents},
        }
        for name, looks in heard.items():
            if callable(getattr(pipe, name, None)):
                removers.append(calls.listen(pipe, name, **looks))
        for name in self._denoisers:
            if callable(getattr(getattr(pipe, name), "cache_context", None)):
                removers.append(calls.listen(getattr(pipe, name), "cache_context", before=self._named))
        guider = getattr(pipe, "guider", None)
        if guider is not None:
            for name in ("prepare_inputs", "prepare_inputs_from_block_state"):
                removers.append(calls.listen(guider, name, after=self._prepared))
            removers.append(calls.listen(guider, "prepare_models", before=self._next_pass))
        self._hear_scheduler()

        def leave() -> None:
            self._leave_scheduler()
            self._leave_scheduler, self._scheduler = (lambda: None), None
            for remove in reversed(removers):
                remove()

        return leave

    def enter(self, tower: str, inputs: Mapping[str, Any]) -> None:
        """Note the step and the branches of a denoiser's forward, or the branch that an encoder reads."""
        if tower in self._denoisers:
            self._now[tower] = self._denoising(inputs)
        else:
            self._now[tower] = self._encoding(tower)

    def denoises(self, tower: str) -> bool:
        """Whether a tower runs once or more for every denoising step."""
        return tower in self._denoisers

    def moment(self, tower: str, tokens: TokenMap | None, forward: int) -> Moment:
        """Where the tower's current forward stands."""
        now = self._now.get(tower, Moment())
        return Moment(tokens, forward, now.step, now.branches, now.without_step, now.without_branches)

    def _denoising(self, inputs: Mapping[str, Any]) -> Moment:
        rows = next(v for v in inputs.values() if isinstance(v, torch.Tensor) and v.ndim > 1).shape[0]
        step, without_step = self._step(inputs.get("timestep"))
        if self._pass is not None and len(self._pass) == 1:
            branches, without = self._pass, ""
        else:
            branches, without = layout(self._pipe, rows, self._images, self._is_guided())
        return Moment(None, 0, step, branches, without_step, without)

    def _step(self, timestep: Any) -> tuple[Step | None, str]:
        if self._scheduler is not getattr(self._pipe, "scheduler", None):
            return None, "the pipeline's scheduler was replaced during the run"
        if self._steps is None:
            begun = self._begun(timestep)
            if begun:
                return None, begun
        if self._taken >= len(self._steps):
            return None, f"the scheduler has {len(self._steps)} calls, the denoiser is asked for more"
        times, place = self._scheduler.timesteps, self._offset + self._taken
        return (
            Step(self._steps[self._taken], self._steps[-1] + 1, float(times[place]), self._sigma(place)),
            "",
        )

    def _begun(self, timestep: Any) -> str:
        """Work out the steps at the first forward of a run; returns why that cannot be done."""
        times = getattr(self._scheduler, "timesteps", None)
        if times is None or not len(times):
            return "this forward is not part of a run of the pipeline's scheduler"
        times = [float(time) for time in times]
        told = float(torch.as_tensor(timestep).flatten()[0]) if timestep is not None else times[0]
        begin = getattr(self._scheduler, "begin_index", None) or 0
        # a run may take the last part of a schedule only: it starts where the denoiser is first asked
        self._offset = next((i for i in range(begin, len(times)) if abs(times[i] - told) < 1e-4), begin)
        last = len(times)
        taken = getattr(self._pipe, "_num_timesteps", None)
        if isinstance(taken, int) and 0 < taken <= last - self._offset:
            last = self._offset + taken
        steps = _numbered(times[self._offset : last], getattr(self._scheduler, "order", 1))
        asked = getattr(self._scheduler, "num_inference_steps", None)
        if asked is not None and steps[-1] >= asked:
            kind = type(self._scheduler).__name__
            return f"{kind} asks the denoiser {len(steps)} times for {asked} steps, which is not understood"
        self._steps = steps
        return ""

    def _sigma(self, place: int) -> float:
        sigmas = getattr(self._scheduler, "sigmas", None)
        if sigmas is not None and place < len(sigmas):
            return float(sigmas[place])
        signal = getattr(self._scheduler, "alphas_cumprod", None)
        if signal is None:
            return float("nan")
        share = float(signal[int(self._scheduler.timesteps[place])])
        return ((1 - share) / share) ** 0.5

    def _is_guided(self) -> bool | None:
        """Whether guidance is on, as the pipeline says it or as it asked for prompts."""
        if getattr(self._pipe, "_guidance_scale", None) is not None:
            return bool(self._pipe.do_classifier_free_guidance)
        return self._guided

    def _encoding(self, tower: str) -> Moment:
        why = "prompts are encoded before the denoising steps"
        number = self._read[tower] = self._read.get(tower, -1) + 1
        if self._prompts is None or number >= len(self._prompts):
            reason = "this forward of the text encoder is not part of encode_prompt()"
            return Moment(without_step=why, without_branches=reason)
        return Moment(branches=(self._prompts[number],), without_step=why)

    def _encode(self, given: Mapping[str, Any]) -> None:
        self._hear_scheduler()
        self._guided = given.get("do_classifier_free_guidance", self._guided)
        asked = [("cond", "prompt_embeds"), ("uncond", "negative_prompt_embeds")]
        self._prompts = [branch for branch, embeds in asked if given.get(embeds) is None]
        self._read, self._steps, self._images = {}, None, None

    def _encoded(self, result: Any) -> None:
        self._prompts = None

    def _latents(self, result: Any) -> None:
        first = result[0] if isinstance(result, (tuple, list)) else result
        if isinstance(first, torch.Tensor):
            self._images = first.shape[0]

    def _named(self, given: Mapping[str, Any]) -> None:
        self._pass = named_pass(str(given.get("name", "")))

    def _prepared(self, result: Any) -> None:
        self._passes = [getattr(batch, "__guidance_identifier__", "") for batch in result or []]

    def _next_pass(self, given: Mapping[str, Any]) -> None:
        self._pass = named_pass(self._passes.pop(0)) if self._passes else None

    def _hear_scheduler(self) -> None:
        """Listen to the scheduler that the pipeline has now; users exchange it between calls."""
        scheduler = getattr(self._pipe, "scheduler", None)
        if scheduler is self._scheduler:
            return
        self._leave_scheduler()
        self._scheduler = scheduler
        if scheduler is None:
            return
        removers = [
            calls.listen(scheduler, "set_timesteps", before=self._restart),
            calls.listen(scheduler, "step", after=self._stepped),
        ]
        self._leave_scheduler = lambda: [remove() for remove in reversed(removers)]

    def _restart(self, given: Mapping[str, Any]) -> None:
        self._taken, self._steps, self._pass = 0, None, None

    def _stepped(self, result: Any) -> None:
        self._taken += 1
        self._pass = None


def _numbered(times: list[float], order: int) -> list[int]:
    """The step that each call of the denoiser belongs to.

    A solver of second order asks twice a step, except at the last; others that repeat a time (PNDM) ask
    twice at one noise level, which is one step.
    """
    if order > 1:
        return [call // order for call in range(len(times))]
    number, numbers = 0, []
    for call, time in enumerate(times):
        number += call > 0 and time != times[call - 1]
        numbers.append(number)
    return numbers
