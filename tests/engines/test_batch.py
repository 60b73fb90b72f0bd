"""Batches against a real HTTP server with files and batches, and through real programs."""

import asyncio
import fcntl
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from captioner import engines
from captioner.demo import make_dataset
from captioner.engines import Answer, Message, Request, Sampling
from captioner.engines.batch import BatchEngine, BatchSettings
from captioner.engines.batch_files import State, jobs_in, read_results, request_line, write_jobs
from captioner.errors import EngineError, PipelineError
from captioner.pipeline import load_pipeline
from captioner.triplets import Triplet
from tests.engines.asking import use
from tests.engines.batching import AzureBatches, BatchingServer
from tests.engines.faulty import kept_port
from tests.engines.weak import Thinker
from tests.model import careful, careless
from tests.small import small_schema

SCHEMA = {"type": "object", "properties": {"captions": {"type": "array"}}, "required": ["captions"]}
SECRET = "sk-a-very-secret-key-0123456789"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def request(i: int) -> Request:
    triplet = Triplet("t0", "xray", "chest", ("effusion",))
    return Request(f"k{i}", (Message("user", f"Question {i}: é"),), triplet, 3, Sampling(seed=i), SCHEMA)


def requests(count: int) -> Iterator[Request]:
    return (request(i) for i in range(count))


def engine_for(server: BatchingServer, folder: Path, **settings: Any) -> BatchEngine:
    given = {"model": "tiny", "base_url": server.base_url, "poll_seconds": 0.01, "folder": folder} | settings
    return BatchEngine(BatchSettings(**given))


def ask(engine: BatchEngine, asked: Iterable[Request]) -> dict[str, Answer]:
    async def collect(engine: BatchEngine) -> list[Answer]:
        return [answer async for answer in engine.answers(asked)]

    answers = use(engine, collect)
    assert len({a.key for a in answers}) == len(answers)
    return {a.key: a for a in answers}


def stop_after(engine: BatchEngine, asked: Iterable[Request], count: int) -> list[Answer]:
    """Ask, and give up after a number of answers, as a run that is killed does."""

    async def collect(engine: BatchEngine) -> list[Answer]:
        answers = []
        stream = engine.answers(asked)
        async for answer in stream:
            answers.append(answer)
            if len(answers) == count:
                break
        await stream.aclose()
        return answers

    return use(engine, collect)


# --- a server ---


def test_every_request_is_answered_whatever_the_order_of_the_results(tmp_path):
    with BatchingServer() as server:
        answers = ask(engine_for(server, tmp_path), requests(20))
    assert set(answers) == {f"k{i}" for i in range(20)}
    for i, answer in ((int(k[1:]), a) for k, a in answers.items()):
        assert f"Question {i}: é" in json.loads(answer.text)["captions"][0]
        assert (answer.error, answer.finish_reason, answer.model) == (None, "stop", "tiny")
        assert answer.prompt_tokens > 0
        assert answer.completion_tokens > 0
    assert len(server.submitted) == 19


