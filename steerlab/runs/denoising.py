"""Denoising: which step of the scheduler a forward belongs to, and which guidance branches it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import accumulate, pairwise
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
        self._asked: int | None = None  # steps that set_timesteps was asked for
        self._taken = 0  # calls of scheduler.step
        self._steps: list[Step] | None = None  # the step of each call to come
        self._times: list[float] = []
        self._told_plainly = False
        self._over = False
        self._seen: set[str] = set()  # denoisers that ran since the last call of scheduler.step
        self._images: int | None = None
        self._guided: bool | None = None
        self._pass: Branches | None = None
        self._passes: list[str] = []
        self._prompts: list[str] | None = None  # branches that the encoders are still to read
        self._read: dict[str, int] = {}
        self._now: dict[str, Moment] = {}
        self._layouts: dict[tuple, tuple[Branches | None, str]] = {}  # of this run

    def follow(self) -> Callable[[], None]:
        """Listen to the parts of the pipeline."""
        pipe, removers = self._pipe, []
        heard = {
            "encode_prompt": {"before": self._encode, "after": self._encoded},
            "_encode_prompt": {"before": self._encode, "after": self._encoded},
            "prepare_latents": {"after": self._latents},
            "maybe_free_model_hooks": {"before": self._end},  # the last thing that a pipeline does
        }
        for name, looks in heard.items():
            if callable(getattr(pipe, name, None)):
                removers.append(calls.listen(pipe, name, **looks))
        for name in self._denoisers:
            denoiser = getattr(pipe, name, None)
            if callable(getattr(denoiser, "cache_context", None)):
                removers.append(calls.listen(denoiser, "cache_context", before=self._named))
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
            self._now[tower] = self._denoising(tower, inputs)
        else:
            self._now[tower] = self._encoding(tower)

    def denoises(self, tower: str) -> bool:
        """Whether a tower runs once or more for every denoising step."""
        return tower in self._denoisers

    def moment(self, tower: str, tokens: TokenMap | None, forward: int) -> Moment:
        """Where the tower's current forward stands."""
        now = self._now.get(tower) or Moment()
        return now if tokens is None else replace(now, tokens=tokens, forward=forward)

    def _denoising(self, tower: str, inputs: Mapping[str, Any]) -> Moment:
        for given in inputs.values():
            if isinstance(given, torch.Tensor) and given.ndim > 1:
                rows = given.shape[0]
                break
        step, without_step = self._step(tower, inputs.get("timestep"))
        if self._pass is not None and len(self._pass) == 1:
            branches, without = self._pass, ""
        else:  # looked up once for all steps, unless guidance is changed on the way
            key = (rows, self._images, self._guided, getattr(self._pipe, "_guidance_scale", None))
            if key not in self._layouts:
                self._layouts[key] = layout(self._pipe, rows, self._images, self._is_guided())
            branches, without = self._layouts[key]
        return Moment(None, 0, step, branches, without_step, without, denoises=True)

    def _step(self, tower: str, timestep: Any) -> tuple[Step | None, str]:
        if self._scheduler is not getattr(self._pipe, "scheduler", None):
            if self._steps is not None and 0 < self._taken < len(self._steps):
                return None, "the pipeline's scheduler was replaced during the run"
            self._hear_scheduler()
            self._restart({})
        if self._over:
            return None, "this forward comes after the pipeline's run"
        if self._steps is None:
            unknown = self._begin(timestep)
            if unknown:
                return None, unknown
        if self._taken >= len(self._steps):
            return None, f"the scheduler has {len(self._steps)} calls, the denoiser is asked for more"
        if tower in self._seen and self._told_plainly:  # a guidance branch, or a scheduler that stands still
            told, due = _number(timestep), self._times[self._taken]
            if not _is_near(told, due):
                return None, (
                    f"the denoiser is told the time {told:g} where the scheduler stands at {due:g}; "
                    "steps are counted by the pipeline's own scheduler.step()"
                )
        self._seen.add(tower)
        return self._steps[self._taken], ""

    def _begin(self, timestep: Any) -> str:
        """Work out the steps at the first forward of a run; returns why that cannot be done."""
        scheduler = self._scheduler
        times = getattr(scheduler, "timesteps", None)
        if times is None or not len(times):
            return "this forward is not part of a run of the pipeline's scheduler"
        times = [float(time) for time in times]
        told = times[0] if timestep is None else _number(timestep)
        # a run may take the last part of a schedule only: it starts where the denoiser is first asked
        offset = getattr(scheduler, "begin_index", None)
        if offset is None:
            offset = min(range(len(times)), key=lambda place: abs(times[place] - told))
            offset = offset if _is_near(told, times[offset]) else 0
        self._told_plainly = timestep is not None and _is_near(told, times[offset])
        last, taken = len(times), getattr(self._pipe, "_num_timesteps", None)
        if self._images is not None and isinstance(taken, int) and 0 < taken <= last - offset:
            last = offset + taken  # the pipeline said so in this call, not in an earlier one
        numbers = numbered(times, getattr(scheduler, "order", 1), self._asked)
        if numbers is None:
            kind = type(scheduler).__name__
            return f"{kind} asks the denoiser {len(times)} times for {self._asked} steps: not understood"
        self._times = times[offset:last]
        order = getattr(scheduler, "order", 1)  # a run that is cut out starts with a whole step
        numbers = (
            numbered(self._times, order, None)
            if order > 1
            else [number - numbers[offset] for number in numbers[offset:last]]
        )
        # both calls of a step of second order are one step, of one noise level
        first = [place for place, number in enumerate(numbers) if number not in numbers[:place]]
        steps = [
            Step(number, len(first), self._times[place], _sigma(scheduler, offset + place))
            for number, place in enumerate(first)
        ]
        self._steps = [steps[number] for number in numbers]
        return ""

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
        self._read, self._images = {}, None

    def _end(self, given: Mapping[str, Any]) -> None:
        self._images = self._guided = self._pass = None
        self._layouts.clear()
        self._over = self._steps is not None

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
        self._asked = given.get("num_inference_steps")
        self._taken, self._steps, self._pass, self._over = 0, None, None, False
        self._seen.clear()
        self._layouts.clear()

    def _stepped(self, result: Any) -> None:
        self._taken += 1
        self._pass = None
        self._seen.clear()


