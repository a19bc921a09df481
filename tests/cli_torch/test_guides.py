"""The pages that say so run as they are written, from an empty folder."""

import os
import runpy
from pathlib import Path

import pytest

import nas

HOME = Path(nas.__file__).parent.parent
RUN = runpy.run_path(str(HOME / "experiments" / "run_page.py"))["run"]


@pytest.mark.parametrize("page", ["your_space", "your_op", "your_training", "sounds", "detector"])
def test_the_page_runs_as_it_is_written(page, tmp_path, capfd):
    folder, site = tmp_path / "page", tmp_path / "site"
    folder.mkdir()
    # What the page installs lands beside this environment, not in it, and nothing is fetched.
    environment = {
        "PYTHONPATH": os.pathsep.join([str(HOME), str(site)]),
        "PIP_TARGET": str(site),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "OMP_NUM_THREADS": "1",
    }
    RUN(HOME / "docs" / f"{page}.md", folder, environment)
    assert list(folder.glob("runs/*/front.png"))