def test_the_first_request_is_asked_at_once_and_teaches_what_the_server_takes(tmp_path):
    with BatchingServer(unsupported=["strict", "seed"]) as server:
        ask(engine_for(server, tmp_path), requests(5))
        (batch,) = server.batches.values()
        bodies = [json.loads(line)["body"] for line in server.files[batch["input_file_id"]].splitlines()]
    assert len(bodies) == 4
    for body in bodies:
        assert "seed" not in body
        assert body["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize(("most", "expected"), [(None, [50, *[200] * 11]), (100, [50, *[200, 100] * 3, *[100] * 8])])
def test_a_batch_for_a_model_that_thinks_has_room_for_its_thoughts_as_far_as_the_server_has(tmp_path, most, expected):
    class Thoughtful(Thinker, BatchingServer):
        """A server with batches whose model thinks."""

    asked = [replace(r, sampling=Sampling(max_tokens=50)) for r in requests(12)]
    with Thoughtful(30, "counted", most_tokens=most) as server:
        answers = ask(engine_for(server, tmp_path), asked)
    assert [Thinker.limit(body) for body in server.bodies] == expected
    assert {answer.finish_reason for answer in answers.values()} == {"stop"}


def test_few_requests_are_asked_at_once_without_a_batch(tmp_path):
    with BatchingServer() as server:
        answers = ask(engine_for(server, tmp_path, direct=4), requests(4))
        assert server.batches == {}
        assert len(server.bodies) == 4
        ask(engine_for(server, tmp_path, direct=4), requests(5))
        assert len(server.submitted) == 4
    assert len(answers) == 4


def test_requests_are_split_into_files_within_the_limits(tmp_path):
    with BatchingServer() as server:
        answers = ask(engine_for(server, tmp_path, requests_per_file=4), requests(12))
        sizes = [server.files[b["input_file_id"]].count(b"\n") for b in server.batches.values()]
    assert sizes == [4, 4, 3]
    assert len(answers) == 12
    assert all(a.error is None for a in answers.values())


def test_lost_and_refused_lines_are_errors_and_only_they_are_asked_again_at_the_next_start(tmp_path):
    with BatchingServer(lost=0.2, refused=0.2) as server:
        first = ask(engine_for(server, tmp_path), requests(60))
        failed = {k for k, a in first.items() if a.text is None}
        assert any("no line" in first[k].error for k in failed)
        assert any(first[k].error == "HTTP 500: The server had an error" for k in failed)
        server.lost = server.refused = 0
        before = len(server.submitted)
        second = ask(engine_for(server, tmp_path), [request(int(k[1:])) for k in sorted(failed)])
        assert set(second) == failed
        assert all(a.text for a in second.values())
        assert len(server.submitted) - before == len(failed) - 1
        # and whoever loses the ledger gets all of it back from the files
        asked = len(server.bodies)
        again = ask(engine_for(server, tmp_path), requests(60))
        assert (
            len(server.bodies) == asked + 2
        )  # the two that were asked at once lie in no file; the second goes with it
    assert all(a.text for a in again.values())


def test_answers_that_were_not_stored_are_found_again_and_nothing_is_submitted_twice(tmp_path):
    with BatchingServer() as server:
        taken = stop_after(engine_for(server, tmp_path), requests(20), 8)
        rest = [request(i) for i in range(20) if f"k{i}" not in {a.key for a in taken}]
        answers = ask(engine_for(server, tmp_path), rest)
    assert set(answers) == {r.key for r in rest}
    assert all(a.text for a in answers.values())
    assert sorted(server.submitted) == sorted(set(server.submitted))


@pytest.mark.parametrize("outcome", ["expired", "cancelled"])
def test_a_batch_that_ends_early_gives_what_it_has_and_says_why_the_rest_is_missing(tmp_path, outcome):
    with BatchingServer(outcomes=(outcome,)) as server:
        answers = ask(engine_for(server, tmp_path), requests(21))
        missing = [a for a in answers.values() if a.text is None]
        assert len(missing) == 10
        assert all(outcome in a.error for a in missing)
        before = len(server.bodies)
        again = ask(engine_for(server, tmp_path), [request(int(a.key[1:])) for a in missing])
        assert len(server.bodies) - before == len(missing)  # those, and nothing that the first batch had answered
    assert set(again) == {a.key for a in missing}
    assert all(a.text for a in again.values())


def azure_engine(server: AzureBatches, folder: Path, **settings: Any) -> BatchEngine:
    given = {"base_url": server.address, "headers": {"api-key": SECRET}, "endpoint": "/chat/completions", "direct": 0}
    return engine_for(server, folder, **(given | settings))


def test_azure_answers_batches_and_nothing_is_asked_at_once(tmp_path):
    with AzureBatches(azure_key=SECRET) as server:
        engine = azure_engine(server, tmp_path, requests_per_file=4)
        use(engine, lambda e: e.check())
        answers = ask(engine, requests(7))
        assert sorted(server.submitted) == sorted(answers)
    assert all(a.text for a in answers.values())


def test_a_wrong_key_for_azure_s_batches_is_said_at_the_check_and_never_shown(tmp_path):
    with (
        AzureBatches(azure_key="another") as server,
        pytest.raises(EngineError, match="key in the header api-key") as e,
    ):
        use(azure_engine(server, tmp_path), lambda engine: engine.check())
    assert SECRET not in str(e.value)


def test_an_address_where_nobody_is_is_said_at_the_check_of_a_model_for_batches_only(tmp_path):
    with kept_port() as port, pytest.raises(EngineError, match="cannot reach"):
        use(azure_engine(AzureBatches(azure_key=SECRET, port=port), tmp_path), lambda engine: engine.check())


def test_a_batch_that_is_refused_stops_the_run_says_why_and_is_submitted_anew_next_time(tmp_path):
    with BatchingServer(outcomes=("failed",)) as server:
        with pytest.raises(EngineError, match=r"requests-000001\.jsonl was refused: This line is not parseable"):
            ask(engine_for(server, tmp_path), requests(5))
        answers = ask(engine_for(server, tmp_path), [request(i) for i in range(1, 5)])
        assert len(server.submitted) == 4
    assert all(a.text for a in answers.values())


def test_a_batch_for_which_the_account_has_no_room_waits_until_another_is_done(tmp_path):
    with BatchingServer(outcomes=("completed", "too_much"), looks=2) as server:
        server.outcomes = ["completed", "too_much"]
        answers = ask(engine_for(server, tmp_path, requests_per_file=3), requests(7))
        assert len(server.submitted) == 6
    assert all(a.text for a in answers.values())


def test_a_batch_for_which_the_account_never_has_room_says_what_to_change(tmp_path):
    says = r"Enqueued token limit.*requests_per_file"
    with BatchingServer(outcomes=("too_much",)) as server, pytest.raises(EngineError, match=says):
        ask(engine_for(server, tmp_path), requests(7))


@pytest.mark.parametrize(
    "trouble",
    [
        [("upload", "error")],
        [("create", "error"), ("create", "error")],
        [("create", "late")],
        [("create", "html")],
        [("look", "error"), ("look", "html"), ("look", "cut")],
        [("download", "cut"), ("download", "error")],
    ],
    ids=lambda t: " ".join(" ".join(p) for p in t),
)
def test_trouble_on_the_way_is_waited_out_and_no_batch_is_made_twice(tmp_path, trouble):
    with BatchingServer(trouble=tuple(trouble)) as server:
        answers = ask(engine_for(server, tmp_path), requests(10))
        assert not server.trouble
        assert len(server.submitted) == len(set(server.submitted)) == 9
    assert all(a.text for a in answers.values())


def test_a_server_that_is_away_for_too_long_stops_the_run_and_the_batch_is_found_again(tmp_path):
    with BatchingServer(trouble=(("look", "error"),) * 20) as server:
        with pytest.raises(EngineError, match="start the same command again"):
            ask(engine_for(server, tmp_path, max_outage=0), requests(5))
        server.trouble = []
        answers = ask(engine_for(server, tmp_path), [request(i) for i in range(1, 5)])
        assert len(server.submitted) == 4
    assert all(a.text for a in answers.values())


def test_a_batch_that_was_started_in_the_moment_of_a_kill_is_found_by_its_file(tmp_path):
    with BatchingServer() as server:
        stop_after(engine_for(server, tmp_path), requests(10), 2)
        (job,) = jobs_in(tmp_path)
        job.results.unlink()
        job.save(job.load().model_copy(update={"batch": None}))  # killed before its id came back
        answers = ask(engine_for(server, tmp_path), [request(i) for i in range(1, 10)])
        assert len(server.submitted) == 9
    assert all(a.text for a in answers.values())


def test_a_server_that_lists_no_batches_gets_it_again(tmp_path):
    with BatchingServer(lists=False, trouble=(("create", "error"),)) as server:
        answers = ask(engine_for(server, tmp_path), requests(4))
    assert len(answers) == 4


def test_a_server_without_batches_is_told_apart_from_a_broken_one(tmp_path):
    from tests.engines.faulty import FaultyServer

    with FaultyServer() as server, pytest.raises(EngineError, match=r"If it has no batch API: engine\.mode=file"):
        ask(engine_for(server, tmp_path), requests(4))  # type: ignore[arg-type]


def test_a_batch_of_another_server_is_not_submitted_again_here(tmp_path):
    with BatchingServer(trouble=(("look", "error"),) * 20) as server, pytest.raises(EngineError):
        ask(engine_for(server, tmp_path, max_outage=0), requests(5))
    rest = [request(i) for i in range(1, 5)]
    with BatchingServer() as other:
        with pytest.raises(EngineError, match=rf"was handed in at {server.base_url}, not at {other.base_url}"):
            ask(engine_for(other, tmp_path), rest)
        by_hand = BatchEngine(BatchSettings(model="tiny", mode="file", command=(), folder=tmp_path))
        with pytest.raises(EngineError, match=f"was handed in at {server.base_url} as batch batch-0"):
            ask(by_hand, rest)


def test_a_batch_that_the_server_has_lost_is_said_so(tmp_path):
    with BatchingServer() as server:
        (job,) = write_jobs(tmp_path, [request_line("k1", b"{}")], 1, 1000)
        job.save(State(address=server.base_url, file="file-9", batch="batch-9"))
        with pytest.raises(EngineError, match="No batch found with id 'batch-9'"):
            ask(engine_for(server, tmp_path), [request(1)])


def test_a_wrong_key_is_said_at_the_check_and_never_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with BatchingServer(key="right") as server, pytest.raises(EngineError, match="OPENAI_API_KEY") as raised:
        use(engine_for(server, tmp_path), lambda e: e.check())
    assert SECRET not in str(raised.value)


def test_a_key_that_is_revoked_while_waiting_is_said_and_never_shown_or_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with BatchingServer(key=SECRET, looks=10**6) as server:

        async def revoke(engine):
            stream = engine.answers(requests(5))
            await anext(stream)
            following = asyncio.ensure_future(anext(stream))
            while not server.looked:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            server.key = "another"
            with pytest.raises(EngineError, match="OPENAI_API_KEY") as raised:
                await following
            assert SECRET not in str(raised.value)

        use(engine_for(server, tmp_path), revoke)
    assert all(SECRET.encode() not in p.read_bytes() for p in tmp_path.iterdir())


# --- files ---


@given(
    sizes=st.lists(st.integers(1, 300), max_size=30),
    most_requests=st.integers(1, 7),
    most_bytes=st.integers(1, 900),
)
def test_lines_are_written_once_each_in_order_within_the_limits(tmp_path_factory, sizes, most_requests, most_bytes):
    folder = tmp_path_factory.mktemp("jobs")
    lines = [b"%03d" % i + b"x" * size + b"\n" for i, size in enumerate(sizes)]
    jobs = list(write_jobs(folder, lines, most_requests, most_bytes))
    assert jobs == jobs_in(folder)
    contents = [job.requests.read_bytes() for job in jobs]
    assert b"".join(contents) == b"".join(lines)
    for content in contents:
        count = content.count(b"\n")
        assert 1 <= count <= most_requests
        assert count == 1 or len(content) <= most_bytes


def test_a_line_is_what_openai_and_vllm_read(tmp_path):
    (job,) = write_jobs(tmp_path, [request_line("r12", b'{"model":"m","messages":[]}')], 10, 1000)
    assert json.loads(job.requests.read_bytes()) == {
        "custom_id": "r12",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": []},
    }
    assert list(job.keys()) == ["r12"]


def test_a_file_that_could_not_be_written_to_its_end_is_not_there(tmp_path):
    def lines():
        yield b"one\n"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        list(write_jobs(tmp_path, lines(), 10, 1000))
    assert list(tmp_path.iterdir()) == []


RESULTS = [
    # OpenAI: answered, refused, expired
    (
        {
            "response": {
                "status_code": 200,
                "body": {"choices": [{"message": {"content": "A"}, "finish_reason": "stop"}]},
            }
        },
        ("A", None),
    ),
    ({"response": {"status_code": 400, "body": {"error": {"message": "too long"}}}}, (None, "HTTP 400: too long")),
    (
        {"response": None, "error": {"code": "batch_expired", "message": "could not be executed in time"}},
        (None, "could not be executed in time"),
    ),
    # vLLM: nested twice, no body
    (
        {
            "response": {"status_code": 400, "body": None},
            "error": {"error": {"message": "maximum context length is 64", "type": "BadRequestError", "code": 400}},
        },
        (None, "HTTP 400: maximum context length is 64"),
    ),
    ({"response": {"status_code": 200, "body": None}, "error": None}, (None, "no reason is given")),
    (
        {"response": {"status_code": 200, "body": {"choices": [{"message": {"content": None, "refusal": "no"}}]}}},
        (None, "the model refused: no"),
    ),
    ({}, (None, "no reason is given")),
]


@pytest.mark.parametrize(("line", "expected"), RESULTS)
def test_each_form_of_a_result_line_is_read(tmp_path, line, expected):
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps({"custom_id": "k"} | line), encoding="utf-8")
    (answer,) = read_results(path)
    assert (answer.text, answer.error) == expected


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"null", b"[]", b'{"custom_id":1}', b"{}", b'{"custom_id":"k"}'])
    )
)
def test_whatever_a_results_file_holds_reading_it_does_not_fail(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("results") / "r.jsonl"
    path.write_bytes(b"\n".join(lines))
    for answer in read_results(path):
        assert answer.text is None
        assert answer.error


def test_a_damaged_note_on_a_batch_is_said_with_what_to_do(tmp_path):
    (job,) = write_jobs(tmp_path, [request_line("k0", b"{}")], 10, 1000)
    (tmp_path / "job-000001.json").write_text("{", encoding="utf-8")
    with pytest.raises(EngineError, match=r"job-000001\.json is damaged"):
        job.load()


# --- programs ---

PROGRAM = """
import json, sys, time, pathlib
source, target, *options = sys.argv[1:]
pathlib.Path(target).parent.joinpath("started").open("a").write("x")
lines = [json.loads(line) for line in open(source, encoding="utf-8")]
while "slow" in options and not pathlib.Path(target).parent.joinpath("go").exists():
    time.sleep(0.02)
if "endless" in options:
    time.sleep(3600)
if "fail" in options:
    sys.exit("CUDA out of memory")
if "half" in options:
    lines = lines[: len(lines) // 2]
with open(target, "w", encoding="utf-8") as file:
    for line in reversed(lines):
        message = {"role": "assistant", "content": "About " + line["body"]["messages"][0]["content"]}
        body = {"model": line["body"]["model"], "choices": [{"message": message, "finish_reason": "stop"}]}
        file.write(json.dumps({"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}}) + "\\n")
    if "half" in options:
        file.write('{"custom_id": "k')
if "half" in options:
    sys.exit("killed")
"""


def program(folder: Path, *options: str, **settings: Any) -> BatchEngine:
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(folder / "program.py"), "{input}", "{output}", *options]
    return BatchEngine(BatchSettings(model="tiny", mode="file", command=command, folder=folder / "batches", **settings))


