"""What a transcoder heard at the site it reads, for its edits at the site it writes."""

from __future__ import annotations

import torch

from steerlab.bases.facts import Facts
from steerlab.errors import SteerlabError


class Heard:
    """The activation at the site that a transcoder reads, as the running forward had it last."""

    x: torch.Tensor | None = None

    def stored(self) -> tuple[str, dict]:
        """A memory is saved empty."""
        return "Heard", {}

    def beside(self, x: torch.Tensor, facts: Facts) -> torch.Tensor:
        """What was heard, refused unless it has the rows and places of `x`, the activation to edit."""
        if self.x is None or self.x.shape[:-1] != x.shape[:-1]:
            had = "nothing" if self.x is None else list(self.x.shape)
            raise SteerlabError(
                f"the transcoder heard {had} at {facts.reads or 'the site it reads'}, and is asked to "
                f"edit {list(x.shape)}; what it reads must run before what it writes"
            )
        return self.x.to(x)


def refused(facts: Facts) -> SteerlabError:
    """Make the error for an edit at one site of what reads another."""
    return SteerlabError(
        f"this is a transcoder: it reads {facts.reads or 'one site'} and writes {facts.site or 'another'}; "
        "put its edits into a model with across(transcoder, ...)"
    )
