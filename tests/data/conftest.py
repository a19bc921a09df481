import os
from pathlib import Path

import pytest


@pytest.fixture
def shared() -> Path:
    folder = Path(os.environ.get("NAS_DATA", "../shared/data"))
    if not folder.is_dir():
        pytest.skip("no folder of reference data: set NAS_DATA")
    return folder
