"""The held model: the user's own object, its family, and the verbs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from steerlab import comparing, generating, picturing
from steerlab.activations import Activations
from steerlab.clock import Clock
from steerlab.comparing import Comparison, Metric
from steerlab.describing import Diagnosis, Places, diagnose, tree
from steerlab.editing import Editing, arms_from
from steerlab.entrances import entrances_of, what_to_call
from steerlab.errors import SteerlabError, nearest
from steerlab.estimating import bytes_needed, refuse_beyond
from steerlab.families import Denoiser, Family
from steerlab.folding import Folding
from steerlab.generating import Generated
from steerlab.intervention import Changes
from steerlab.picturing import Pictures
from steerlab.proof import prove
from steerlab.reading import Plan, Reading, Selection, capture
from steerlab.runs import DenoisingRun, GeneratingRun
from steerlab.scope import Scope
from steerlab.sites import Site
from steerlab.tokens import TokenChoice


class Model:
    """A model that is held, never subclassed or copied; made by `steerlab.load` and `steerlab.wrap`.

    Printing it shows its sites. Interventions reach every call of the user's own object.

    Attributes
    ----------
    module : nn.Module or pipeline
        The user's object.
    family : Family
        The row that describes it.
    processor : object
        Tokenizer or image processor, where there is one.
    held : object
        What was wrapped: `module` itself, or the nnsight model around it.
    """

    def __init__(self, module: Any, family: Family, processor: Any, held: Any = None) -> None:
        self.module, self.family, self.processor = module, family, processor
        self.held = module if held is None else held
        self._points, self._roots = prove(module, family)
        self._entrances = entrances_of(module, family, processor, self._roots)
        self._plans: dict[Any, Plan] = {}
        self._is_pipeline = not isinstance(module, nn.Module)

    def sites(self, at: str | Iterable[str] = "**.*") -> list[Site]:
        """Every site that `at` names, in the model's order."""
        return [site for site, _ in self._points.find(at)]

    def heads(self, at: str = "**.heads") -> list[Site]:
        """Every single head at the matching ``heads`` sites, as sites."""
        return [
            Site(site.place, site.stream, str(head))
            for site, point in self._points.find(at)
            for head in range(point.heads)
        ]

    def site(self, at: str) -> Site:
        """One site, checked against the model."""
        found = self._points.find(at)
        if len(found) != 1:
            raise SteerlabError(f"{at} names {len(found)} sites; use sites()")
        return found[0][0]

    @property
    def blocks(self) -> Places:
        """Blocks by number, for ``model.blocks[3].heads[7]``."""
        return Places("blocks", self._points)

    def __getattr__(self, name: str) -> Places:
        towers = [prefix for prefix in self.__dict__.get("_roots", {}) if prefix]
        if name in towers:
            return Places(name, self._points)
        raise AttributeError(
            f"{type(self).__name__} has no attribute {name!r}{nearest(name, [*towers, *dir(type(self))])}"
        )

    def capture(
        self,
        inputs: Any,
        at: str | Site | Iterable[str | Site],
        *,
        tokens: TokenChoice | None = None,
        dtype: torch.dtype | None = None,
        limit: int | None = None,
    ) -> Activations:
        """Read sites in one forward, which ends after the last of them; in a pipeline, at every step.

        Parameters
        ----------
        inputs : object
            Text, images, tensors or keyword arguments of the model.
        at : site or list of sites
            What to read, wildcards included.
        tokens : optional
            Tokens to keep, as in a scope; chosen before anything is stored.
        dtype : torch.dtype, optional
            What to store in; the model's own by default.
        limit : int, optional
            Most bytes to keep; more is refused before the forward.

        Returns
        -------
        Activations
            Without gradients; use `read` around your own call to keep them.
        """
        kwargs = self._prepared(inputs)
        if limit is not None:
            needed = self.memory_estimate(kwargs, at, tokens=tokens, dtype=dtype)
            refuse_beyond(limit, needed, at)
        plan = self._plan(at)
        reading = Reading(plan, self._clock(), Selection(tokens, dtype), every=self._is_pipeline)
        # accelerate's offload hooks would not run after a forward that ended early
        whole = self._is_pipeline or reading.offloaded
        run, kwargs = what_to_call(self.module, self.family, plan.towers, kwargs)
        return capture(reading, run, kwargs, stop_after=0 if whole else plan.reads)

    def stream(
        self,
        batches: Iterable[Any],
        at: str | Site | Iterable[str | Site],
        *,
        tokens: TokenChoice | None = None,
        dtype: torch.dtype | None = None,
        progress: bool = True,
    ) -> Iterator[Activations]:
        """Read sites batch by batch; nothing stays on the model between two batches."""
        from tqdm.auto import tqdm

        for batch in tqdm(batches, desc="reading", disable=None if progress else True):
            yield self.capture(batch, at, tokens=tokens, dtype=dtype)

    def read(
        self,
        at: str | Site | Iterable[str | Site],
        *,
        every: bool = False,
        during: Scope | None = None,
        reduce: Callable[[Any, torch.Tensor], Any] | None = None,
    ) -> Reading:
        """A context that reads sites in your own calls. Gradients flow through what is read.

        Parameters
        ----------
        at : site or list of sites
            What to read.
        every : bool
            Keep every fire, not the last alone.
        during : Scope, optional
            Denoising steps and a guidance branch: ``Scope(steps="5:21", branch="cond")``.
        reduce : callable, optional
            ``(so far or None, activation) -> so far``: one running value in place of every fire, to be had
            from the reading's ``calls(site)``.
        """
        return Reading(
            self._plan(at), self._clock(), Selection(scope=during or Scope(), reduce=reduce), every=every
        )

    def edit(self, intervention: Changes | Sequence[Changes | None], *, strict: bool = True) -> Editing:
        """A context in which the intervention acts on every call; gives the receipt.

        Parameters
        ----------
        intervention : dict, or list of dicts and None
            Sites and edits. A list holds one intervention for each row of the batch (in a pipeline: for each
            image); None leaves its row alone.
        strict : bool
            Whether an edit that never fires, or whose scope chooses nothing, is an error at the end.
        """
        arms = arms_from(intervention, as_rows=not self._is_pipeline)
        return Editing(self._points, self._clock(), arms, strict=strict)

    def fold(self, intervention: Changes) -> Folding:
        """A context in which an edit is part of the weights, exactly undone; refused where it cannot be."""
        return Folding(self, intervention)

    def generate(
        self, prompt: Any, *, edit: Changes | Sequence[Changes | None] | None = None, **options: Any
    ) -> Generated | Pictures:
        """Continue a text, greedily unless told otherwise, or draw pictures, under an intervention.

        Parameters
        ----------
        prompt : object
            A text, a list of them, chat messages, token ids or keyword arguments of the model.
        edit : dict, or list of dicts and None
            Sites and edits; a list holds one intervention for each prompt (or image).
        **options
            Text: ``max_new_tokens=64``, ``begin=0``, ``recompute_cache=False``, ``stream=False``,
            ``strict=True`` (see `steerlab.generating`). Pictures: ``seed=0``, ``steps=``, ``guidance=``,
            ``at=``, ``during=``, ``batch=8`` (see `steerlab.picturing.Settings`). Every other option goes on
            to the model's own `generate`, or to the pipeline's call.
        """
        made = picturing.generate if self._is_pipeline else generating.generate
        return made(self, prompt, edit, options)

    def logits(self, inputs: Any) -> torch.Tensor:
        """Logits ``[batch, token, vocabulary]`` or ``[batch, class]``, without gradients."""
        with torch.no_grad():
            output = self.module(**self._prepared(inputs))
        if getattr(output, "logits", None) is None:
            raise SteerlabError(f"{type(self.module).__name__} gives no logits, but {type(output).__name__}")
        return output.logits

    def compare(
        self, inputs: Any, intervention: Changes, *, metric: Metric | None = None, controls: int = 4
    ) -> Comparison:
        """Base and edited in one batch of equal shapes, beside the noise floor and random controls.

        Parameters
        ----------
        inputs : object
            As for `capture`; each row is compared with its own base.
        intervention : dict
            Sites and edits.
        metric : callable, optional
            ``(base, edited) -> [row]``; KL for logits, else the relative change of the output.
        controls : int
            Random changes of equal size to compare with; masks have none.
        """
        return comparing.compare(lambda arms: self._run_arms(inputs, arms), intervention, metric, controls)

    def sweep(
        self,
        inputs: Any,
        interventions: Sequence[Changes],
        *,
        metric: Metric | None = None,
        batch: int = 8,
        progress: bool = True,
    ) -> torch.Tensor:
        """The effect of each intervention, ``[intervention, row]``; `batch` of them share a forward."""
        return comparing.sweep(
            lambda arms: self._run_arms(inputs, arms), interventions, metric, batch, progress
        )

    def memory_estimate(
        self,
        inputs: Any,
        at: str | Site | Iterable[str | Site],
        *,
        tokens: TokenChoice | None = None,
        dtype: torch.dtype | None = None,
    ) -> int:
        """Bytes that `capture` would keep, computed without running the model."""
        found = self._points.find(at)
        return bytes_needed(found, self._entrances, self._prepared(inputs), tokens, dtype)

    def doctor(self) -> Diagnosis:
        """What is covered, what was refused and why, who else hooks the model, and how it runs."""
        return diagnose(self.module, self.family, self._points)

    def __repr__(self) -> str:
        return tree(self.module, self.family, self._points)

    def _run_arms(self, inputs: Any, arms: Sequence[Changes | None]) -> comparing.Outcome:
        """One forward, or one batch of pictures, that holds the inputs once for each arm."""
        kwargs = self._prepared(inputs)
        if self._is_pipeline:
            return picturing.run_arms(self, kwargs, arms)
        return comparing.run_arms(
            kwargs,
            arms,
            lambda work: Editing(self._points, self._clock(), work),
            lambda towers, own: what_to_call(self.module, self.family, towers, own),
        )

    def _clock(self) -> Clock:
        """A clock of its own for every run."""
        if self._is_pipeline:
            denoisers = [name for name, tower in self.family.towers.items() if isinstance(tower, Denoiser)]
            return Clock(self._entrances, DenoisingRun(self.module, denoisers))
        return Clock(self._entrances, GeneratingRun(self.module))

    def _plan(self, at: str | Site | Iterable[str | Site]) -> Plan:
        """What to read at these sites, looked up once."""
        key = tuple(at) if isinstance(at, Iterable) and not isinstance(at, (str, Site)) else at
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = Plan(self._points.find(key))
        return plan

    def _prepared(self, inputs: Any) -> dict[str, Any]:
        return self.family.prepare(inputs, self.processor, self.module)
