"""Writing image and caption shards is killed at random moments; what is there is whole, and ends whole."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_kills_at_random_moments_leave_no_damaged_shard_and_no_sample_twice_or_missing():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kills", "--kills", "8", "--seed", "5"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 kills" in done.stdout
    assert "0 faults" in done.stdout
