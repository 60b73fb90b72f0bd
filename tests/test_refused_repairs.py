"""A question that is refused as it is: a repair that is too long is asked in another way, a first question waits for the user."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from captioner.demo import make_dataset
from captioner.engines import Answer, Message, Request
from captioner.engines.batch import BatchEngine, BatchSettings
from captioner.generate import Generator, LoopSettings
from captioner.pipeline import load_pipeline
from captioner.prompts import load_prompt
from captioner.run import execute, prepare
from captioner.store import Ledger
from captioner.tables import Labels
from captioner.triplets import make_triplet
from tests.engines.faulty import FaultyServer, _error
from tests.scripted import ScriptedEngine, captions
from tests.small import small_schema

SCHEMA = small_schema()
EFFUSION = make_triplet(SCHEMA, Labels(("Effusion",)))
GOOD = "Chest X-ray showing a pleural effusion."
WRONG = "Chest X-ray showing a lung nodule."


def too_long(request: Request) -> Answer:
    return Answer(request.key, None, error="HTTP 400: too long", refused=True)


def generate(ledger: Ledger, engine: ScriptedEngine) -> str:
    settings = LoopSettings(captions=1, repairs=2, regenerations=0, fill=False)
    ledger.add_triplets([EFFUSION])
    asyncio.run(Generator(SCHEMA, load_prompt("template"), engine, ledger, settings).run())
    return next(status for _, status, _ in ledger.states())


def test_a_repair_that_is_refused_is_followed_by_the_first_question_again(tmp_path: Path) -> None:
    first: list[str] = []

    def script(request: Request) -> str | Answer:
        text = request.messages[-1].content
        first.append(text)
        if WRONG in text:
            return too_long(request)
        return captions(WRONG if len(first) == 1 else GOOD)

    with Ledger(tmp_path / "ledger.sqlite", "run") as ledger:
        assert generate(ledger, ScriptedEngine(script)) == "complete"
        assert first[2] == first[0] != first[1]
        assert ledger.attempts(EFFUSION.id)[1].problems == ("HTTP 400: too long",)


def test_a_repair_that_was_refused_is_not_asked_again_at_the_next_start(tmp_path: Path) -> None:
    def script(request: Request) -> str | Answer | None:
        if WRONG in request.messages[-1].content:
            return too_long(request)
        return None if engine.asked[1:] else captions(WRONG)  # the server goes away

    with Ledger(tmp_path / "ledger.sqlite", "run") as ledger:
        engine = ScriptedEngine(script)
        assert generate(ledger, engine) == "failed"
        again = ScriptedEngine(lambda r: captions(GOOD))
        assert generate(ledger, again) == "complete"
        assert [r.key for r in again.asked] == [engine.asked[2].key]


def test_a_first_question_that_is_refused_is_asked_again_at_the_next_start(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", "run") as ledger:
        assert generate(ledger, ScriptedEngine(too_long)) == "failed"
        assert generate(ledger, ScriptedEngine(lambda r: captions(GOOD))) == "complete"


class Short(FaultyServer):
    """A server whose context holds first questions and no repairs, with a model that gets nothing right."""

    def _unsupported(self, body: dict[str, Any]) -> web.Response | None:
        if "zebra" in body["messages"][-1]["content"]:
            return _error(400, "This model's maximum context length is exceeded")
        return super()._unsupported(body)


def test_a_run_whose_repairs_are_too_long_for_the_server_is_complete_and_says_what_was_refused(tmp_path: Path) -> None:
    make_dataset(tmp_path / "data")
    with Short(caption=lambda body: captions(*(f"A zebra, number {i}, in the grass." for i in range(10)))) as server:
        engine = {"model": "tiny", "base_url": server.base_url}
        data = {"root": str(tmp_path / "data"), "images": "none"}
        settings = {
            "engine": engine,
            "data": data,
            "out": str(tmp_path / "out"),
            "loop": {"repairs": 1, "regenerations": 1},
        }
        summary = execute(prepare(load_pipeline("demo", [f"{k}={json.dumps(v)}" for k, v in settings.items()])))
    assert summary.complete
    assert set(summary.triplets) == {"filled"}
    with Ledger(Path(summary.out) / "runs" / summary.run / "ledger.sqlite", read_only=True) as ledger:
        assert ledger.totals().by_error == {
            "HTTP 400: This model's maximum context length is exceeded": summary.triplets["filled"]
        }


LINES = (
    ({"status_code": 400, "body": {"error": {"message": "too long"}}}, None, True),
    ({"status_code": 400, "body": None}, {"error": {"message": "too long"}}, True),
    ({"status_code": 500, "body": {"error": {"message": "broken"}}}, None, False),
    ({"status_code": 429, "body": None}, {"error": {"message": "too many"}}, False),
    (None, {"code": "batch_expired", "message": "This request could not be executed before the batch expired."}, False),
)


@pytest.mark.parametrize(("response", "error", "refused"), LINES)
def test_a_line_of_a_batch_says_whether_the_question_was_refused(
    tmp_path: Path, response: object, error: object, *, refused: bool
) -> None:
    line = json.dumps({"custom_id": "{key}", "response": response, "error": error})
    program = (
        "import json, sys; read, write = map(open, sys.argv[1:], 'rw')\n"
        f"for line in read: write.write({line!r}.replace('{{key}}', json.loads(line)['custom_id']) + chr(10))"
    )
    settings = {"mode": "file", "model": "tiny", "folder": tmp_path}
    command = [sys.executable, "-c", program, "{input}", "{output}"]
    engine = BatchEngine(BatchSettings(**settings, command=command))
    request = Request("k", (Message("user", "Hello."),), EFFUSION, 1)

    async def answers() -> list[Answer]:
        return [answer async for answer in engine.answers([request])]

    (answer,) = asyncio.run(answers())
    assert (answer.key, answer.text, answer.refused) == ("k", None, refused)
