"""Broken, hostile and ambiguous files: the error names the culprit, and nothing is run."""

from __future__ import annotations

import json
import pickle
import resource
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from steerlab.bases.formats import read_dictionary
from steerlab.bases.formats.files import Source, Weights, read_rows
from steerlab.errors import SteerlabError

FIXTURES = Path(__file__).parent / "fixtures"
# A case of each format: its weights, a matrix in them, and the options that reading it needs.
CASES = {
    "saelens/standard": ("sae_weights.safetensors", "W_dec", {}),
    "sparsify/layers.3": ("sae.safetensors", "W_dec", {}),
    "dictionary_learning/batchtopk": ("ae.pt", "decoder.weight", {}),
    "overcomplete/relu.pt": ("relu.pt", "encoder.final_block.0.weight", {"method": "relu"}),
}


def load(file: Path) -> dict[str, torch.Tensor]:
    return load_file(file) if file.suffix == ".safetensors" else torch.load(file)


def keep(state: dict[str, torch.Tensor], file: Path) -> None:
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)


class Copy:
    """A fixture in a folder of its own, to be damaged."""

    def __init__(self, case: str, tmp_path: Path) -> None:
        name, self.matrix, self.options = CASES[case]
        self.source, self.path = FIXTURES / case, tmp_path / case.split("/")[1]
        if self.source.is_dir():
            shutil.copytree(self.source, self.path)
            self.file = self.path / name
        else:
            self.file = shutil.copy(self.source, self.path)

    def change(self, change) -> None:
        state = load(self.file)
        change(state)
        keep(state, self.file)

    def read(self):
        return read_dictionary(self.path, None, self.options)


@pytest.fixture(params=CASES)
def copy(request, tmp_path):
    made = Copy(request.param, tmp_path)
    made.read()  # whole before it is damaged
    return made


def test_a_missing_tensor_is_named(copy):
    copy.change(lambda state: state.pop(copy.matrix))
    with pytest.raises(SteerlabError, match=rf"no tensor '{copy.matrix}'.*it holds"):
        copy.read()


def test_a_wrong_shape_is_named_with_what_was_expected(copy):
    copy.change(lambda state: state.update({copy.matrix: state[copy.matrix][:-1].clone()}))
    with pytest.raises(SteerlabError, match=r"shape \[.*\], expected \[|gives \d+ codes|needs \[|has 47"):
        copy.read()


def test_whole_numbers_are_no_weights(copy):
    copy.change(lambda state: state.update({copy.matrix: state[copy.matrix].long()}))
    with pytest.raises(SteerlabError, match=rf"{copy.matrix} holds torch.int64 numbers"):
        copy.read()


def test_numbers_that_are_none_are_counted(copy):
    copy.change(lambda state: state[copy.matrix].view(-1)[:3].fill_(float("nan")))
    with pytest.raises(SteerlabError, match=rf"{copy.matrix}: 3 of 768 entries are NaN or infinite"):
        copy.read()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_cut_short_is_called_so(copy, share):
    content = copy.file.read_bytes()
    copy.file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SteerlabError, match=rf"{copy.file.name} is not a whole (safetensors|torch) file"):
        copy.read()


class Payload:
    """Pickled, it asks the reader to make a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("case", ["dictionary_learning/batchtopk", "overcomplete/relu.pt"])
@pytest.mark.parametrize("plain", [False, True], ids=["torch file", "bare pickle"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(case, plain, tmp_path):
    copy, target = Copy(case, tmp_path), tmp_path / "made"
    content = load(copy.file) | {"bias": Payload(target)}
    if plain:
        copy.file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, copy.file)
    with pytest.raises(SteerlabError, match=r"nothing was run|is not a whole torch file"):
        copy.read()
    assert not target.exists()
    pickle.loads(pickle.dumps(Payload(target)))  # the payload does what it says where it is run
    assert target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]", "holds a JSON list, expected an object"),
        ("{", "is not JSON"),
        ("\xff\xfe", "is not JSON"),
    ],
)
@pytest.mark.parametrize("case", ["saelens/standard", "sparsify/layers.3"])
def test_a_configuration_that_is_no_object_is_named(case, content, message, tmp_path):
    copy = Copy(case, tmp_path)
    (copy.path / "cfg.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(SteerlabError, match=rf"cfg\.json {message}"):
        copy.read()


def test_a_folder_of_several_dictionaries_lists_them(tmp_path):
    for layer in ("layers.3", "layers.5.mlp"):
        shutil.copytree(FIXTURES / "sparsify" / layer, tmp_path / layer)
    with pytest.raises(SteerlabError, match=r"holds several dictionaries.*layers\.3, layers\.5\.mlp"):
        read_dictionary(tmp_path, None, {})


def test_names_of_tensors_come_from_the_header(tmp_path):
    shutil.copytree(FIXTURES / "saelens" / "standard", tmp_path / "sae")
    file = tmp_path / "sae" / "sae_weights.safetensors"
    source = Source(tmp_path / "sae")
    assert source.keys(file.name) == {"W_enc", "W_dec", "b_enc", "b_dec"}
    assert not any(isinstance(read, Weights) for read in source._read.values())
    assert source.keys("cfg.json") == set()


def test_what_else_lies_in_a_folder_does_not_confuse(tmp_path):
    copy = Copy("saelens/standard", tmp_path)
    save_file({"sparsity": torch.zeros(48)}, copy.path / "sparsity.safetensors")
    (copy.path / "runner_cfg.json").write_text("{}")
    (copy.path / "README.md").write_text("a dictionary")
    assert copy.read().facts.source == "saelens"


def test_an_option_of_another_format_is_refused(tmp_path):
    with pytest.raises(SteerlabError, match="'scale' is not an option of the format 'saelens'"):
        read_dictionary(FIXTURES / "saelens" / "standard", None, {"scale": 2.0})


def faults() -> int:
    """Pages of memory that this process touched for the first time."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt


def test_rows_are_read_without_the_rest_of_the_file(tmp_path):
    """A gigabyte with holes, three rows of it written: to touch all would take 16 thousand faults."""
    atoms, dim = 2**22, 64
    shape = {"dtype": "F32", "shape": [atoms, dim], "data_offsets": [0, atoms * dim * 4]}
    header = json.dumps({"W_dec": shape}).encode().ljust(256)
    rows, index = torch.randn(3, dim), [3, atoms - 1, 17]
    file = tmp_path / "large.safetensors"
    with file.open("wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        opened.truncate(8 + len(header) + atoms * dim * 4)
        for k, row in zip(index, rows, strict=True):
            opened.seek(8 + len(header) + k * dim * 4)
            opened.write(row.numpy().tobytes())
    before = faults()
    assert torch.equal(read_rows(file, "W_dec", index), rows)
    assert faults() - before < 4000
    with pytest.raises(SteerlabError, match=r"large\.safetensors: W_out"):
        read_rows(file, "W_out", [0])


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SteerlabError, match="no such file or folder"):
        Source(tmp_path / "nothing")
