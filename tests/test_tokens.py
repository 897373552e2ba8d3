"""What a token map chooses: by place, by name, by text, on the grid; never padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import steerlab as sl
from steerlab.tokens import TokenMap

IMAGE = TokenMap(9, {"cls": (0, 1), "registers": (1, 3), "patches": (3, 9)}, grid=(2, 3))
VIDEO = TokenMap(12, {"patches": (0, 12)}, grid=(3, 2, 2))
PIECES = {0: "<pad>", 1: "<s>", 2: "</s>", 5: "Mon", 6: "day", 7: " is", 8: " on", 9: "day"}


def text(side: str) -> TokenMap:
    """Two rows of text, the second shorter by two tokens."""
    rows = [[1, 5, 6, 7, 8], [1, 8, 6]]
    pad = [0, 0]
    ids = torch.tensor([rows[0], pad + rows[1] if side == "left" else rows[1] + pad])
    real = ids != 0
    return TokenMap(
        5,
        real=real,
        position=real.long().cumsum(1) - 1,
        ids=ids,
        pieces=lambda ids: [PIECES[i] for i in ids],
        named_ids={"bos": 1, "eos": 2, "pad": 0},
    )


def chosen_ids(tokens: TokenMap, choice) -> list[list[int]]:
    return [tokens.ids[row][on].tolist() for row, on in enumerate(tokens.select(choice))]


def indices(tokens: TokenMap, choice) -> list[int]:
    (row,) = tokens.select(choice)
    return row.nonzero()[:, 0].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("choice", "ids"),
    [
        ("all", [[1, 5, 6, 7, 8], [1, 8, 6]]),
        ("first", [[1], [1]]),
        ("last", [[8], [6]]),
        (0, [[1], [1]]),
        (-2, [[7], [8]]),
        ([0, -1], [[1, 8], [1, 6]]),
        (range(1, 3), [[5, 6], [8, 6]]),
        (torch.tensor([1, 2]), [[5, 6], [8, 6]]),
        (slice(1, None), [[5, 6, 7, 8], [8, 6]]),
        (slice(-2, None), [[7, 8], [8, 6]]),
        (slice(None, -1), [[1, 5, 6, 7], [1, 8]]),
        ("1:3", [[5, 6], [8, 6]]),
        ("-2:", [[7, 8], [8, 6]]),
        ("2", [[6], [6]]),
        (4, [[8], []]),
        ("bos", [[1], [1]]),
        ("pad", [[], []]),
        ("special", [[1], [1]]),
    ],
)
def test_places_mean_the_same_whatever_side_is_padded(side, choice, ids):
    assert chosen_ids(text(side), choice) == ids


@pytest.mark.parametrize(
    ("word", "ids"),
    [("Monday", [[5, 6], []]), ("day", [[], []]), ("on", [[8], []]), ("zebra", [[], []])],
)
def test_a_word_is_found_in_every_token_that_holds_a_part_of_it(word, ids):
    assert chosen_ids(text("left"), f"word:{word}") == ids


def test_a_word_is_found_each_time_it_comes():
    pieces = ["on", " is", " on", " on"]
    tokens = TokenMap(4, ids=torch.tensor([[0, 1, 2, 3]]), pieces=lambda ids: [pieces[i] for i in ids])
    assert indices(tokens, "word:on") == [0, 2, 3]


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        ("cls", [0]),
        ("registers", [1, 2]),
        ("patches", [3, 4, 5, 6, 7, 8]),
        ("special", [0, 1, 2]),
        ("all", list(range(9))),
        (-1, [8]),
        (slice(2, 8, 3), [2, 5]),
        ([True] + [False] * 7 + [True], [0, 8]),
        (np.int64(4), [4]),
    ],
)
def test_groups_and_indices_choose_tokens_of_an_image(choice, chosen):
    assert indices(IMAGE, choice) == chosen


def test_a_mask_may_differ_from_row_to_row():
    mask = torch.tensor([[True, False, False, False, True], [True, False, True, False, False]])
    assert chosen_ids(text("left"), mask) == [[1, 8], [1]]  # the padding of the second row stays out


@pytest.mark.parametrize(
    ("choice", "patches"),
    [
        ((0, 0), [3]),
        ((1, 2), [8]),
        ([(0, 1), (1, 0)], [4, 6]),
        (torch.tensor([[0, 1], [1, 0]]), [4, 6]),
        ("0:1,:", [3, 4, 5]),
        (":, 1:", [4, 5, 7, 8]),
        ("-1:,-1:", [8]),
        ([], []),
    ],
)
def test_patches_are_rows_and_columns(choice, patches):
    assert IMAGE.patches(choice)[0].nonzero()[:, 0].tolist() == patches


def test_patches_without_frames_are_tubes_and_frames_cut_them():
    assert VIDEO.patches((0, 1))[0].nonzero()[:, 0].tolist() == [1, 5, 9]
    assert VIDEO.patches((0, 1), frames=[0, -1])[0].nonzero()[:, 0].tolist() == [1, 9]
    assert VIDEO.patches(frames=slice(0, 1))[0].nonzero()[:, 0].tolist() == [0, 1, 2, 3]
    assert VIDEO.patches(frames=torch.tensor([False, True, False]))[0].nonzero()[:, 0].tolist() == [
        4,
        5,
        6,
        7,
    ]


def test_where_frames_run_fastest_the_same_patch_has_other_tokens():
    tokens = TokenMap(13, {"cls": (0, 1), "patches": (1, 13)}, grid=(3, 2, 2), frame_last=True)
    assert tokens.patches((0, 1))[0].nonzero()[:, 0].tolist() == [4, 5, 6]
    assert tokens.patches(frames=0)[0].nonzero()[:, 0].tolist() == [1, 4, 7, 10]
    values = torch.arange(12).view(3, 2, 2)
    assert tokens.along_tokens(values).tolist() == values.permute(1, 2, 0).flatten().tolist()


def test_a_region_is_the_share_of_each_patch_that_it_covers():
    mask = torch.zeros(4, 6)
    mask[:2, :2], mask[2, 4:] = 1.0, 1.0
    assert IMAGE.region(mask)[0].tolist() == [0, 0, 0, 1.0, 0, 0, 0, 0, 0.5]


def test_rows_of_a_batch_keep_their_own_map():
    tokens = text("left").at_rows(slice(1, 2))
    assert tokens.select("last").tolist() == [[False, False, False, False, True]]
    assert tokens.select("first").tolist() == [[False, False, True, False, False]]


@pytest.mark.parametrize("choice", [torch.tensor([0.5]), ["last"], 1.5, None, {"a": 1}, [[0, 1]]])
def test_what_names_no_tokens_is_refused(choice):
    with pytest.raises(
        sl.SteerlabError, match=r"give a word \(all, first, last, special, cls, registers, patches\)"
    ):
        IMAGE.select(choice)


@pytest.mark.parametrize("choice", [(0,), (0, 1, 2), "0:1", "a:b,c:d", 3, [(0, 0), 1], [(0.5, 1)]])
def test_what_names_no_patches_is_refused(choice):
    with pytest.raises(sl.SteerlabError, match=r"patches=.*'top:bottom,left:right'"):
        IMAGE.patches(choice)


def test_a_text_model_without_special_tokens_has_none():
    tokens = TokenMap(3, ids=torch.tensor([[5, 6, 7]]))
    assert tokens.select("special").tolist() == [[False, False, False]]


@pytest.mark.parametrize(
    ("pieces", "word", "chosen"),
    [
        (["one", " some", "one", " one"], "one", [1, 0, 0, 1]),
        (["Some", "one", " on", " Mon", "day", "."], "Monday", [0, 0, 0, 1, 1, 0]),
        (["the", "cat", "sat"], "the cat", [1, 1, 0]),  # a tokenizer of whole words
        (["<bos>", "The", " cat"], "The", [0, 1, 0]),
    ],
)
def test_a_word_is_a_whole_word_in_however_many_pieces(pieces, word, chosen):
    ids = torch.arange(len(pieces))[None]
    tokens = TokenMap(len(pieces), ids=ids, pieces=lambda row: [pieces[i] for i in row])
    assert tokens.select(f"word:{word}").int().tolist() == [chosen]


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        (["a</w>", "mon", "day</w>"], ["a ", "mon", "day "]),
        (["\u2581a", "\u2581mon", "day"], [" a", " mon", "day"]),
        (["a", "mon", "##day"], [" a", " mon", "day"]),
    ],
)
def test_the_marks_of_tokenizers_become_spaces(marked, plain):
    from steerlab.families.token_maps import pieces_of

    class Tokenizer:
        def convert_ids_to_tokens(self, ids):
            return [marked[i] for i in ids]

        def convert_tokens_to_string(self, words):
            return words[0]

    assert pieces_of(Tokenizer())([0, 1, 2]) == plain


@pytest.mark.parametrize(
    ("kind", "spelled"), [("BPE", ["##", "\u0120Title"]), ("WordPiece", ["", " \u0120Title"])]
)
def test_a_heading_is_no_continued_word_where_the_tokenizer_is_no_wordpiece(kind, spelled):
    from types import SimpleNamespace

    from steerlab.families.token_maps import pieces_of

    words = ["##", "\u0120Title"]
    tokenizer = SimpleNamespace(
        backend_tokenizer=SimpleNamespace(model=type(kind, (), {})()),
        convert_ids_to_tokens=lambda ids: [words[i] for i in ids],
        convert_tokens_to_string=lambda some: some[0],
    )
    assert pieces_of(tokenizer)([0, 1]) == spelled
