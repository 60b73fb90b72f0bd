"""Captions written by a reader who knew the contract and the class names, and nothing of how the check works.

Each row of ``blind.tsv`` is a schema, its labels, the verdict that the reader gave before any run, the codes that are
right for a refusal, and the caption. The rows cover what language models and radiologists write: passives, appositions,
British spelling, predicate forms, textbook signs; and every way to be wrong.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from captioner.agreement import check_caption

TABLE = Path(__file__).with_name("blind.tsv")
VERDICTS_RIGHT = 0.97
CODES_RIGHT = 0.93


@dataclass(frozen=True, slots=True)
class Reading:
    schema: str
    labels: tuple[str, ...]
    caption: str
    verdict: str
    acceptable: frozenset[str]
    said: str
    found: frozenset[str]

    @property
    def right(self) -> bool:
        return self.said == self.verdict

    @property
    def right_for_the_right_reason(self) -> bool:
        return self.right and bool(self.acceptable & self.found)

    def __str__(self) -> str:
        labels = ", ".join(self.labels)
        return f"{self.schema} [{labels}] {self.caption!r}: {self.verdict}, said {self.said} {sorted(self.found)}"


@cache
def readings() -> tuple[Reading, ...]:
    read = []
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            labels = tuple(row["labels"].split("|"))
            caption = row["caption"].replace("\\n", "\n")
            verdict = check_caption(caption, labels, row["schema"])
            read.append(
                Reading(
                    schema=row["schema"],
                    labels=labels,
                    caption=caption,
                    verdict=row["verdict"],
                    acceptable=frozenset(filter(None, row["codes"].split("|"))),
                    said=verdict.verdict,
                    found=frozenset(issue.code for issue in verdict.issues if issue.level == "error"),
                )
            )
    return tuple(read)


def share(readings: list[Reading], of: Callable[[Reading], bool]) -> float:
    return sum(map(of, readings)) / len(readings)


def listed(readings: list[Reading], share: float) -> str:
    return f"{share:.3f} are right; these are not:\n" + "\n".join(map(str, readings))


def test_verdicts_on_captions_written_blind_are_right(record_property: Callable[[str, object], None]) -> None:
    read = list(readings())
    right = share(read, lambda reading: reading.right)
    record_property("verdicts_right", right)
    assert right >= VERDICTS_RIGHT, listed([reading for reading in read if not reading.right], right)


def test_refusals_of_captions_written_blind_name_the_right_fault(
    record_property: Callable[[str, object], None],
) -> None:
    wrong = [reading for reading in readings() if reading.verdict == "disagree"]
    right = share(wrong, lambda reading: reading.right_for_the_right_reason)
    record_property("codes_right", right)
    missed = [reading for reading in wrong if not reading.right_for_the_right_reason]
    assert right >= CODES_RIGHT, listed(missed, right)