def numbered(times: list[float], order: int, asked: int | None) -> list[int] | None:
    """The step that each call of the denoiser belongs to, or None where that is not understood.

    A solver of second order asks twice a step, except at the last; one of first order that asks more often
    than it has steps repeats a time (PNDM), which is one step.

    Parameters
    ----------
    times : list of float
        The scheduler's whole schedule.
    order : int
        The scheduler's.
    asked : int, optional
        Steps that were asked for; None where the user gave a schedule.
    """
    if order > 1:
        numbers = [call // order for call in range(len(times))]
    elif asked is None or len(times) <= asked:
        return list(range(len(times)))  # low noise levels of a rounded schedule may be the same time
    else:
        changes = [0, *(int(a != b) for a, b in pairwise(times))]
        numbers = list(accumulate(changes))
    return numbers if asked is None or numbers[-1] < asked else None


def _sigma(scheduler: Any, place: int) -> float:
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and place < len(sigmas):
        return float(sigmas[place])
    signal = getattr(scheduler, "alphas_cumprod", None)
    if signal is None:
        return float("nan")
    share = float(signal[int(scheduler.timesteps[place])])
    return ((1 - share) / share) ** 0.5


def _number(timestep: Any) -> float:
    return float(torch.as_tensor(timestep).flatten()[0])


def _is_near(told: float, time: float) -> bool:
    """Whether a denoiser is told this time, perhaps rounded to half precision."""
    return abs(told - time) <= 0.5 + 0.01 * abs(time)
