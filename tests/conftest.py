"""What all tests share."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("CAPTIONER_REAL_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Public label tables and images, which the project does not ship; tests that need them skip without them."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"needs real label tables and images: set CAPTIONER_REAL_DATA (looked in {REAL_DATA})")
    return REAL_DATA
