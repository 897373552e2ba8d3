"""Addresses of activations: frozen, printable, parseable, with wildcards."""

from __future__ import annotations

import re
from typing import NamedTuple

from steerlab.errors import SteerlabError, listing, nearest

HEAD_STREAMS = ("heads", "q", "k", "v", "scores", "pattern")
STREAMS = (
    *("resid_pre", "resid_mid", "resid", "attn", "mlp", "mlp.act", "update"),
    *HEAD_STREAMS,
    *("embed", "final", "logits", "pooled", "latent", "noise"),
)

# TransformerLens names of the same activations.
ALIASES = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid",
    "hook_attn_out": "attn",
    "hook_mlp_out": "mlp",
    "mlp.hook_post": "mlp.act",
    "attn.hook_z": "heads",
    "attn.hook_q": "q",
    "attn.hook_k": "k",
    "attn.hook_v": "v",
    "attn.hook_attn_scores": "scores",
    "attn.hook_pattern": "pattern",
    "ln_final.hook_normalized": "final",
    "hook_embed": "embed",
}

# Words that number places, as in ``blocks.3`` and ``unet.down.2.1``.
PLACES = ("blocks", "down", "mid", "up")

# Which of several numbered things: 7, 1,3, 4:8 or all of them.
SELECTION = re.compile(r"-?\d+(,-?\d+)*|\d*:\d*|\*")


class Site(NamedTuple):
    """The address of one activation, or with wildcards of several.

    Parameters
    ----------
    place : str
        Where: ``"blocks.3"``, ``"vision.blocks.8"``, ``"unet.down.2.1"``, ``""`` for the whole model, or
        ``"module:<dotted path>"`` for any module. ``*`` stands for one segment, ``**`` for any number,
        ``4:8`` and ``1,3`` for block numbers.
    stream : str
        What: one of `STREAMS`; for a module ``"output"`` or ``"input"``.
    heads : str
        Which heads, as written after the stream (``"7"``, ``"0:4"``, ``"1,3"``); empty for all.

    Examples
    --------
    >>> Site.parse("blocks[3].heads[7]")
    Site('blocks.3.heads.7')
    >>> Site.parse("blocks.5.attn.hook_z")
    Site('blocks.5.heads')
    """

    place: str
    stream: str
    heads: str = ""

    @staticmethod
    def parse(text: str | Site) -> Site:
        """Read a site from text; a `Site` passes through."""
        if isinstance(text, Site):
            return text
        if not isinstance(text, str):
            raise SteerlabError(f"a site is written as text or a Site, not {type(text).__name__}: {text!r}")
        if text.startswith("module:"):
            return _parse_module(text)
        plain = re.sub(r"\[([^\]]*)\]", r".\1", text).replace(" ", "").strip(".")
        for alias, stream in ALIASES.items():
            found = re.fullmatch(rf"(|.*\.){re.escape(alias)}(|\.[-\d:,*]+)", plain)
            if found:
                plain = found[1] + stream + found[2]
        return _parse_stream(text, plain.split("."))

    @property
    def is_module(self) -> bool:
        """Whether this is a module path rather than a word of the vocabulary."""
        return self.place.startswith("module:")

    @property
    def whole(self) -> Site:
        """The same site without a choice of heads."""
        return Site(self.place, self.stream)

    def matches(self, other: Site) -> bool:
        """Whether the place and stream of `other` fit this one's wildcards."""
        if self.is_module or other.is_module:
            return self.whole == other.whole
        stream_fits = self.stream == "*" or self.stream == other.stream
        return stream_fits and _fits(_segments(self.place), _segments(other.place))

    def same_as(self, other: Site) -> bool:
        """Whether both name one activation: the input of a block is the output of the one before it."""
        return self._resid().matches(other._resid()) or other._resid().matches(self._resid())

    def _resid(self) -> Site:
        *before, last = _segments(self.place) or [""]
        if self.stream == "resid_pre" and last.isdigit() and int(last) and "blocks" in before:
            return Site(".".join([*before, str(int(last) - 1)]), "resid")
        return self.whole

    def select(self, count: int) -> int | list[int] | None:
        """Heads chosen among `count`: a number, a list of numbers, or None for all."""
        if self.heads in ("", "*"):
            return None
        if ":" in self.heads:
            start, stop = (int(part) if part else None for part in self.heads.split(":"))
            chosen = list(range(count))[start:stop]
            if not chosen or (stop or 0) > count:
                raise SteerlabError(f"{self}: {self.place} has {_head_range(self.stream, count)}")
            return chosen
        numbers = [int(part) for part in self.heads.split(",")]
        for number in numbers:
            if not -count <= number < count:
                raise SteerlabError(f"{self}: {self.place} has {_head_range(self.stream, count)}")
        numbers = [number % count for number in numbers]
        return numbers[0] if "," not in self.heads else numbers

    def __str__(self) -> str:
        if self.is_module:
            return self.place if self.stream == "output" else f"{self.place}:{self.stream}"
        return ".".join(part for part in (self.place, self.stream, self.heads) if part)

    def __repr__(self) -> str:
        return f"Site({str(self)!r})"


