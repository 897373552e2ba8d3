"""An empty cache folder for each file of tests, so that first loads are really first."""

import shutil

import pytest


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEERLAB_CACHE", str(folder))
        yield folder
    shutil.rmtree(folder)  # half a gigabyte, which pytest would keep for three runs
