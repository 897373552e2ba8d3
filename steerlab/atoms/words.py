"""Which words an atom raises and lowers: read off the unembedding, and measured in the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from steerlab.atoms.agreement import spearman
from steerlab.atoms.stream import prepared, site_of
from steerlab.atoms.tables import shown
from steerlab.bases import Dictionary
from steerlab.comparing import main_output, repeated
from steerlab.edits import Add, Fn
from steerlab.errors import SteerlabError, listing, nearest
from steerlab.intervention import Changes
from steerlab.model import Model
from steerlab.sites import Site

# more than one token each: the stream at the first token of a text is unlike everywhere else
NEUTRAL = (
    "And then it was",
    "This is about the",
    "I think that they",
    "There was also a",
    "In the following, we",
    "She said that it",
)
STEP = 0.05  # of the stream's length at the last token
ROWS, CONTROLS = 16, 4  # rows of a forward, and random directions
WAYS = {"direct": "through final norm and unembedding", "measured": "measured in the model"}


@dataclass(frozen=True, eq=False)
class LogitEffects:
    """What a unit of an atom's code does to the logits of the next token, two ways.

    Attributes
    ----------
    site : Site
        Where the atoms act.
    atoms : list of int
        Which.
    direct : Tensor
        ``[atom, vocabulary]``: the derivative from the last block's output to the logits, along the atom.
        It is the effect through the final norm and the unembedding alone, and no later block has a say.
    measured : Tensor
        ``[atom, vocabulary]``: half the difference of logits between a small step forwards and one
        backwards along the atom, over its size. Later blocks do what they do.
    control : Tensor
        ``[atom]``: largest measured change by random directions as long as the atom, on average.
    floor : float
        Largest change between two equal rows of a batch, over the smallest step.
    word : callable
        From a number of the vocabulary to its text.
    k : int
        How many are printed.
    """

    site: Site
    atoms: list[int]
    direct: torch.Tensor
    measured: torch.Tensor
    control: torch.Tensor
    floor: float
    word: Callable[[int], str]
    k: int

    def raised(self, atom: int, by: str = "measured") -> list[tuple[str, float]]:
        """The `k` words that rise most, with their change of logit; `by` is "direct" or "measured"."""
        values, index = self._of(atom, by).topk(self.k)
        return [(self.word(i), v) for i, v in zip(index.tolist(), values.tolist(), strict=True)]

    def lowered(self, atom: int, by: str = "measured") -> list[tuple[str, float]]:
        """The `k` words that fall most."""
        values, index = self._of(atom, by).topk(self.k, largest=False)
        return [(self.word(i), v) for i, v in zip(index.tolist(), values.tolist(), strict=True)]

    def agreement(self, atom: int) -> float:
        """Rank correlation over the vocabulary between what is read off and what is measured."""
        return spearman(self._of(atom, "direct"), self._of(atom, "measured"))

    def stands_out(self, atom: int) -> bool:
        """Whether the largest measured change exceeds that of random directions and the floor."""
        most = float(self._of(atom, "measured").abs().max())
        return most > float(self.control[self._row(atom)]) and most > self.floor

    def _row(self, atom: int) -> int:
        if atom not in self.atoms:
            raise SteerlabError(f"atom {atom} was not asked for (asked: {listing(self.atoms)})")
        return self.atoms.index(atom)

    def _of(self, atom: int, by: str) -> torch.Tensor:
        if by not in WAYS:
            raise SteerlabError(f"by={by!r}{nearest(by, WAYS)} (known: {listing(WAYS)})")
        return getattr(self, by)[self._row(atom)]

    def __str__(self) -> str:
        lines = [f"{self.site}: change of logits a unit of code (mean over the vocabulary taken off)"]
        for row, atom in enumerate(self.atoms):
            most = float(self.measured[row].abs().max())
            lines.append(
                f"atom {atom}: largest measured change {most:.3g}, random directions "
                f"{float(self.control[row]):.3g}, floor {self.floor:.2g}; "
                f"the two ways agree at rank correlation {self.agreement(atom):.2f}"
            )
            for by, what in WAYS.items():
                for verb, words in (("raises", self.raised(atom, by)), ("lowers", self.lowered(atom, by))):
                    told = ", ".join(f"{word!r} {shown(value)}" for word, value in words)
                    lines.append(f"  {what}, {verb}: {told}")
        return "\n".join(lines)


def logit_effects(
    model: Model,
    dictionary: Dictionary,
    atoms: int | Sequence[int],
    *,
    k: int = 10,
    prompts: Sequence[str] = NEUTRAL,
) -> LogitEffects:
    """Which words atoms raise and lower at the last token of neutral prompts, read off and measured.

    Read off: ``d l / d a`` for ``x_last + a d_k`` at the output of the last block, linearised at the
    actual stream of each prompt and averaged; no weights are folded, so gains, biases and caps of the model
    count as they are. Measured: ``(l(x + s d_k) - l(x - s d_k)) / 2 s`` with the step taken at the
    dictionary's site, ``s`` such that it is 5 % of the stream's length. Both are our own definitions of
    what is known as the logit lens of an atom and as its causal check.

    Parameters
    ----------
    model : Model
        A language model with its tokenizer.
    dictionary : Dictionary
        At its own site; see `steerlab.atoms.at_site`.
    atoms : int or list of int
        Which.
    k : int
        How many words to show.
    prompts : list of str
        Where to measure; inputs of the model, one at a time.
    """
    site, numbers = site_of(model, dictionary), dictionary.numbers(atoms)
    directions = _directions(dictionary, numbers)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(CONTROLS, directions.shape[1], generator=generator).to(directions)
    lengths = directions.norm(dim=1)
    noise = noise / noise.norm(dim=1, keepdim=True) * lengths.mean()
    every = torch.cat([directions, noise])
    last = model.sites("blocks.*.resid")[-1]
    if not prompts:
        raise SteerlabError("prompts is empty: give one text or more")
    direct, measured, floor = 0.0, 0.0, 0.0
    for prompt in prompts:
        kwargs = prepared(model, prompt)
        if repeated(kwargs, 1)[1] != 1:
            raise SteerlabError("prompts is a list of single texts; this one makes several rows")
        direct = direct + _slopes(model, kwargs, last, directions) / len(prompts)
        own, noise_here = _steps(model, kwargs, site, every)
        measured, floor = measured + own / len(prompts), max(floor, noise_here)
    measured, random = _centred(measured).split([len(directions), CONTROLS])
    control = random.abs().amax(1).mean() * lengths / lengths.mean()
    return LogitEffects(
        site=site,
        atoms=numbers.tolist(),
        direct=_centred(direct),
        measured=measured,
        control=control,
        floor=floor,
        word=_speller(model),
        k=min(k, measured.shape[1]),
    )


def _directions(dictionary: Dictionary, numbers: torch.Tensor) -> torch.Tensor:
    """What a unit of each code adds to the activation ``[atom, dim]``, up to what a norm measures by row."""
    rows = dictionary.decoder[numbers].detach().float().cpu()
    return rows if dictionary.norm.measures else dictionary.near(rows).norm.undo_step(rows, None)


def _centred(logits: torch.Tensor) -> torch.Tensor:
    """Probabilities do not see what all logits share."""
    return logits - logits.mean(-1, keepdim=True)


def _forward(model: Model, kwargs: dict[str, Any]) -> torch.Tensor:
    """Logits at the last token, ``[row, vocabulary]``."""
    output = model.module(**kwargs)
    logits = getattr(output, "logits", None)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 3:
        raise SteerlabError(f"{type(model.module).__name__} gives no logits of next tokens")
    return main_output(output, kwargs)


def _slopes(model: Model, kwargs: dict[str, Any], last: Site, directions: torch.Tensor) -> torch.Tensor:
    """Derivatives of the logits along directions at the last block's last token, ``[direction, word]``.

    ``J d`` from backward passes alone: ``u J d`` is linear in ``u``, so its derivative in ``u`` is ``J d``.
    """
    found = []
    for some in directions.split(ROWS):
        wide = repeated(kwargs, len(some))[0]
        amount = torch.zeros(len(some), 1, device=some.device, requires_grad=True)

        def along(x: torch.Tensor, some: torch.Tensor = some, amount: torch.Tensor = amount) -> torch.Tensor:
            step = torch.zeros_like(x)
            step[:, -1] = (amount.to(x.device) * some.to(x.device)).to(x.dtype)
            return x.detach() + step

        # the step is of size 0, on purpose: only its derivative is wanted
        with torch.enable_grad(), model.edit({last: Fn(along)}, strict=False):
            logits = _forward(model, wide)
            weights = torch.ones_like(logits, requires_grad=True)
            (slope,) = torch.autograd.grad(logits, amount, weights, create_graph=True)
            (moved,) = torch.autograd.grad(slope.sum(), weights)
        found.append(moved.detach().float().cpu())
    return torch.cat(found)


def _steps(
    model: Model, kwargs: dict[str, Any], site: Site, directions: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """Measured slopes ``[direction, vocabulary]``, and what two equal rows differ by at such a step."""
    x = model.capture(kwargs, str(site), tokens="last")[site]
    size = STEP * float(x.float().norm(dim=-1).mean())
    steps = size / directions.norm(dim=1)
    found, floor = [], 0.0
    for some, step in zip(directions.split(ROWS // 2), steps.split(ROWS // 2), strict=True):
        arms: list[Changes | None] = [None, None]
        arms += [
            {site: Add(d, float(sign * s)).on(tokens="last")}
            for sign in (1, -1)
            for d, s in zip(some, step, strict=True)
        ]
        wide = repeated(kwargs, len(arms))[0]
        with torch.no_grad(), model.edit(arms):
            logits = _forward(model, wide).float().cpu()
        up, down = logits[2:].chunk(2)
        found.append((up - down) / (2 * step[:, None].cpu()))
        floor = max(floor, float((logits[1] - logits[0]).abs().max() / step.min()))
    return torch.cat(found), floor


def _speller(model: Model) -> Callable[[int], str]:
    """Each word by itself, spaces kept; numbers where there is no tokenizer."""
    tokenizer = getattr(model.processor, "tokenizer", model.processor)
    decode = getattr(tokenizer, "decode", None)
    return str if decode is None else lambda number: decode([number])
