"""What is said when a program on this machine makes no batch."""

import asyncio
import sys
from pathlib import Path

import pytest

from captioner.engines import Message, Request
from captioner.engines.batch import BatchEngine, BatchSettings
from captioner.errors import EngineError
from captioner.triplets import Triplet

SAID = (
    "ERROR 11-22 [core.py:1] Traceback (most recent call last):",
    "(Worker pid=1) ERROR 11-22 [executor.py:953] ValueError: Available memory on node 0 is less than desired",
    "Traceback (most recent call last):",
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
)


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        (SAID, "code 1): ValueError: Available memory on node 0 is less than desired. All"),
        (SAID[2:], "code 1): RuntimeError: Engine core initialization failed. See root cause above"),
        (("a warning", "no such model", ""), "code 1): no such model. All"),
        ((), "code 1): it said nothing. All"),
    ],
)
def test_the_reason_is_quoted_and_not_the_last_words_that_point_to_it(
    tmp_path: Path, said: tuple[str, ...], quoted: str
) -> None:
    program = f"import sys; sys.stderr.write({chr(10).join(said)!r}); sys.exit(1)"
    command = (sys.executable, "-c", program, "{input}", "{output}")
    engine = BatchEngine(BatchSettings(mode="file", model="tiny", folder=tmp_path, command=command))
    request = Request("k", (Message("user", "Hello."),), Triplet("t", "xray", "chest", ()), 1)

    async def ask() -> None:
        async for _ in engine.answers([request]):
            pass

    with pytest.raises(EngineError) as raised:
        asyncio.run(ask())
    assert quoted in str(raised.value)
