"""The inputs where atoms fire most against a look at all of them, and the maps against the stream itself."""

from __future__ import annotations

import pytest
import torch
from exact_atoms import mirrored

import steerlab as sl
from steerlab import atoms, figures
from steerlab.bases import Linear, Relu

SITE = "blocks.1.resid"
WORDS = [
    "the cat sat on the mat",
    "a dog ran",
    "today is Monday",
    "king queen man woman",
    "Paris is in France",
]


def test_the_strongest_texts_are_those_of_a_look_at_all(held):
    model, sae = held("llama").model, mirrored(32, SITE)
    found = atoms.top_inputs(model, sae, range(64), (WORDS[i : i + 2] for i in (0, 2, 4)), k=3)
    x = {text: model.capture(text, SITE)[SITE][0, 1:] for text in WORDS}  # without <bos>
    for atom in range(64):
        codes = {text: (v[:, atom % 32] * (1 if atom < 32 else -1)).relu() for text, v in x.items()}
        order = sorted((t for t in WORDS if codes[t].max() > 0), key=lambda t: -float(codes[t].max()))[:3]
        assert [one.input for one in found[atom]] == order
        for one in found[atom]:
            torch.testing.assert_close(one.codes[1:], codes[one.input], atol=1e-6, rtol=1e-4)
            assert one.codes[0] == 0 and one.pieces[0] == "<bos>" and one.index == WORDS.index(one.input)
            assert one.place == (1 + int(codes[one.input].argmax()),)
    assert found.seen == 5 and f"«{found[0][0].pieces[found[0][0].place[0]].strip()}»" in str(found)


def test_special_tokens_are_shown_and_never_count(held):
    model = held("llama").model
    site = model.site(SITE)
    text = "a dog <eos> ran"
    x = model.capture(text, SITE)[site][0]
    atom = int((x[3] - x[[1, 2, 4]].amax(0)).argmax())  # where the end of text has the largest code of all
    (found,) = atoms.atom_map(model, mirrored(32, SITE), atom, text)
    assert found.pieces[3].strip() == "<eos>" and found.codes[3] == 0 and x[3, atom] > found.peak
    (every,) = atoms.atom_map(model, mirrored(32, SITE), atom, text, tokens="all")
    torch.testing.assert_close(every.codes, x[:, atom].relu())


def test_only_so_many_are_kept_and_silent_atoms_have_none(held):
    model = held("llama").model
    offset = torch.tensor([-1e4, 1e4])
    silent = sl.Dictionary(decoder=torch.eye(2, 32), encoder=Linear(torch.eye(32, 2), offset, Relu()))
    found = atoms.top_inputs(model, atoms.at_site(silent, SITE), [0, 1], WORDS * 3, k=2)
    assert found.seen == 15 and found[0] == [] and len(found[1]) == 2
    assert "atom 0: never fired" in str(found)
    with pytest.raises(sl.SteerlabError, match="atom 5 was not asked for"):
        found[5]


@pytest.mark.parametrize(("family", "shape"), [("vit", (4, 4)), ("videomae", (2, 4, 4))])
def test_maps_of_pictures_and_videos_are_the_codes_on_their_grid(held, family, shape):
    one, site = held(family), "blocks.2.resid"
    sae = mirrored(32, site)
    maps = atoms.atom_map(one.model, sae, 7, one.tiny.inputs)
    grid = one.model.capture(one.tiny.inputs, site).grid(site)[..., 7].relu()
    assert len(maps) == 2 and grid.shape[1:] == shape
    for row, found in enumerate(maps):
        assert torch.equal(found.codes, grid[row]) and found.pieces is None
        assert torch.equal(found.input["pixel_values"], one.tiny.inputs["pixel_values"][row])
        assert float(grid[row][found.place]) == found.peak == float(grid[row].max())
    top = atoms.top_inputs(one.model, sae, 7, [one.tiny.inputs])[7]
    assert [m.index for m in top] == grid.flatten(1).amax(1).argsort(descending=True).tolist()


def test_tokens_that_are_no_patches_have_no_grid(held):
    one = held("vit")
    sae = mirrored(32, "blocks.2.resid")
    (first, _) = atoms.atom_map(one.model, sae, 7, one.tiny.inputs, tokens="cls")
    whole = one.model.capture(one.tiny.inputs, "blocks.2.resid")["blocks.2.resid"][0, :, 7].relu()
    assert first.codes.shape == (17,) and first.codes[0] == whole[0] and not first.codes[1:].any()


def test_figures_show_the_codes(held):
    text = atoms.atom_map(held("llama").model, mirrored(32, SITE), 3, WORDS)
    strongest = max(text, key=lambda one: one.peak)
    drawn = figures.atom_texts([strongest])
    assert [t.get_text() for t in drawn.axes[0].texts] == [p.strip() for p in strongest.pieces]
    vit, video = held("vit"), held("videomae")
    pictures = atoms.atom_map(vit.model, mirrored(32, "blocks.2.resid"), 7, vit.tiny.inputs)
    shown = figures.atom_pictures(pictures).axes[1].images[1].get_array()
    assert torch.equal(torch.as_tensor(shown.data), pictures[0].codes)
    frames = atoms.atom_map(video.model, mirrored(32, "blocks.2.resid"), 7, video.tiny.inputs)
    panels = [axes for axes in figures.atom_frames(frames).axes if len(axes.images) == 2]
    assert len(panels) == 4
    assert torch.equal(torch.as_tensor(panels[3].images[1].get_array().data), frames[1].codes[1])
    frame = video.tiny.inputs["pixel_values"][1, 2]  # two frames make a tube: its first one is drawn
    grey = (frame - frame.min()) / (frame.max() - frame.min())
    grey = (grey * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    torch.testing.assert_close(torch.as_tensor(panels[3].images[0].get_array().data), grey)
    with pytest.raises(sl.SteerlabError, match="not of videos"):
        figures.atom_frames(pictures)
    with pytest.raises(sl.SteerlabError, match="never fired"):
        figures.atom_texts([])