def starts(folder: Path) -> int:
    path = folder / "batches" / "started"
    return len(path.read_text(encoding="utf-8")) if path.exists() else 0


def test_a_program_answers_file_by_file(tmp_path):
    answers = ask(program(tmp_path, requests_per_file=4), requests(10))
    assert {k: a.text for k, a in answers.items()} == {f"k{i}": f"About Question {i}: é" for i in range(10)}
    assert starts(tmp_path) == 3


def test_a_program_that_dies_half_way_leaves_what_it_has_and_only_the_rest_is_asked_again(tmp_path):
    first = ask(program(tmp_path, "half"), requests(10))
    failed = {k for k, a in first.items() if a.text is None}
    assert len(failed) == 5
    assert all("ended too early (exit code 1): killed" in first[k].error for k in failed)
    second = ask(program(tmp_path), [request(int(k[1:])) for k in sorted(failed)])
    assert set(second) == failed
    assert all(a.text for a in second.values())
    assert (tmp_path / "batches" / "requests-000002.jsonl").read_bytes().count(b"\n") == 5


def test_a_program_that_leaves_nothing_stops_the_run_with_its_last_words(tmp_path):
    with pytest.raises(EngineError, match=r"exit code 1\): CUDA out of memory.*log-000001\.txt"):
        ask(program(tmp_path, "fail"), requests(3))
    assert all(a.text for a in ask(program(tmp_path), requests(3)).values())


