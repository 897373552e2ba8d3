"""A made-up report with everything that strains a page, and records of it."""

from __future__ import annotations

import io

import torch
from PIL import Image

import steerlab as sl
from steerlab.fingerprint import Fingerprint
from steerlab.report import Evidence, Plot, Report

LONG = "https://example.org/" + "wordwithoutanybreak" * 12
RECIPE = '[model]\nid = "zoo:smollm2"\n\n[[analysis]]\nkind = "Ablate"\nat = "blocks.*.heads"\nbudget = 0.5\n'


def intervention(about: str = "without head 1.1") -> sl.Intervention:
    fits = Fingerprint("LlamaForCausalLM", {"blocks.1.heads.1": (8,)}, {"blocks.1": 1.5})
    return sl.Intervention({"blocks.1.heads.1": sl.Zero()}, about=about, licence="MIT", fits=fits)


def report(title: str = "What do heads do?", effect: float = 0.9, figures: int = 1) -> Report:
    rows = torch.arange(60)
    heads = {"block": rows // 6, "head": rows % 6, "effect": (rows + 1) / 60, "site": [LONG] * 60}
    wide = {f"a column with a rather long name {i}": torch.tensor([1e-7 * 10**i, -2.5]) for i in range(24)}
    wide |= {"text": ["A sentence that goes on. " * 12] * 2}
    plot = Plot("head grid", "heads", f"Effect of each head {LONG}", {"value": "effect", "label": "KL, nats"})
    return Report(
        title,
        f"Each zeroed alone.\n{LONG}",
        {"heads": heads, "wide": wide},
        {f"grid {i}": plot for i in range(figures)},
        {"zero the strongest": intervention()},
        (
            Evidence("head 9.5 matters", "intervened", effect, (0.1, 0.2, 0.15), 1e-6, "nats"),
            Evidence(f"norms grow {LONG}", "observed", 41.5, (), None, "× the median"),
            Evidence("nothing divides", "observed", float("inf"), (float("nan"),)),
        ),
        ("blocks.1.heads.1 Zero() fired 3 times, 21 tokens; " + "moved 0.31 of the stream; " * 6,),
    )


def png(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).save(stream, format="png")
    return stream.getvalue()
