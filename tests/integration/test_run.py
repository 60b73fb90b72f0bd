"""Whole runs as a user starts them: real processes, real HTTP, real files, real kills."""

import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from captioner.agreement import Checker
from captioner.demo import make_dataset
from captioner.schema import load_schema
from captioner.shards import load_captions, verify
from tests.engines.faulty import FaultyServer
from tests.model import careful, careless


def captioner(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), check=False, capture_output=True, text=True, cwd=cwd, env=os.environ | environment
    )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "captioner", *map(str, arguments)]


def content(out: Path) -> dict[str, bytes]:
    """Every file of an output folder that must not depend on how often a run was interrupted."""
    names = ("*.tar", "support_sets.parquet", "rejected.parquet", "summary.json", "pipeline.yaml", "rejected_rows.csv")
    return {str(p.relative_to(out)): p.read_bytes() for n in names for p in sorted(out.rglob(n))}


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*"))}


def members(folder: Path) -> list[str]:
    names = []
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as archive:
            names += archive.getnames()
    return names


@pytest.fixture
def demo(tmp_path):
    make_dataset(tmp_path / "data")
    return tmp_path


def test_the_demo_does_the_whole_job_offline_and_says_where_to_look(tmp_path):
    done = captioner(
        "demo", "--out", tmp_path / "demo", https_proxy="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9"
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "demo" / "out"
    assert "Where to look" in done.stdout
    assert "1 corrupt_image" in done.stdout
    assert "1 missing_image" in done.stdout
    (run,) = (out / "runs").iterdir()
    images, captions = members(out / "images"), members(run / "captions")
    assert len(images) == 18
    assert [n.split(".")[0] for n in images] == [n.split(".")[0] for n in captions]
    assert verify(out / "images") == []
    assert verify(run / "captions", images=out / "images") == []


def test_every_caption_in_a_shard_agrees_with_its_labels_and_differs_from_the_nine_others(demo):
    with FaultyServer(caption=careless) as server:
        done = captioner(
            *("run", "demo", "--data", demo / "data", "--out", demo / "out"),
            *("--set", "engine.model=tiny", "--set", f"engine.base_url={server.base_url}"),
        )
    assert done.returncode == 0, done.stderr
    checker = Checker(load_schema("demo"))
    (run,) = (demo / "out" / "runs").iterdir()
    records = [r for t in sorted((run / "captions").glob("*.tar")) for r in load_captions(t).values()]
    assert len(records) == 18
    for record in records:
        assert len(set(record["captions"])) == 10
        assert record["run"] == run.name
        for caption in record["captions"]:
            assert checker.check(caption, record["labels"]).agrees, (record["labels"], caption)
    rejected = pq.read_table(run / "rejected.parquet").to_pylist()
    assert {"negated_label", "hedged_label", "not_a_caption", "wrong_modality"} <= {
        c for r in rejected for c in r["codes"]
    }


def test_a_second_run_with_another_prompt_adds_captions_and_leaves_the_images_untouched(demo):
    arguments = ("run", "demo", "--data", demo / "data", "--out", demo / "out")
    assert captioner(*arguments).returncode == 0
    before = state(demo / "out" / "images")
    assert captioner(*arguments, "--set", "prompt=plain").returncode == 0
    assert state(demo / "out" / "images") == before
    assert len(list((demo / "out" / "runs").iterdir())) == 2


def test_a_finished_run_that_is_started_again_needs_no_server_and_changes_nothing(demo):
    with FaultyServer(caption=careful) as server:
        arguments = (
            *("run", "demo", "--data", demo / "data", "--out", demo / "out"),
            *("--set", "engine.model=tiny", "--set", f"engine.base_url={server.base_url}"),
        )
        assert captioner(*arguments).returncode == 0
        before = content(demo / "out")
    again = captioner(*arguments)
    assert again.returncode == 0, again.stderr
    assert content(demo / "out") == before


def test_a_finished_run_to_which_images_with_new_labels_are_added_asks_about_these(demo):
    table = demo / "data" / "labels.csv"
    whole = table.read_text(encoding="utf-8").splitlines(keepends=True)
    with FaultyServer(caption=careful) as server:
        arguments = (
            *("run", "demo", "--data", demo / "data", "--out", demo / "out", "--set", "data.images=none"),
            *("--set", "engine.model=tiny", "--set", f"engine.base_url={server.base_url}"),
        )
        table.write_text("".join(whole[:3]), encoding="utf-8")
        assert captioner(*arguments).returncode == 0
        asked = len(server.bodies)
        table.write_text("".join(whole), encoding="utf-8")
        assert captioner(*arguments).returncode == 0
        assert len(server.bodies) > asked
        assert len(set(questions(server))) == len(server.bodies)


def test_killed_at_random_moments_and_started_again_a_run_loses_nothing_and_ends_with_the_same_bytes(demo):
    """SIGKILL; what is asked twice is at most what was in flight."""
    rng = random.Random(7)
    concurrency = 2

    def arguments(server, name):
        return (
            *("run", "demo", "--data", demo / "data", "--out", demo / name),
            *("--set", "engine.model=tiny", "--set", f"engine.base_url={server.base_url}"),
            *("--set", f"engine.concurrency={concurrency}", "--set", "engine.hedge=0"),
        )

    with FaultyServer(caption=careless, latency=0.03) as server:
        assert captioner(*arguments(server, "whole")).returncode == 0
        ideal = questions(server)
        server.bodies.clear()
        # The first kills hit the table and the images, the later ones the captions.
        for patience in (0, 1, 3, 4, 2, 5):
            asked = len(server.bodies)
            most = asked + patience + concurrency  # so that no run ends before it is killed, however fast it is
            server.gate = lambda most=most: len(server.bodies) < most
            process = subprocess.Popen(
                command(*arguments(server, "killed")), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while process.poll() is None and len(server.bodies) < asked + patience:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.03) if patience else rng.uniform(0.2, 0.9))
            assert process.poll() is None, "ended before it was killed: the test needs more questions"
            process.send_signal(signal.SIGKILL)
            process.wait()
        server.gate = lambda: True
        assert captioner(*arguments(server, "killed")).returncode == 0
        repeated = questions(server)
    assert set(repeated) == set(ideal)
    assert len(repeated) <= len(ideal) + 6 * concurrency
    mine = {name: data.replace(b"/killed", b"/whole") for name, data in content(demo / "killed").items()}
    whole = content(demo / "whole")
    assert mine.keys() == whole.keys()
    assert [name for name in whole if mine[name] != whole[name]] == []


