"""Files written by the packages themselves: their codes and reconstructions, and one format for each."""

from __future__ import annotations

import pytest
from dictionary_fixtures import FIXTURES, cases, check, name_of, path_of

from steerlab.bases.formats import FORMATS
from steerlab.bases.formats.files import Source

CASES = cases()


@pytest.mark.parametrize("expected", CASES, ids=name_of)
def test_codes_and_reconstructions_are_the_packages_own(expected):
    sae = check(expected)
    assert sae.facts.source == expected.parent.name
    assert sae.facts.fingerprint is not None and len(sae.facts.fingerprint) == 64


@pytest.mark.parametrize("expected", CASES, ids=name_of)
def test_one_format_alone_recognises_each(expected):
    source = Source(path_of(expected))
    found = [format.name for format in FORMATS.values() if format.recognises(source)]
    assert found == [expected.parent.name]


def test_every_package_says_which_version_wrote_its_files():
    told = {path.parent.name: path.read_text().split()[:2] for path in FIXTURES.glob("*/VERSIONS")}
    assert set(told) == {path.parent.name for path in CASES}
    assert told["saelens"][0] == "sae-lens" and told["sparsify"][0] == "eai-sparsify"
