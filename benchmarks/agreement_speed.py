"""How many captions a core judges, beside medspaCy's ConText on the same captions in the same run.

Captions come from the built-in writer (or from a JSONL file with ``schema``, ``labels`` and ``caption``). Our side does the
whole check, against labels; medspaCy finds the same wordings and runs ConText, and knows neither labels nor details. CPU
time, interleaved rounds, medians. medspaCy is no dependency; where it is not installed the ratio is left out and said so:

    python -m benchmarks.agreement_speed [--captions FILE] [--rounds 3]
"""

import argparse
import contextlib
import gc
import json
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner.agreement import Checker
from captioner.schema import load_schema
from captioner.triplets import Labels, make_triplet
from captioner.writer import write_captions

Row = tuple[str, list[str], str]
_SCHEMAS = ("chestxray14", "aptos2019", "odir5k", "busi", "lc25000", "radimagenet")
_LIMIT = 2_000


def written() -> list[Row]:
    """Return captions of the built-in writer for every class of a few schemas."""
    rows = []
    for name in _SCHEMAS:
        schema = load_schema(name)
        for item in schema.classes:
            captions = write_captions(schema, make_triplet(schema, Labels((item.code,))), 5)
            rows += [(name, [item.code], caption) for caption in captions]
    return rows[:: max(1, len(rows) // _LIMIT)]


def given(path: Path) -> list[Row]:
    """Return the rows of a JSONL file."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [(r["schema"], r["labels"], r["caption"]) for r in rows]


def timed(function: Callable[[], object]) -> float:
    """Return CPU seconds."""
    gc.collect()
    start = time.process_time()
    function()
    return time.process_time() - start


def medspacy_pipeline(rows: list[Row]) -> Callable[[str], object] | None:
    """Return medspaCy with ConText and the wordings of all schemas as targets; None where it is not installed."""
    warnings.simplefilter("ignore")
    try:
        import medspacy
        from medspacy.target_matcher import TargetRule
    except ImportError:
        return None
    with contextlib.suppress(ImportError):
        from loguru import logger

        logger.remove()  # the sentence splitter logs every decision otherwise
    nlp: Any = medspacy.load(enable=["medspacy_pyrush", "medspacy_target_matcher", "medspacy_context"])
    words = {
        w for name in {r[0] for r in rows} for c in load_schema(name).classes for w in c.wordings if " ... " not in w
    }
    nlp.get_pipe("medspacy_target_matcher").add([TargetRule(w, "FINDING") for w in sorted(words)])
    return nlp  # type: ignore[no-any-return]


def _worker(rows: list[Row]) -> int:
    checkers = {name: Checker(load_schema(name)) for name in {r[0] for r in rows}}
    return sum(checkers[s].check(c, labels).agrees for s, labels, c in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=Path, help="JSONL with schema, labels and caption")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = given(options.captions) if options.captions else written()
    start = time.perf_counter()
    checkers = {name: Checker(load_schema(name)) for name in {r[0] for r in rows}}
    print(f"{len(rows)} captions of {len(checkers)} schemas, compiled in {time.perf_counter() - start:.1f} s")

    def ours() -> None:
        for schema, labels, caption in rows:
            checkers[schema].check(caption, labels)

    nlp = medspacy_pipeline(rows)

    def theirs() -> None:
        for _, _, caption in rows:
            if nlp is not None:
                nlp(caption)

    ours()
    mine, other = [], []
    for _ in range(options.rounds):
        mine.append(timed(ours))
        if nlp is not None:
            other.append(timed(theirs))
    each = statistics.median(mine) / len(rows)
    print(f"captioner: {each * 1e6:.0f} us a caption, {1 / each:,.0f} a second on one core")
    if other:
        print(f"medspaCy ConText: {statistics.median(other) / len(rows) * 1e6:.0f} us a caption")
        print(f"captioner is {statistics.median(other) / statistics.median(mine):.1f} x as fast")
    else:
        print("medspaCy: not installed, no ratio (pip install medspacy)")
    cores = multiprocessing.cpu_count()
    with multiprocessing.Pool(cores) as pool:
        share = rows * 4
        pool.map(_worker, [rows[:10]] * cores)
        start = time.perf_counter()
        pool.map(_worker, [share] * cores)
        print(f"{cores} processes: {len(share) * cores / (time.perf_counter() - start):,.0f} captions a second")


if __name__ == "__main__":
    main()
