"""The grammar of sites: brackets, aliases, heads, wildcards; and that what is printed is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import steerlab as sl
from steerlab.sites import ALIASES, HEAD_STREAMS, STREAMS, Site

numbers = st.integers(0, 99).map(str)
blocks = st.builds("blocks.{}".format, numbers)
places = st.one_of(
    st.just(""),
    blocks,
    st.builds("{}.{}".format, st.sampled_from(["vision", "text", "predictor", "text_encoder_2"]), blocks),
    st.builds("unet.down.{}.{}".format, numbers, numbers),
    st.builds("unet.down.{}.{}.blocks.{}.cross".format, numbers, numbers, numbers),
)
chosen_heads = st.one_of(
    st.just(""),
    numbers,
    st.builds("{}:{}".format, numbers, numbers),
    st.builds("{},{}".format, numbers, numbers),
)
sites = st.one_of(
    st.builds(Site, places, st.sampled_from(STREAMS), st.just("")),
    st.builds(Site, places, st.sampled_from(HEAD_STREAMS), chosen_heads),
    st.builds(Site, st.just("module:model.layers.1"), st.sampled_from(["input", "output"]), st.just("")),
)


@given(sites)
def test_a_printed_site_is_read_back_as_itself(site):
    assert Site.parse(str(site)) == site
    assert repr(site) == f"Site({str(site)!r})"


@given(sites)
def test_a_site_matches_itself_and_everything_below_its_tower(site):
    assert site.matches(site)
    if not site.is_module:
        assert Site("**", "*").matches(site)
        assert Site("**", site.stream).matches(site)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("blocks[3].heads[7]", Site("blocks.3", "heads", "7")),
        ("blocks[3].heads[0:4]", Site("blocks.3", "heads", "0:4")),
        ("blocks[3].heads[1, 3]", Site("blocks.3", "heads", "1,3")),
        (" blocks.3.resid ", Site("blocks.3", "resid")),
        ("blocks.3.mlp.act", Site("blocks.3", "mlp.act")),
        ("blocks.3.mlp", Site("blocks.3", "mlp")),
        ("logits", Site("", "logits")),
        ("vision.pooled", Site("vision", "pooled")),
        ("blocks.3.*", Site("blocks.3", "*")),
        ("module:model.layers.3", Site("module:model.layers.3", "output")),
        ("module:model.layers.3:input", Site("module:model.layers.3", "input")),
    ],
)
def test_a_site_is_read_as_it_is_meant(written, meant):
    assert Site.parse(written) == meant
    assert Site.parse(meant) is meant


@pytest.mark.parametrize(("alias", "stream"), ALIASES.items())
def test_names_of_transformer_lens_are_read(alias, stream):
    assert Site.parse(f"blocks.5.{alias}") == Site("blocks.5", stream)
    assert Site.parse(alias) == Site("", stream)


def test_a_name_that_only_ends_like_an_alias_is_not_one():
    assert str(sl.Site.parse("blocks.1.attn.hook_z.3")) == "blocks.1.heads.3"
    assert str(sl.Site.parse("blocks.*.attn.hook_pattern[2:4]")) == "blocks.*.pattern.2:4"
    with pytest.raises(sl.SteerlabError, match="unknown stream 'myhook_embed'"):
        Site.parse("blocks.5.myhook_embed")


def matching(pattern: str) -> set[str]:
    """Which of some sites a pattern names."""
    known = [f"blocks.{i}.{s}" for i in (0, 1, 2, 11) for s in ("resid", "mlp", "heads")]
    known += ["vision.blocks.1.resid", "unet.down.2.1.resid", "unet.down.2.1.blocks.0.resid", "final"]
    return {site for site in known if Site.parse(pattern).matches(Site.parse(site))}


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("blocks.*.resid", {"blocks.0.resid", "blocks.1.resid", "blocks.2.resid", "blocks.11.resid"}),
        ("blocks.1.resid", {"blocks.1.resid"}),
        ("blocks.1:3.resid", {"blocks.1.resid", "blocks.2.resid"}),
        ("blocks.2:.resid", {"blocks.2.resid", "blocks.11.resid"}),
        ("blocks.:1.resid", {"blocks.0.resid"}),
        ("blocks.0,11.mlp", {"blocks.0.mlp", "blocks.11.mlp"}),
        ("blocks[0,11].mlp", {"blocks.0.mlp", "blocks.11.mlp"}),
        ("blocks.1.*", {"blocks.1.resid", "blocks.1.mlp", "blocks.1.heads"}),
        ("*.blocks.*.resid", {"vision.blocks.1.resid"}),
        ("unet.**.resid", {"unet.down.2.1.resid", "unet.down.2.1.blocks.0.resid"}),
        ("**.final", {"final"}),
        ("*.final", set()),
        ("final", {"final"}),
    ],
)
def test_wildcards_ranges_and_lists_name_what_they_say(pattern, named):
    assert matching(pattern) == named


def test_two_stars_stand_for_any_number_of_segments():
    resid = matching("**.resid")
    assert len(resid) == 7 and all(site.endswith(".resid") for site in resid)
    assert len(matching("**.*")) == 16


@pytest.mark.parametrize(
    ("written", "chosen"),
    [
        ("", None),
        ("*", None),
        ("3", 3),
        ("-1", 7),
        ("0:2", [0, 1]),
        ("6:", [6, 7]),
        (":2", [0, 1]),
        ("1,-1", [1, 7]),
    ],
)
def test_heads_are_chosen_among_those_that_there_are(written, chosen):
    assert Site("blocks.0", "heads", written).select(8) == chosen


@pytest.mark.parametrize("written", ["8", "-9", "0,8", "8:", "3:3", "0:9"])
def test_heads_that_are_not_there_are_refused(written):
    with pytest.raises(sl.SteerlabError, match=r"blocks\.0 has 8 heads \(0 to 7\)"):
        Site("blocks.0", "heads", written).select(8)


def test_a_site_is_a_key_like_any_other_frozen_value():
    site = Site.parse("blocks.3.heads.7")
    assert {site: 1}[Site.parse("blocks[3].heads[7]")] == 1
    assert site.whole == Site.parse("blocks.3.heads")
    with pytest.raises(AttributeError):
        site.stream = "q"


def test_a_model_finds_sites_in_its_own_order_and_each_once(held):
    model = held("llama").model
    found = model.sites(["blocks.2.resid", "blocks.*.resid"])
    assert [str(site) for site in found] == ["blocks.2.resid", "blocks.0.resid", "blocks.1.resid"]
    assert [str(site) for site in model.heads("blocks.1.k")] == ["blocks.1.k.0", "blocks.1.k.1"]


def test_brackets_on_a_model_give_the_site_that_text_gives(held):
    model = held("clip").model
    assert model.text.blocks[1].heads[2] == Site.parse("text.blocks.1.heads.2")
    assert model.text.blocks[1].heads[0:2] == Site.parse("text.blocks.1.heads.0:2")
    assert model.text.blocks[1].heads[0, 3] == Site.parse("text.blocks.1.heads.0,3")
    assert model.vision.blocks[1].resid == Site.parse("vision.blocks.1.resid")
