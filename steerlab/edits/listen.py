"""Listen: let a transcoder hear what it reads, so that its edits can act where it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.edits.base import Edit
from steerlab.errors import SteerlabError


@dataclass(frozen=True, eq=False, repr=False)
class Listen(Edit):
    """Return `x` as it is, and remember it as what the transcoder reads.

    Parameters
    ----------
    transcoder : Dictionary
        One made by ``transcoder.live()``.
    """

    changes_nothing = True

    transcoder: Dictionary

    def __post_init__(self) -> None:
        if not isinstance(self.transcoder, Dictionary) or self.transcoder.heard is None:
            raise SteerlabError("Listen takes a transcoder that hears: sae.live()")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return a copy of `x`."""
        self.transcoder.heard.x = x
        return x.clone()


def across(transcoder: Dictionary, edit: Callable[[Dictionary], Edit], **sites: str) -> dict[str, Edit]:
    """An intervention in the coordinates of a transcoder: its codes read at one site, its edit at another.

    Parameters
    ----------
    transcoder : Dictionary
        Which reads one site and writes another.
    edit : callable
        From the hearing transcoder to an edit: ``lambda t: Zero(t.only(7))``.
    **sites
        ``reads=`` and ``writes=``, where the file does not say them or says them in another model's words.

    Returns
    -------
    dict
        Two sites with their edits. The transcoder's error and its skip connection stay as they are: what is
        written is ``(z' - z) D`` alone.
    """
    unknown = set(sites) - {"reads", "writes"}
    if unknown:
        raise SteerlabError(f"across takes reads= and writes=, not {sorted(unknown)[0]!r}")
    reads = sites.get("reads") or transcoder.facts.reads
    writes = sites.get("writes") or transcoder.facts.site
    if reads is None or writes is None:
        raise SteerlabError(
            f"the file does not say where this transcoder {'reads' if reads is None else 'writes'}; "
            "name both sites: across(transcoder, edit, reads=..., writes=...)"
        )
    live = transcoder.live()
    return {reads: Listen(live), writes: edit(live)}
