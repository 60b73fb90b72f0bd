"""What an audit costs: captions a second, memory, how large the page is and how soon it opens, and the check alone.

The captions are the built-in writer's for random combinations of ChestX-ray14's labels, one in ten under another label,
each with a number of its own so that none was seen before. With --repeat N each text stands N times, as in datasets whose
sets of captions are spread over images. Where medspaCy is installed, its ConText runs over a part of the same captions
with a target rule for each of the schema's wordings, before and after: it finds and negates classes, which is a part of
what is done here. It may live in an environment of its own.

    python -m benchmarks.audit [--captions 100000] [--repeat 1] [--medspacy 2000] [--medspacy-python PYTHON]
"""

import argparse
import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from captioner.agreement import Checker
from captioner.audit import audit, write_sample
from captioner.report import write_report
from captioner.schema import load_schema
from captioner.tables import Labels
from captioner.triplets import make_triplet
from captioner.writer import write_captions
from tests.report.browser import NAMES, Browser

SCHEMA = "chestxray14"


def captions(count: int) -> Iterator[tuple[list[str], str]]:
    schema = load_schema(SCHEMA)
    draw = random.Random(0)
    codes = [c.code for c in schema.classes if c.kind == "finding"]
    made = 0
    sets: dict[tuple[str, ...], list[str]] = {}
    while made < count:
        labels = tuple(sorted(draw.sample(codes, draw.choices((1, 2, 3), (6, 3, 1))[0])))
        if labels not in sets:
            sets[labels] = list(write_captions(schema, make_triplet(schema, Labels(labels)), 40, seed=made))
        for text in draw.sample(sets[labels], min(10, len(sets[labels]))):
            wrong = draw.random() < 0.1
            yield [draw.choice(codes)] if wrong else list(labels), f"{text} Image {made}."
            made += 1


