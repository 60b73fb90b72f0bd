"""A run of very many distinct requests: does it slow down, does it grow, how soon does it start and go on?

A label table with a row, and so a triplet and a question, for each request goes through a whole run (table, ledger, loop,
checks, files) against a stub server in a process of its own, that answers at once. The first session stops short of the end;
a second one, with everything read anew, goes on. Of each tenth of the requests are printed: requests a second, CPU time a
request, and the memory of the process.

    python -m benchmarks.million [--requests 20000] [--captions 2] [--out FOLDER]
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._stub import stub
from captioner import run as running
from captioner.pipeline import load_pipeline
from captioner.schema import parse_schema
from captioner.store import Totals
from captioner.triplets import Labels, make_triplet
from captioner.writer import write_captions

SCHEMA: dict[str, Any] = {
    "id": "many",
    "title": "Very many chest radiographs",
    "modality": "xray",
    "anatomy": "chest",
    "tables": [{"layout": "names", "files": [{"match": "labels.csv"}], "image": "image", "column": "labels"}],
    "attributes": {"view": {"column": "view"}},
    "classes": [{"code": "Effusion", "name": "pleural effusion", "synonyms": ["fluid in the pleural space"]}],
}
_PARTS = 10


def write_table(folder: Path, count: int) -> Path:
    """Write a label table with so many rows, each of which is a triplet if its view counts."""
    path = folder / "labels.csv"
    with path.open("w", encoding="utf-8") as table:
        table.write("image,labels,view\n")
        table.writelines(f"{i:08}.png,Effusion,number {i}\n" for i in range(count))
    return path


def memory() -> float:
    """Return the megabytes that this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass
class Watch:
    """A reporter that notes when what was done."""

    step: int
    begin: float = field(default_factory=time.monotonic)
    stage: str = ""
    stages: list[tuple[str, float]] = field(default_factory=list)
    first: float | None = None
    marks: list[tuple[int, float, float, float]] = field(default_factory=list)

    def note(self, text: str) -> None:
        print(text)

    def start(self, stage: str, total: int | None) -> None:  # noqa: ARG002
        self.stage = stage
        self.stages.append((stage, time.monotonic()))

    def advance(self, done: int, totals: Totals | None = None, cost: float = 0.0) -> None:  # noqa: ARG002
        if totals is None:
            return
        now = time.monotonic()
        if self.first is None:
            self.first = now
            self.marks.append((done, now, time.process_time(), memory()))
        if done - self.marks[-1][0] >= self.step:
            self.marks.append((done, now, time.process_time(), memory()))


def session(settings: list[str], spec: dict[str, Any], step: int) -> tuple[Watch, running.Summary]:
    watch = Watch(step)
    plan = running.prepare(load_pipeline(spec, settings), watch)
    summary = running.execute(plan, watch)
    watch.start("end", None)
    return watch, summary


def show(watch: Watch) -> None:
    for (name, begin), (_, end) in zip(watch.stages, watch.stages[1:], strict=False):
        print(f"  {name:<24}{end - begin:>8.1f} s")
    if watch.first is not None:
        print(f"  from the start to the first answer: {watch.first - watch.begin:.1f} s")
    if len(watch.marks) > 1:
        print(f"  {'requests':>12}{'a second':>10}{'CPU ms each':>13}{'MB':>8}")
    for (a, t, c, _), (b, u, d, size) in zip(watch.marks, watch.marks[1:], strict=False):
        print(f"  {b:>12,}{(b - a) / (u - t):>10.0f}{1000 * (d - c) / (b - a):>13.3f}{size:>8.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--captions", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--out", type=Path, help="where the run goes; a temporary folder if left out")
    options = parser.parse_args()
    count: int = options.requests
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "many.yaml").write_text(json.dumps(SCHEMA), encoding="utf-8")
        write_table(folder, count)
        schema = parse_schema(SCHEMA)
        triplet = make_triplet(schema, Labels(("Effusion",)))
        texts = [
            json.dumps({"captions": write_captions(schema, triplet, options.captions, seed=s)}) for s in range(200)
        ]
        with stub(texts) as url:
            spec: dict[str, Any] = {
                "schema": str(folder / "many.yaml"),
                "captions": options.captions,
                "data": {"root": str(folder), "images": "none"},
                "triplets": {"attributes": ["view"]},
                "engine": {"model": "stub", "base_url": url, "concurrency": options.concurrency},
                "out": str(folder / "out"),
            }
            print(f"{count:,} requests; memory before: {memory():.0f} MB")
            print("first session")
            watch, _ = session([f"limits.requests={count - count // 20}"], spec, count // _PARTS)
            show(watch)
            print("second session")
            again, summary = session([], spec, count // _PARTS)
            show(again)
        ledger = next((folder / "out").rglob("ledger.sqlite"))
        print(f"ledger {ledger.stat().st_size / 1e6:,.0f} MB; {summary.requests:,} requests, {summary.triplets}")
        _, *parts = [
            ((b - a) / (u - t), size)
            for (a, t, _, _), (b, u, _, size) in zip(watch.marks, watch.marks[1:], strict=False)
        ]
        if len(parts) > 1:
            print(
                f"last tenth / second tenth: speed x {parts[-1][0] / parts[0][0]:.2f}, memory x {parts[-1][1] / parts[0][1]:.2f}"
            )


if __name__ == "__main__":
    main()
