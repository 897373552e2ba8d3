"""A dictionary made from one block's activations is found at that block, whatever its file says."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from exact_atoms import TEXTS, cases, mirrored, tied

import steerlab as sl
from steerlab import atoms, figures


@pytest.fixture
def made(held):
    """Eight directions and their mirror images that explain ``blocks.1.resid`` best, around its mean."""
    model = held("llama").model
    x = cases(model, "blocks.1.resid")
    axes = torch.linalg.svd(x - x.mean(0)).Vh[:8]
    sae = tied(torch.cat([axes, -axes]))
    return model, dataclasses.replace(sae, bias=x.mean(0), pre_bias=x.mean(0))


def test_the_best_site_is_found_and_the_declared_one_judged(made):
    model, sae = made
    wrong = atoms.check_site(model, atoms.at_site(sae, "blocks.0.resid"), TEXTS)
    assert [str(row.site) for row in wrong.rows] == [f"blocks.{i}.resid" for i in range(3)]
    assert str(wrong.best.site) == "blocks.1.resid" and not wrong.fits
    best, own = wrong.best.r2, wrong.at_declared.r2
    assert wrong.verdict == (
        f"fits blocks.1.resid best (R2 {best:.2f}), declared blocks.0.resid (R2 {own:.2f})"
    )
    right = atoms.check_site(model, atoms.at_site(sae, "blocks.1.resid"), TEXTS)
    assert right.fits and right.verdict == f"fits its declared site blocks.1.resid (R2 {best:.2f})"
    for row in right.rows:
        assert row.r2 == pytest.approx(atoms.fit(model, sae, TEXTS, at=row.site).r2)
    assert "it declares no site" in atoms.check_site(model, sae, TEXTS).verdict


def test_its_figure_marks_the_best_and_the_declared_site(made):
    model, sae = made
    check = atoms.check_site(model, atoms.at_site(sae, "blocks.0.resid"), TEXTS)
    axes = figures.site_fit(check).axes[0]
    line, _, best, declared = axes.lines
    assert list(line.get_ydata()) == pytest.approx([row.r2 for row in check.rows])
    assert (best.get_label(), best.get_xydata().tolist()) == ("best", [[1, pytest.approx(check.best.r2)]])
    assert list(declared.get_xdata()) == [0] and axes.get_title(loc="left") == check.verdict
    assert [text.get_text() for text in axes.get_xticklabels()] == [str(row.site) for row in check.rows]


def test_what_the_source_says_of_the_codes_is_compared(made):
    model, sae = made
    measured = sae.measured(cases(model, "blocks.1.resid"))
    assert float(measured.stats.frequency.sum()) == pytest.approx(8)
    fine = dataclasses.replace(measured, facts=sl.Facts(site="blocks.1.resid", l0=8.0))
    assert "L0" not in atoms.check_site(model, fine, TEXTS).verdict
    other = dataclasses.replace(sae, facts=sl.Facts(site="blocks.1.resid", l0=80.0))
    assert "L0 is 8 where its source says 80" in atoms.check_site(model, other, TEXTS).verdict
    large = dataclasses.replace(sae, decoder=9 * sae.decoder, facts=other.facts)
    assert "times as long as activations" in atoms.check_site(model, large, TEXTS).verdict


def test_only_sites_of_its_width_are_candidates_and_heads_count_together(held):
    model = held("llama").model
    found = atoms.check_site(model, mirrored(32), TEXTS[:1], ["blocks.1.*"])
    streams = [row.site.stream for row in found.rows]
    assert streams == ["resid_pre", "heads", "q", "attn", "mlp", "resid", "resid_mid"]
    assert all(row.r2 == pytest.approx(1) for row in found.rows)
    with pytest.raises(sl.SteerlabError, match="has 7 dimensions"):
        atoms.check_site(model, mirrored(7), TEXTS)


def test_a_transcoder_is_tried_at_every_block_with_that_blocks_own_input(held):
    model = held("llama").model
    x, y = (cases(model, f"blocks.2.{stream}") for stream in ("resid_mid", "mlp"))
    weight = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), y).solution
    both = mirrored(32)
    facts = sl.Facts(reads="blocks.0.resid_mid", site="blocks.0.mlp")
    decoder = torch.cat([weight[:-1], -weight[:-1]])
    transcoder = sl.Dictionary(decoder=decoder, encoder=both.encoder, bias=weight[-1], facts=facts)
    found = atoms.check_site(model, transcoder, TEXTS)
    assert [str(row.site) for row in found.rows] == [f"blocks.{i}.mlp" for i in range(3)]
    assert str(found.best.site) == "blocks.2.mlp" and not found.fits and found.best.r2 > 0.9