def test_a_run_that_gives_up_ends_its_program(tmp_path):
    async def give_up(engine):
        task = asyncio.ensure_future(anext(engine.answers(requests(3))))
        while not starts(tmp_path):
            assert not task.done()
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    use(program(tmp_path, "endless"), give_up)
    assert not list((tmp_path / "batches").glob("output-*"))
    (job,) = jobs_in(tmp_path / "batches")
    with job.requests.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the program held it too, and is gone


def test_a_program_that_outlives_a_killed_run_is_waited_for_and_not_started_twice(tmp_path, caplog):
    program(tmp_path)
    code = (
        "import asyncio\nfrom pathlib import Path\nfrom tests.engines.test_batch import program, requests\n"
        "async def main():\n"
        f"    async for _ in program(Path({str(tmp_path)!r}), 'slow').answers(requests(6)):\n        pass\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    while not starts(tmp_path):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()

    async def wait(engine):
        stream = engine.answers(requests(6))
        task = asyncio.ensure_future(anext(stream))
        while "is still at work" not in caplog.text:
            assert not task.done()
            await asyncio.sleep(0.02)
        (tmp_path / "batches" / "go").touch()
        assert (await task).text
        await stream.aclose()

    use(program(tmp_path, "slow"), wait)
    answers = ask(program(tmp_path, "slow"), requests(6))
    assert all(a.text for a in answers.values())
    assert starts(tmp_path) == 1


def test_by_hand_the_run_says_what_to_do_and_goes_on_when_it_is_done(tmp_path):
    settings = BatchSettings(model="tiny", mode="file", command="", folder=tmp_path / "batches")
    with pytest.raises(EngineError, match=r"requests-000001\.jsonl.*vllm run-batch") as raised:
        ask(BatchEngine(settings), requests(4))
    with pytest.raises(EngineError) as again:
        ask(BatchEngine(settings), requests(4))
    assert str(again.value) == str(raised.value)
    (job,) = jobs_in(tmp_path / "batches")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    subprocess.run([sys.executable, tmp_path / "program.py", job.requests, job.results], check=True)
    assert all(a.text for a in ask(BatchEngine(settings), requests(4)).values())


def test_on_the_command_line_the_command_is_left_empty_as_a_shell_passes_it():
    """A shell takes the quotes from ``--set engine.command=""`` away."""
    flags = ("engine.name=batch", "engine.mode=file", "engine.model=tiny", "engine.command=")
    engine = engines.make(load_pipeline({"schema": "busi"}, flags).engine, small_schema())
    assert isinstance(engine, BatchEngine)
    assert engine.settings.command == ()


def test_a_later_line_for_the_same_request_makes_up_for_an_error(tmp_path):
    settings = BatchSettings(model="tiny", mode="file", command="", folder=tmp_path)
    with pytest.raises(EngineError):
        ask(BatchEngine(settings), requests(1))
    (job,) = jobs_in(tmp_path)
    bad = {"custom_id": "k0", "response": {"status_code": 500, "body": {"error": {"message": "no"}}}}
    body = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
    good = {"custom_id": "k0", "response": {"status_code": 200, "body": body}}
    lines = [bad, good, good, {"custom_id": "someone else's"}]
    job.results.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert ask(BatchEngine(settings), requests(1))["k0"].text == "yes"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "file", "base_url": "http://localhost:1/v1"}, "base_url means nothing with mode file"),
        ({"command": "a {input} {output}"}, "command means nothing with mode api"),
        ({"mode": "file", "command": "run {input}"}, "must say where {input} and {output} go"),
        ({"requests_per_file": 50_001}, "less than or equal to 50000"),
        ({"concurrency": 3}, "concurrency"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, says):
    with pytest.raises((PipelineError, ValidationError), match=says):
        engines.make({"name": "batch", "model": "tiny"} | settings, small_schema())