def _head_range(stream: str, count: int) -> str:
    kind = "key-value heads" if stream in ("k", "v") else "heads"
    return f"{count} {kind} (0 to {count - 1})"


def _parse_module(text: str) -> Site:
    path, _, stream = text.removeprefix("module:").partition(":")
    if not path or stream not in ("", "input", "output"):
        raise SteerlabError(f"{text!r}: write module:<dotted path>, module:<dotted path>:input or :output")
    return Site(f"module:{path}", stream or "output")


def _parse_stream(text: str, parts: list[str]) -> Site:
    """Split segments into place, stream and heads; the stream is the last word of the vocabulary."""
    heads = ""
    if len(parts) > 1 and parts[-2] in HEAD_STREAMS and SELECTION.fullmatch(parts[-1]):
        *parts, heads = parts
    for width in (2, 1):
        stream = ".".join(parts[-width:])
        if len(parts) >= width and stream in STREAMS:
            return Site(".".join(parts[:-width]), stream, heads)
    if parts[-1] == "*":
        return Site(".".join(parts[:-1]), "*")
    above = parts[-3:-1] if len(parts) > 2 and parts[-2].isdigit() else parts[-2:-1]
    if parts[-1] in PLACES or (SELECTION.fullmatch(parts[-1]) and set(above) & set(PLACES)):
        example = ".".join([*parts, "0", "resid"] if parts[-1] in PLACES else [*parts, "resid"])
        raise SteerlabError(
            f"{text!r} is a place without a stream; add one, for example {example!r} "
            f"(known: {listing(STREAMS, 40)})"
        )
    word = parts[-1] if not SELECTION.fullmatch(parts[-1]) or len(parts) < 2 else parts[-2]
    if word in STREAMS and word not in HEAD_STREAMS:
        raise SteerlabError(
            f"{text!r}: {word!r} has no heads; heads are chosen in {listing(HEAD_STREAMS)}, "
            f"for example {'.'.join([*parts[:-2], 'heads', parts[-1]])!r}"
        )
    raise SteerlabError(
        f"unknown stream {word!r} in {text!r}{nearest(word, STREAMS)} (known: {listing(STREAMS, 40)})"
    )


def _segments(place: str) -> list[str]:
    return place.split(".") if place else []


def _fits(pattern: list[str], place: list[str]) -> bool:
    if not pattern:
        return not place
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        return any(_fits(rest, place[skip:]) for skip in range(len(place) + 1))
    return bool(place) and _fits_segment(head, place[0]) and _fits(rest, place[1:])


def _fits_segment(pattern: str, segment: str) -> bool:
    if pattern in ("*", segment):
        return True
    if not segment.isdigit() or not SELECTION.fullmatch(pattern):
        return False
    if ":" in pattern:
        start, stop = pattern.split(":")
        return int(start or 0) <= int(segment) and (not stop or int(segment) < int(stop))
    return segment in pattern.split(",")
