"""Attention watched without patterns: few keys and few rows are those of the whole, in every family."""

from __future__ import annotations

import oracles
import pytest
import torch

import steerlab as sl
from steerlab.attending import attend, attending
from steerlab.errors import SteerlabError

PIPELINES = ("pixart", "sd", "sdxl")
NONE = ("plain",)  # families without attention
FAMILIES = sorted(set(sl.families.FAMILIES) - {*PIPELINES, *NONE})


def patterns(one) -> list[str]:
    return [str(site) for site in one.model.sites() if site.stream == "pattern"]


def watched(one, inputs, keys) -> dict[str, tuple[torch.Tensor, ...]]:
    found = {}

    def see(site, looks):
        assert site not in found
        found[str(site)] = looks.to(keys), torch.cat([tile for _, tile in looks.tiles(3)], 2), looks.mixed

    attend(one.model, inputs, patterns(one), see)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_few_keys_and_few_rows_are_those_of_the_pattern(held, family):
    one = held(family)
    inputs = one.tiny.padded or one.tiny.inputs
    acts = one.model.capture(inputs, at=patterns(one))
    found = watched(one, inputs, [0, 2])
    assert set(found) == set(patterns(one)) and found
    for site, (few, rows, mixed) in found.items():
        torch.testing.assert_close(few, acts[site][..., [0, 2]].to(few), atol=3e-6, rtol=1e-5)
        torch.testing.assert_close(rows, acts[site].to(rows), atol=1e-6, rtol=1e-5)
        heads = one.model.capture(inputs, at=site.replace("pattern", "heads"))[
            site.replace("pattern", "heads")
        ]
        assert torch.equal(mixed, heads)


@pytest.mark.parametrize("family", ["llama", "vit", "clip_text", "timm_vit"])
def test_watching_changes_no_bit(held, family):
    one = held(family)
    bare = oracles.bare(one.tiny)
    fired = []
    with attending(
        one.model, patterns(one), lambda site, looks: fired.append((str(site), looks.to([1]).sum()))
    ):
        assert torch.equal(oracles.bare(one.tiny), bare)
    assert [site for site, _ in fired] == patterns(one)
    assert torch.equal(oracles.bare(one.tiny), bare)


def test_the_kernel_gives_its_row_sums_away(held):
    one, kept = held("llama"), []
    attend(one.model, one.tiny.inputs, "blocks.*.pattern", lambda site, looks: kept.append(looks.lse))
    assert len(kept) == 3 and all(lse is not None and torch.isfinite(lse).all() for lse in kept)


@pytest.mark.parametrize("family", ["llama", "timm_vit"])
def test_an_edited_pattern_is_what_is_watched(held, family):
    one, found = held(family), {}
    edit = {"blocks.1.pattern.2": sl.Scale(0.5).on(keys=[0])}
    with one.model.edit(edit):
        attend(
            one.model, one.tiny.inputs, "blocks.1.pattern", lambda site, looks: found.update(a=looks.to([0]))
        )
        whole = one.model.capture(one.tiny.inputs, at="blocks.1.pattern")["blocks.1.pattern"]
    plain = one.model.capture(one.tiny.inputs, at="blocks.1.pattern")["blocks.1.pattern"]
    torch.testing.assert_close(found["a"], whole[..., [0]])
    torch.testing.assert_close(found["a"][:, 2], plain[:, 2][..., [0]] / 2)


def test_what_is_no_pattern_is_refused(held):
    model = held("llama").model
    for at in ("blocks.0.heads", "blocks.0.pattern.1"):
        with pytest.raises(SteerlabError, match="patterns of all heads"):
            attend(model, held("llama").tiny.inputs, at, print)


def test_no_pattern_is_made_where_a_few_keys_are_asked(held):
    """The largest tensor made while watching one key has fewer numbers than one head's pattern."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        most = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for one in out if isinstance(out, tuple) else (out,):
                if isinstance(one, torch.Tensor) and one.ndim == 4:
                    Largest.most = max(Largest.most, one.shape[-1] * one.shape[-2])
            return out

    one = held("llama")
    ids = torch.randint(5, 20, (1, 60), generator=torch.Generator().manual_seed(0))
    with Largest():
        attend(one.model, {"input_ids": ids}, "blocks.*.pattern", lambda site, looks: looks.to([0]))
    assert 0 < Largest.most < 60 * 60