def test_a_program_that_is_not_there_is_said_at_the_check(tmp_path):
    engine = BatchEngine(BatchSettings(model="tiny", mode="file", command="no-such-program {input} {output}"))
    with pytest.raises(EngineError, match="no program 'no-such-program'"):
        use(engine, lambda e: e.check())


def test_without_vllm_the_default_program_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    engine = BatchEngine(BatchSettings(model="tiny", mode="file"))
    with pytest.raises(EngineError, match=r"pip install 'captioner\[vllm\]'"):
        use(engine, lambda e: e.check())


# --- whole runs ---


def run(folder: Path, server: BatchingServer, *settings: str) -> list[str]:
    flags = ["engine.name=batch", "engine.model=tiny", f"engine.base_url={server.base_url}", *settings]
    return [
        *(
            sys.executable,
            "-m",
            "captioner",
            "run",
            "demo",
            "--data",
            str(folder / "data"),
            "--out",
            str(folder / "out"),
        ),
        *(part for flag in flags for part in ("--set", flag)),
    ]


def test_a_run_keeps_its_batches_beside_the_ledger_and_repairs_in_batches_too(tmp_path):
    make_dataset(tmp_path / "data")
    with BatchingServer(caption=careless) as server:
        done = subprocess.run(
            run(tmp_path, server, "engine.poll_seconds=0.05"), check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert len(server.batches) >= 2
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    assert (folder / "batches" / "results-000001.jsonl").exists()


def test_a_run_that_is_killed_while_it_waits_finds_its_batch_again_and_pays_once(tmp_path):
    make_dataset(tmp_path / "data")
    with BatchingServer(caption=careful, looks=10**6) as server:
        command = run(tmp_path, server, "engine.poll_seconds=0.05")
        for _ in range(3):
            looked = server.looked
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while server.looked < looked + 2:
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert len(server.batches) == 1
        server.looks = 1
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert len(server.submitted) == len(set(server.submitted))
        questions = [json.dumps(body) for body in server.bodies]
        assert len(questions) == len(set(questions))
        batches = len(server.batches)
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
        assert len(server.batches) == batches


@pytest.mark.slow
def test_killed_at_random_moments_a_run_submits_no_request_twice(tmp_path):
    """Each call to the server is a moment: before, in and after the upload, the start of a batch, a look, a download."""
    make_dataset(tmp_path / "data")
    rng = random.Random(3)
    with BatchingServer(caption=careless, looks=3, delay=0.1) as server:
        command = run(tmp_path, server, "engine.poll_seconds=0.02", "engine.requests_per_file=3")
        for _ in range(5):
            heard = len(server.heard)
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and len(server.heard) < heard + 4:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
            process.wait()
        server.delay = 0
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert {"upload", "create", "look", "download"} <= set(server.heard)
        assert len(server.batches) > 3
        assert len(server.submitted) == len(set(server.submitted))
