"""People's verdicts on a sample of captions: how good is the checker itself, and how well do people agree?

A sample is drawn by :func:`captioner.audit.audit` with ``review``: random, with a few captions of each kind of error and
class. Reviewers see caption, labels and image, not what the checker said.
"""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from captioner import atomic
from captioner.audit.engine import stratum_of
from captioner.audit.result import Audit
from captioner.audit.rows import harmless
from captioner.audit.statistics import kappa, weighted
from captioner.errors import UsageError

SHEET = "review.csv"
KEY = "review.json"
COLUMNS = ("id", "labels", "caption", "image", "verdict", "comment")

_VERDICTS = {
    **dict.fromkeys(("agree", "agrees", "a", "yes", "y", "1", "true", "right", "ok"), "agree"),
    **dict.fromkeys(("disagree", "disagrees", "d", "no", "n", "0", "false", "wrong"), "disagree"),
}
_WORDS = re.compile(r"\w+(?:-\w+)*")


@dataclass(frozen=True, slots=True)
class Measure:
    """A share with its 95 % interval, see :func:`captioner.audit.statistics.weighted`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Correction:
    """A caption on which people and the checker differ."""

    id: str
    labels: tuple[str, ...]
    caption: str
    checker: str
    people: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Review:
    """What people's verdicts say of the checker.

    Attributes:
        reviewed: captions with a verdict; where people differ, that of the majority; ``undecided`` had none.
        precision: share of the captions that the checker refuses that people refuse, too.
        recall: share of the captions that people refuse that the checker refuses, too.
        accuracy: share of captions on which both say the same.
        agreement: share of captions that people accept; like the others, weighted to stand for all captions.
        kappas: Cohen's kappa of each two reviewers on the captions that both judged: names, kappa, captions.
        corrections: captions on which people and the checker differ.
        wordings: class → wordings that may be missing in its schema: from captions that people accept and in which the
            checker missed the label.
    """

    reviewed: int
    undecided: int
    precision: Measure
    recall: Measure
    accuracy: Measure
    agreement: Measure
    kappas: tuple[tuple[str, str, float, int], ...]
    corrections: tuple[Correction, ...]
    wordings: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold; numbers that are none become null."""

        def plain(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {k: plain(v) for k, v in value.items()}
            if isinstance(value, list | tuple):
                return [plain(v) for v in value]
            return None if isinstance(value, float) and math.isnan(value) else value

        data: dict[str, Any] = plain(asdict(self))
        return data


def write_sample(audit: Audit, folder: Path) -> Path:
    """Write the sample of an audit: a sheet for people, and a key with what the checker said; return the sheet.

    Give each reviewer a copy of the sheet to fill its ``verdict`` column with *agree* or *disagree*.
    """
    sheet = io.StringIO()
    writer = csv.writer(sheet)
    writer.writerow(COLUMNS)
    key = {}
    for example, weight in audit.sample:
        labels = "|".join(audit.names.get(c, c) for c in example.labels)
        writer.writerow([example.id, *map(harmless, (labels, example.caption, example.key)), "", ""])
        code, label = stratum_of(example)
        key[example.id] = {
            "labels": example.labels,
            "caption": example.caption,
            "verdict": example.verdict,
            "codes": example.codes,
            "missed": [i["label"] for i in example.issues if i["code"] == "missing_label"],
            "stratum": f"{code}/{label}",
            "weight": weight,
        }
    content = {"schema": audit.schema, "target": audit.target, "checker": audit.checker, "captions": key}
    atomic.write(folder / KEY, json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n")
    atomic.write(folder / SHEET, sheet.getvalue().encode("utf-8-sig"))
    return folder / SHEET


def read_review(key: Path, sheets: Sequence[Path]) -> Review:
    """Hold the verdicts of one or more reviewers against the checker's.

    Args:
        key: the ``review.json`` beside the sheet.
        sheets: filled copies of the sheet, one a reviewer.

    Raises:
        UsageError: a file is not what it should be, a verdict is neither agree nor disagree, or there is none.
    """
    known = _key(key)
    given = {str(sheet): _verdicts(sheet, known) for sheet in sheets}
    votes: dict[str, Counter[str]] = {}
    for verdicts in given.values():
        for item, verdict in verdicts.items():
            votes.setdefault(item, Counter())[verdict] += 1
    decided = {i: v.most_common(1)[0][0] for i, v in votes.items() if v["agree"] != v["disagree"]}
    if not decided:
        raise UsageError(
            f"{', '.join(map(str, sheets))}: no verdict yet: fill the column 'verdict' with agree or disagree"
        )
    data = [_Case(known[i]["verdict"], people, float(known[i]["weight"])) for i, people in decided.items()]
    corrections = tuple(
        Correction(i, tuple(e["labels"]), e["caption"], e["verdict"], people, tuple(e["codes"]))
        for i, people in decided.items()
        if people != (e := known[i])["verdict"]
    )
    return Review(
        reviewed=len(decided),
        undecided=len(votes) - len(decided),
        precision=_measure(data, lambda c: c.people == "disagree", among=lambda c: c.checker == "disagree"),
        recall=_measure(data, lambda c: c.checker == "disagree", among=lambda c: c.people == "disagree"),
        accuracy=_measure(data, lambda c: c.checker == c.people),
        agreement=_measure(data, lambda c: c.people == "agree"),
        kappas=tuple(_kappas(given)),
        corrections=corrections,
        wordings=_wordings(known, decided),
    )


class _Case(NamedTuple):
    """A reviewed caption, and how many captions it stands for."""

    checker: str
    people: str
    weight: float


def _measure(
    cases: Sequence[_Case], hit: Callable[[_Case], bool], among: Callable[[_Case], bool] = lambda _: True
) -> Measure:
    """Return a weighted share with its interval."""
    return Measure(*weighted([(hit(c), c.weight) for c in cases if among(c)]))


def _kappas(given: Mapping[str, Mapping[str, str]]) -> Iterable[tuple[str, str, float, int]]:
    for (one, first), (two, second) in combinations(given.items(), 2):
        both = [i for i in first if i in second]
        yield one, two, kappa([first[i] for i in both], [second[i] for i in both]), len(both)


def _key(path: Path) -> dict[str, Any]:
    try:
        captions = json.loads(path.read_text(encoding="utf-8"))["captions"]
        fields = {"labels", "caption", "verdict", "codes", "missed", "stratum", "weight"}
        if all(fields <= c.keys() for c in captions.values()):
            return dict(captions)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise UsageError(f"{path}: not the key of a review sample ({KEY}): {e}") from None
    raise UsageError(f"{path}: not the key of a review sample ({KEY})")


def _verdicts(sheet: Path, known: Mapping[str, Any]) -> dict[str, str]:
    try:
        with sheet.open(encoding="utf-8-sig", newline="") as file:
            sample = file.read(4096)
            file.seek(0)
            delimiter = ";" if sample.partition("\n")[0].count(";") > sample.partition("\n")[0].count(",") else ","
            rows = list(csv.DictReader(file, delimiter=delimiter))
    except UnicodeDecodeError:
        raise UsageError(f"{sheet}: not UTF-8 text; save it as CSV in UTF-8") from None
    except (OSError, csv.Error) as e:
        raise UsageError(f"{sheet}: cannot be read: {e}") from None
    found = {}
    for number, row in enumerate(rows, start=2):
        if not {"id", "verdict"} <= row.keys():
            raise UsageError(f"{sheet}: no columns 'id' and 'verdict'; it has: {', '.join(map(str, row))}")
        text = (row["verdict"] or "").strip().casefold()
        if not text:
            continue
        if row["id"] not in known:
            raise UsageError(f"{sheet}: row {number}: id {row['id']!r} is not in the sample; is this its sheet?")
        if text not in _VERDICTS:
            raise UsageError(f"{sheet}: row {number}: verdict {row['verdict']!r} is neither agree nor disagree")
        found[row["id"]] = _VERDICTS[text]
    return found


def _wordings(known: Mapping[str, Any], decided: Mapping[str, str], most: int = 8) -> dict[str, tuple[str, ...]]:
    """Return, by class, wordings that stand in captions in which the checker missed the label and people did not.

    Candidates are runs of one to four words that no other caption of the sample has; the more captions the better.
    """
    missed: dict[str, list[set[str]]] = {}
    elsewhere: set[str] = set()
    for item, entry in known.items():
        runs = _runs(entry["caption"])
        if entry["missed"] and decided.get(item) == "agree":
            for label in entry["missed"]:
                missed.setdefault(label, []).append(runs)
        else:
            elsewhere |= runs
    found = {}
    for label, captions in missed.items():
        counts = Counter(r for runs in captions for r in runs - elsewhere)
        ranked = sorted(counts, key=lambda r: (-counts[r], -len(r.split()), r))
        kept: list[str] = []
        for run in ranked:
            if not any(f" {run} " in f" {k} " for k in kept):
                kept.append(run)
        found[label] = tuple(kept[:most])
    return found


def _runs(caption: str) -> set[str]:
    words = [w.casefold() for w in _WORDS.findall(caption)]
    return {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, min(i + 4, len(words)) + 1)}


def write_synonyms(review: Review, path: Path) -> None:
    """Write the wordings that a schema may lack as a schema file words them: a proposal for a person to read."""
    classes = [{"code": label, "synonyms": list(wordings)} for label, wordings in review.wordings.items()]
    content = yaml.safe_dump({"classes": classes}, sort_keys=False, allow_unicode=True)
    atomic.write(path, content.encode())


def write_corrections(review: Review, path: Path) -> int:
    """Write the captions that people accept and the checker refuses, for the ``allow`` of an audit; return how many.

    The file is JSONL with ``labels`` and ``caption``; edit it as you like.
    """
    allowed = [c for c in review.corrections if c.people == "agree"]
    lines = (json.dumps({"labels": c.labels, "caption": c.caption}, ensure_ascii=False) for c in allowed)
    atomic.write(path, "".join(f"{line}\n" for line in lines).encode())
    return len(allowed)