def questions(server: FaultyServer) -> list[str]:
    return [json.dumps(body["messages"]) for body in server.bodies]


def test_two_runs_in_one_folder_at_once_the_second_says_so_and_stops(demo):
    with FaultyServer(caption=careful, latency=600) as server:
        arguments = (
            *("run", "demo", "--data", demo / "data", "--out", demo / "out"),
            *("--set", "engine.model=tiny", "--set", f"engine.base_url={server.base_url}"),
            *("--set", "engine.concurrency=1"),
        )
        first = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not server.bodies and first.poll() is None:
            time.sleep(0.02)
        second = captioner(*arguments)
        assert first.poll() is None
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert f"another run is at work in this folder (process {first.pid})" in second.stderr


def test_ctrl_c_stops_with_a_word_on_how_to_go_on_and_the_run_goes_on(demo):
    with FaultyServer(caption=careful) as server:
        arguments = (
            *("run", "demo", "--data", demo / "data", "--out", demo / "out"),
            *(
                "--set",
                "engine.model=tiny",
                "--set",
                f"engine.base_url={server.base_url}",
                "--set",
                "engine.concurrency=2",
            ),
        )
        told = []
        server.gate = lambda: len(server.bodies) < 4 or bool(told)  # so that the run is still under way
        process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while len(server.bodies) < 4 and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "waiting for the answers that are on their way" not in process.stderr.readline():
            assert process.poll() is None
        told.append(True)
        _, stderr = process.communicate(timeout=600)
        assert process.returncode == 130
        assert "start the same command again" in stderr
        assert "Traceback" not in stderr
        assert captioner(*arguments).returncode == 0


def test_ctrl_c_twice_stops_at_once_and_the_run_goes_on(demo):
    with FaultyServer(caption=careful, latency=600) as server:
        arguments = (
            *("run", "demo", "--data", demo / "data", "--out", demo / "out"),
            *("--set", "engine.model=tiny", "--set", f"engine.base_url={server.base_url}"),
        )
        process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not server.bodies and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "Ctrl-C again stops at once" not in process.stderr.readline():
            assert process.poll() is None
        in_flight = server.open
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=600)
        assert in_flight
        assert process.returncode == 130
        assert "start the same command again" in stderr
        assert "Traceback" not in stderr
        server.latency = 0
        assert captioner(*arguments).returncode == 0


