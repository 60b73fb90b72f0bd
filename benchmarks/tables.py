"""What a label table costs, paired in one run: from the file to distinct triplets, against pandas.read_csv of the file.

Every round runs each way once, in turn; the median of the rounds' ratios is printed, since seconds say more of the
machine than of the code. The table is NIH ChestX-ray14's (112,120 rows, 11 columns, gzipped) if CAPTIONER_REAL_DATA or
--table says where it is, else one of the same form with labels drawn at random.

    python -m benchmarks.tables [--table Data_Entry_2017_v2020.csv.gz] [--rounds 9]
"""

import argparse
import csv
import gzip
import io
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from captioner.images import locate
from captioner.schema import load_schema
from captioner.tables import read_samples
from captioner.triplets import distinct

TABLE = "Data_Entry_2017_v2020.csv.gz"
HEADER = [
    *("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "Patient Gender", "View Position"),
    *("OriginalImage[Width", "Height]", "OriginalImagePixelSpacing[x", "y]"),
]


def make_table(folder: Path, rows: int = 112_120) -> Path:
    """Write a table of the same form, about as many combinations of labels included."""
    draw = random.Random(0)
    codes = [c.code for c in load_schema("chestxray14").classes if c.kind == "finding"]
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(HEADER)
    for row in range(rows):
        patient, visit = divmod(row, 4)
        count = draw.choices((0, 1, 2, 3, 4), (60, 25, 10, 4, 1))[0]
        labels = "|".join(draw.sample(codes[: 8 if count > 2 else 14], count)) or "No Finding"
        person = (visit, patient, draw.randint(1, 90), draw.choice("MF"), draw.choice(("PA", "AP")))
        table.writerow((f"{patient:08d}_{visit:03d}.png", labels, *person, 2682, 2749, 0.143, 0.143))
    path = folder / TABLE
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    return path


def csv_reader(path: Path) -> int:
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") as file:
        return sum(1 for _ in csv.reader(file))


def measure(path: Path, rounds: int) -> None:
    schema = load_schema("chestxray14")
    samples = read_samples(schema, path)
    triplets, _ = distinct(schema, samples)

    ways: dict[str, Callable[[], object]] = {
        "pandas.read_csv": lambda: pd.read_csv(path),
        "csv.reader, rows counted": lambda: csv_reader(path),
        "samples": lambda: read_samples(schema, path),
        "samples and distinct triplets": lambda: distinct(schema, read_samples(schema, path)),
        "finding images": lambda: locate(samples, path.parent),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    print(f"{samples.rows:,} rows, {len(samples.combinations)} combinations of labels, {len(triplets)} triplets")
    print(f"{'':32}{'ms':>8}{'x pandas.read_csv (range)':>28}")
    for name, found in times.items():
        ratios = [a / b for a, b in zip(found, times["pandas.read_csv"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})"
        print(f"{name:32}{1000 * statistics.median(found):8.1f}{spread:>28}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    real = Path(os.environ.get("CAPTIONER_REAL_DATA", "")) / "nih_chestxray14" / TABLE
    path = options.table or (real if real.is_file() else None)
    if path:
        measure(path, options.rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(make_table(Path(folder)), options.rounds)


if __name__ == "__main__":
    main()