def make_file(path: Path, count: int, repeat: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for labels, caption in captions(count // repeat):
            file.write((json.dumps({"labels": labels, "caption": caption}) + "\n") * repeat)


MEASURE = """
import resource, sys, time
from pathlib import Path
from captioner.audit import audit
from captioner.report import write_report
begin = time.perf_counter()
found = audit(sys.argv[1], sys.argv[2], processes=int(sys.argv[3]))
judged = time.perf_counter()
page = write_report(found, Path(sys.argv[4])).html
end = time.perf_counter()
usages = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
own, others = (u.ru_maxrss for u in usages)
cpu = sum(u.ru_utime + u.ru_stime for u in usages)
print(found.captions, judged - begin, end - judged, cpu, own, others, page.stat().st_size, found.agreement.share)
"""


def measure(path: Path, processes: int, folder: Path) -> list[float]:
    command = [sys.executable, "-c", MEASURE, str(path), SCHEMA, str(processes), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(x) for x in done.stdout.split()]


def check_alone(path: Path, most: int = 20_000) -> float:
    checker = Checker(load_schema(SCHEMA))
    rows = [json.loads(line) for _, line in zip(range(most), path.open(encoding="utf-8"), strict=False)]
    begin = time.process_time()
    for row in rows:
        checker.check(row["caption"], row["labels"])
    return len(rows) / (time.process_time() - begin)


MEDSPACY = """
import inspect, json, sys, time
import medspacy
from medspacy.ner import TargetRule
given = json.load(sys.stdin)
name = "medspacy_enable" if "medspacy_enable" in inspect.signature(medspacy.load).parameters else "enable"
nlp = medspacy.load(**{name: ["medspacy_pyrush", "medspacy_target_matcher", "medspacy_context"]})
nlp.get_pipe("medspacy_target_matcher").add([TargetRule(*rule) for rule in given["rules"]])
nlp(given["texts"][0])
begin = time.process_time()
for text in given["texts"]:
    for entity in nlp(text).ents:
        _ = entity._.is_negated
print(time.process_time() - begin)
"""


def medspacy_context(path: Path, most: int, python: str) -> float:
    """CPU seconds a caption."""
    schema = load_schema(SCHEMA)
    rules = [(word, c.code) for c in schema.classes for word in c.wordings if " ... " not in word]
    with path.open(encoding="utf-8") as file:
        texts = [json.loads(line)["caption"] for _, line in zip(range(most), file, strict=False)]
    given = json.dumps({"rules": rules, "texts": texts})
    command = [python, "-W", "ignore", "-c", MEDSPACY]
    done = subprocess.run(command, check=True, input=given, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) / len(texts)


def measure_page(folder: Path, captions_file: Path) -> None:
    """Print how large the largest report of these captions is, with pictures and a review, and how soon it opens."""
    for i in range(200):
        Image.effect_noise((512, 512), 60 + i % 40).save(folder / f"{i}.png", compress_level=1)
    rows = folder / "pictures.jsonl"
    with captions_file.open(encoding="utf-8") as source, rows.open("w", encoding="utf-8") as target:
        for i, line in enumerate(source):
            target.write(json.dumps(json.loads(line) | {"image": f"{i % 200}.png", "engine": f"model-{i % 3}"}) + "\n")
    found = audit(rows, SCHEMA, examples=20, review=0.05)
    page = write_report(found, folder / "largest").html
    write_sample(found, folder / "largest")
    sizes = {p.name: p.stat().st_size for p in page.parent.iterdir()}
    name = max(sizes, key=sizes.__getitem__)
    print(f"with pictures and a review: {name}, the largest file, has {sizes[name] / 1e6:.1f} MB", end="")
    if any(map(shutil.which, NAMES)):
        browser = Browser()
        try:
            times = sorted(browser.open(page) for _ in range(5))
            print(f"; opens in {times[2]:.2f} s (median of 5, {times[0]:.2f} to {times[-1]:.2f})", end="")
        finally:
            browser.close()
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--medspacy", type=int, default=2_000, help="captions for medspaCy, if it is installed")
    parser.add_argument("--medspacy-python", default="", help="the python of the environment that it is installed in")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        heads = (
            "captions",
            "processes",
            "seconds",
            "a second",
            "CPU µs each",
            "report s",
            "MB",
            "MB a process",
            "page kB",
        )
        print(" ".join(f"{h:>12}" for h in heads))
        peer = options.medspacy_python or (sys.executable if importlib.util.find_spec("medspacy") else "")
        theirs: list[float] = []
        wall = 0.0
        for count in sorted({max(1, options.captions // 10), options.captions}):
            path = folder / f"{count}.jsonl"
            make_file(path, count, options.repeat)
            for processes in sorted({1, cores}):
                if peer:
                    theirs.append(medspacy_context(path, options.medspacy, peer))
                n, judged, report, cpu, own, others, size, _ = measure(path, processes, folder / "report")
                wall = judged + report
                cells = (
                    n,
                    processes,
                    judged,
                    n / judged,
                    1e6 * cpu / n,
                    report,
                    own / 1024,
                    others / 1024,
                    size / 1024,
                )
                print(" ".join(f"{c:12,.1f}" if c < 1000 and c != int(c) else f"{c:12,.0f}" for c in cells), flush=True)
            if count <= 100_000:
                measure_page(folder, path)
        alone = check_alone(path)
        print(f"\nthe check alone: {1e6 / alone:,.0f} CPU µs a caption")
        if peer:
            theirs.append(medspacy_context(path, options.medspacy, peer))
            middle = statistics.median(theirs)
            shown = ", ".join(f"{1e6 * t:,.0f}" for t in theirs)
            print(f"medspaCy ConText, each time: {shown} CPU µs a caption: {middle * alone:.1f} times the check")
            print(
                f"audit of {options.captions:,} with its page on {cores} cores: {wall:,.0f} s; "
                f"medspaCy for {options.captions // 10:,} of them: {middle * options.captions / 10:,.0f} CPU s"
            )


if __name__ == "__main__":
    main()
