"""What all tests share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.s3 import ENVIRONMENT, Bucket, Server

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("CAPTIONER_REAL_DATA", REPOSITORY.parent / "shared" / "data"))


# What a terminal or a CI service says of the width and the colours of output is read once, as the program is imported.
TERMINAL = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH")
TERMINAL += ("TTY_COMPATIBLE", "TTY_INTERACTIVE")
# A profile is looked up in the user's own files, which no test reads.
for name in (*TERMINAL, "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
    os.environ.pop(name, None)

# Who starts tests in the background of a script has Ctrl-C ignored, by them and by all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more of the machine than of the code; and whether a change passes must not be drawn by lot:
# examples are the same every time, unless new ones are asked for with --hypothesis-profile=exploring.
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("exploring", **UNHURRIED)
settings.register_profile("repeatable", **UNHURRIED, derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Public label tables and images, which the project does not ship; tests that need them skip without them."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"needs real label tables and images: set CAPTIONER_REAL_DATA (looked in {REAL_DATA})")
    return REAL_DATA


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    """A real S3 server on this machine."""
    for package in ("moto", "s3fs", "flask_cors"):
        pytest.importorskip(package, reason="needs s3fs, moto[s3], flask and flask-cors")
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def bucket(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket, in an environment that leads to it."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL_S3": s3_server.endpoint}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    s3_server.wire.mend()
    yield s3_server.new_bucket()
    s3_server.wire.mend()
