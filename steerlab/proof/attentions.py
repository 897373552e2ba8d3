"""The proof of an attention row: its pattern times its values is what its heads write."""

from __future__ import annotations

from torch import nn

from steerlab import attention
from steerlab.errors import SteerlabError
from steerlab.families.family import Attention, attribute, child
from steerlab.layouts import Layout
from steerlab.numerics.attention import attention_pattern, attention_scores, mix_values
from steerlab.proof.findings import Findings, Part, distance, same, tolerance
from steerlab.recording import Recording


def prove_attention(
    findings: Findings, part: Part, where: str, row: Attention, seen: Recording
) -> tuple[nn.Module, nn.Module] | None:
    """Prove one attention; returns its module and its output projection, or None where they are missing."""
    block = part.module
    module, out = child(block, row.module), child(block, row.out)
    if module is None or out is None:
        findings.refuse(where, "heads", f"no module {row.out if module is not None else row.module!r} here")
        return None
    prove = _prove_projected if row.projections else _prove_called
    prove(findings, part, where, row, module, out, seen)
    return module, out


def _prove_called(findings, part, where, row: Attention, module, out, seen) -> None:
    callers = [m for m in module.modules() if m in seen.calls]
    if not callers:
        for stream in ("heads", "q", "k", "v", "scores", "pattern"):
            findings.refuse(
                where, stream, f"{type(module).__name__} does not call transformers' attention table"
            )
        return
    caller = callers[0]
    call, output = seen.calls[caller][-1]
    heads = Layout(heads=call.q.shape[1])
    rebuilt = output.reshape(seen[out].given.shape)
    if not same(rebuilt, seen[out].given):
        findings.refuse(where, "heads", "the input of the output projection is not what the heads wrote")
    else:
        findings.add(where, "heads", out, "input", layout=heads, tower=part.tower)
    for stream in "qkv":
        findings.add(
            where, stream, caller, stream, layout=Layout(swapped=True), tower=part.tower,
            shape=tuple(getattr(call, stream).transpose(1, 2).shape),
        )  # fmt: skip
    try:
        scores = call.scores()
        mixed = mix_values(attention_pattern(scores, call.sinks()), call.v).transpose(1, 2)
        off = distance(mixed, output.reshape(mixed.shape))
        reason = f"pattern times values is off the heads by {off:.1e}" if off > tolerance(output) else ""
    except SteerlabError as fault:
        reason = str(fault)
    for stream in ("scores", "pattern"):
        if reason:
            findings.refuse(where, stream, reason)
        else:
            findings.add(where, stream, caller, stream, tower=part.tower, shape=tuple(scores.shape))


def _prove_projected(findings, part, where, row: Attention, module, out, seen) -> None:
    count = int(attribute(part.module, row.heads))
    if len(row.projections) == 1:
        layouts = [Layout(part=(i, 3), heads=count) for i in range(3)]
        sources = [child(part.module, row.projections[0])] * 3
    else:
        layouts = [Layout(heads=count)] * 3
        sources = [child(part.module, path) for path in row.projections]
    if any(source is None for source in sources):
        reason = f"its projections are not at {', '.join(row.projections)} (fused?)"
        for stream in ("q", "k", "v", "scores", "pattern"):
            findings.refuse(where, stream, reason)
        sources = []
    findings.add(where, "heads", out, "input", layout=Layout(heads=count), tower=part.tower)
    if not sources or any(seen[source].gave is None for source in sources):
        return
    for stream, source, layout in zip("qkv", sources, layouts, strict=True):
        findings.add(where, stream, source, "output", layout=layout, tower=part.tower)
    q, k, v = zip(sources, layouts, strict=True)
    projected = attention.Projected(module, q, k, v, out)
    stash = {source: seen[source].gave for source in sources} | {module: {}}
    parts = projected.parts(stash)
    scores = attention_scores(parts[0], parts[1], scale=parts[0].shape[-1] ** -0.5)
    mixed = mix_values(attention_pattern(scores), parts[2]).transpose(1, 2).flatten(2)
    off = distance(mixed, seen[out].given)
    for stream in ("scores", "pattern"):
        if off > tolerance(mixed):
            findings.refuse(where, stream, f"pattern times values is off the heads by {off:.1e}")
        else:
            findings.add(
                where,
                stream,
                module,
                stream,
                projected=projected,
                tower=part.tower,
                shape=tuple(scores.shape),
            )
