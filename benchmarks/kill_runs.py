"""SIGKILL at random moments of whole runs, each started again: is anything lost, asked twice, or different in the end?

Processes of ``captioner run`` work on tiny images and a stub server whose answers depend on the question alone. They are
killed at random moments, with a seed: three in ten on the way to their first question, the others when a random number of
questions have arrived and a little later; a run that comes to its end is compared, byte by byte, with one that nobody
disturbed, and the next run begins, until there were as many kills as asked for. A request may be sent again only if its answer
was on its way when the kill came: at most as many as are in flight at a time.

    python -m benchmarks.kill_runs [--kills 20] [--seed 0]
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.faults import dataset
from tests.engines.faulty import FaultyServer
from tests.wrong import CODES, Model

_LATENCY = 0.15
_ARRIVES = 0.1
_MOST_ASKED = 40
_FILES = ("*.tar", "*.parquet", "summary.json", "pipeline.yaml", "rejected_rows.csv")


def prepare(folder: Path, count: int) -> Path:
    """Write a label table and its images, and return the pipeline file."""
    spec = dataset(folder, count)
    del spec["out"]
    spec["data"] = {"root": str(folder)}
    for i in range(count):
        Image.new("RGB", (4, 4), (i % 256, i // 256, 0)).save(folder / f"{i:05}.png")
    path = folder / "pipeline.json"
    path.write_text(json.dumps(spec | {"shards": {"size": 20}}), encoding="utf-8")
    return path


def command(pipeline: Path, out: Path, url: str, concurrency: int) -> list[str]:
    engine = ("engine.model=tiny", f"engine.base_url={url}", f"engine.concurrency={concurrency}")
    settings = [word for setting in engine for word in ("--set", setting)]
    return [sys.executable, "-m", "captioner", "run", str(pipeline), "--out", str(out), *settings]


def content(out: Path) -> dict[str, bytes]:
    """Return every file of an output folder that must not depend on what happened on the way."""
    return {str(p.relative_to(out)): p.read_bytes().replace(bytes(out), b"OUT") for n in _FILES for p in out.rglob(n)}


class Witness:
    """What the server saw of a run, and when it was killed."""

    def __init__(self, server: FaultyServer) -> None:
        self.server = server
        self.kills: list[float] = []
        self.seen = len(server.bodies)

    def killed(self) -> None:
        """Take note of a kill, when all that was sent before has arrived."""
        time.sleep(_ARRIVES)
        self.kills.append(time.monotonic())

    def repeated(self) -> list[int]:
        """Return how many requests had to be sent again because of each kill: of the process that had sent them before."""
        again = [0] * len(self.kills)
        sent: dict[str, int] = {}
        for body, moment in zip(self.server.bodies[self.seen :], self.server.moments[self.seen :], strict=True):
            question = json.dumps([body["messages"], body.get("seed")])
            process = bisect(self.kills, moment)
            if question in sent:
                assert sent[question] < process, "sent twice without a kill"
                again[sent[question]] += 1
            sent[question] = process
        return again


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--triplets", type=int, default=150)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    model = Model(dict.fromkeys(CODES, 0.2 / len(CODES)), options.seed)
    failed, most = False, 0
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary, FaultyServer(caption=model, latency=_LATENCY) as server:
        data = Path(temporary) / "data"
        data.mkdir()
        pipeline = prepare(data, options.triplets)

        def start(out: Path) -> "subprocess.Popen[Any]":
            words = command(pipeline, out, server.base_url, options.concurrency)
            return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        whole = Path(temporary) / "whole"
        begin = time.monotonic()
        process = start(whole)
        while not server.bodies and process.poll() is None:
            time.sleep(0.005)
        to_first = time.monotonic() - begin
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        ideal, reference = len(server.bodies), content(whole)
        print(f"undisturbed: {ideal} requests, {to_first:.1f} s to the first; {len(reference)} files", flush=True)
        while totals["kills"] < options.kills:
            out = Path(temporary) / f"run{totals['runs']}"
            witness = Witness(server)
            while True:
                asked = len(server.bodies)
                process = start(out)
                if totals["kills"] < options.kills:
                    early = rng.random() < 0.3
                    until, patience = asked, rng.uniform(0, to_first)
                    if not early:
                        until, patience = asked + rng.randint(1, _MOST_ASKED), rng.uniform(0, _LATENCY)
                    while process.poll() is None and len(server.bodies) < until:
                        time.sleep(0.002)
                    time.sleep(patience)
                    if process.poll() is None:
                        process.send_signal(signal.SIGKILL)
                        process.communicate()
                        witness.killed()
                        totals.update(kills=1, early=early)
                        continue
                _, errors = process.communicate()
                assert process.returncode == 0, errors
                break
            again = witness.repeated()
            mine = content(out)
            different = sorted(n for n in reference.keys() | mine.keys() if reference.get(n) != mine.get(n))
            sent = len(server.bodies) - witness.seen
            print(
                f"run {totals['runs']}: {len(witness.kills)} kills, {sent} requests for {ideal}, sent again after each kill "
                f"{again}; files that differ: {different or 'none'}",
                flush=True,
            )
            totals.update(runs=1, again=sum(again), different=len(different))
            most = max([most, *again])
            failed |= bool(different) or most > options.concurrency
    print(
        f"{totals['kills']} kills ({totals['early']} on the way to the first question) in {totals['runs']} runs: {totals['different']} files "
        f"differ; {totals['again']} requests sent again, at most {most} after a kill with at most {options.concurrency} in flight"
    )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