def test_a_status_from_another_terminal_while_a_run_is_under_way(demo):
    with FaultyServer(caption=careful) as server:
        server.gate = lambda: len(server.bodies) < 3  # whatever else the machine has to do, the run is still under way
        arguments = (
            *("run", "demo", "--data", demo / "data", "--out", demo / "out"),
            *(
                "--set",
                "engine.model=tiny",
                "--set",
                f"engine.base_url={server.base_url}",
                "--set",
                "engine.concurrency=1",
            ),
        )
        process = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(server.bodies) < 3 and process.poll() is None:
            time.sleep(0.02)
        status = captioner("status", demo / "out", "--json")
        process.kill()
        process.wait()
    (row,) = json.loads(status.stdout)
    assert row["triplets"]["open"] > 0
    assert row["requests"] == row["sent"] == 2  # the third left when the answers to both were safe


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["engine.model=tiny", "engine.base_url=http://127.0.0.1:9/v1"], "127.0.0.1:9"),
        (["engine.model=tny", "engine.base_url=BASE"], "tiny"),
    ],
    ids=["unreachable endpoint", "unknown model"],
)
def test_an_endpoint_that_cannot_be_used_is_said_before_any_image_is_copied(demo, settings, says):
    with FaultyServer(caption=careful, key="right") as server:
        flags = [f for s in settings for f in ("--set", s.replace("BASE", server.base_url))]
        done = captioner("run", "demo", "--data", demo / "data", "--out", demo / "out", *flags, OPENAI_API_KEY="right")
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((demo / "out").rglob("*.tar"))


def test_a_wrong_key_is_said_and_never_shown_or_stored(demo):
    key = "sk-verysecret0123456789"
    with FaultyServer(caption=careful, key="right") as server:
        done = captioner(
            *("run", "demo", "--data", demo / "data", "--out", demo / "out", "--set", "engine.model=tiny"),
            *("--set", f"engine.base_url={server.base_url}"),
            OPENAI_API_KEY=key,
        )
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr
    assert key not in done.stderr + done.stdout
    assert all(key.encode() not in p.read_bytes() for p in (demo / "out").rglob("*") if p.is_file())


def test_a_key_that_works_is_stored_nowhere(demo):
    key = "sk-verysecret0123456789"
    with FaultyServer(caption=careful, key=key) as server:
        done = captioner(
            *("run", "demo", "--data", demo / "data", "--out", demo / "out", "--set", "engine.model=tiny"),
            *("--set", f"engine.base_url={server.base_url}", "--set", "engine.headers={X-Gateway: hush-hush}"),
            OPENAI_API_KEY=key,
        )
    assert done.returncode == 0, done.stderr
    for path in (p for p in (demo / "out").rglob("*") if p.is_file()):
        assert key.encode() not in path.read_bytes(), path
        assert b"hush-hush" not in path.read_bytes(), path


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, whose size a test sets."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size, *, again=False):
        options = f"{'remount,' if again else ''}size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True
        )
        if done.returncode:
            pytest.skip("needs to mount a file system: run as root to test a full disk")
        return folder

    yield mount
    subprocess.run(["umount", folder], check=False, capture_output=True)


@pytest.mark.parametrize("size", ["100k", "400k", "760k"], ids=["in the images", "in the ledger", "in the captions"])
def test_a_full_disk_is_a_clear_error_and_the_run_goes_on_when_there_is_room(demo, small_disk, size):
    disk = small_disk(size)
    arguments = ("run", "demo", "--data", demo / "data", "--out", disk / "out")
    full = captioner(*arguments)
    assert full.returncode == 1
    assert "full" in full.stderr
    assert "Traceback" not in full.stderr
    small_disk("20m", again=True)
    done = captioner(*arguments)
    assert done.returncode == 0, done.stderr
    assert captioner("shards", "verify", disk / "out").returncode == 0
    assert captioner("run", "demo", "--data", demo / "data", "--out", demo / "out").returncode == 0
    mine = {n: b.replace(str(disk).encode(), str(demo).encode()) for n, b in content(disk / "out").items()}
    assert mine == content(demo / "out")
