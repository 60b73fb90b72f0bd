"""Captions judged and counted. Counts of parts add up to the counts of the whole, in memory that does not grow with it."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from captioner.agreement import Checker, Verdict
from captioner.agreement.sets import opening, self_similarity, words_of
from captioner.audit.rows import Bad, Row, decodable, texts_of
from captioner.audit.sketch import Clashes, Distinct, Frequent, Sample, hash64
from captioner.captions_file import parse_labels
from captioner.errors import SchemaError
from captioner.schema import LabelSchema

LONGEST = 120
"""Words of a caption beyond which lengths are counted together."""

BINS = 20
"""Of the distribution of self-similarity."""

Group = tuple[str, str]
"""A dimension and its value."""

_OPENING = 5
_REMEMBERED = 20_000
_MANY = 5_000
_PROBLEMS = 1_000
_WORDS = 500_000
_LONG = 5_000
_LABEL_CODES = frozenset({"missing_label", "negated_label", "hedged_label"})
_UNREAD = frozenset({"empty", "too_long"})
"""Kinds of texts whose words are not looked at."""


@dataclass(frozen=True, slots=True)
class Example:
    """A caption as the report shows it.

    Attributes:
        id: of this caption under these labels at this place, for links.
        file, place: where it stands.
        key: of its image.
        labels: class codes.
        caption: the text.
        verdict: ``agree`` or ``disagree``.
        issues: as in :class:`captioner.agreement.Issue`, as dicts.
        groups: dimension → value.
        image: where its picture is.
        images: how many images have it.
    """

    id: str
    file: str
    place: str
    key: str
    labels: tuple[str, ...]
    caption: str
    verdict: str
    issues: tuple[dict[str, Any], ...]
    groups: dict[str, str]
    image: tuple[str, str] | None
    images: int

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of its errors, each once."""
        return tuple(dict.fromkeys(i["code"] for i in self.issues if i["level"] == "error"))


class Listed(NamedTuple):
    """A caption that disagrees with its labels, as a row of a list: lists in cells are joined with ``|``.

    Attributes:
        file, place, key: where it stands.
        labels: codes of its labels; ``unasserted`` are those that it does not assert, ``asserted`` are other classes that
            it asserts.
        codes: of its errors.
        words: that the errors are about.
        caption: the text.
    """

    file: str
    place: str
    key: str
    labels: str
    unasserted: str
    asserted: str
    codes: str
    words: str
    caption: str


class Judged(NamedTuple):
    """A caption with its verdict."""

    row: Row
    labels: tuple[str, ...]
    text: str
    verdict: Verdict
    groups: Sequence[Group]

    def example(self, rank: int) -> Example:
        """Return what a report shows of it."""
        row = self.row
        return Example(
            id=f"{rank:016x}",
            file=row.file,
            place=row.place,
            key=row.key,
            labels=self.labels,
            caption=self.text[:_LONG],
            verdict=self.verdict.verdict,
            issues=tuple(i.to_dict() for i in self.verdict.issues),
            groups=dict(self.groups),
            image=row.image,
            images=row.images,
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is kept.

    Attributes:
        examples: captions for each code and class.
        review: size of the sample for human review; 0 for none.
        per_stratum: captions that each stratum of that sample has at least, if there are as many.
        allowed: keys (:func:`allow_key`) of captions that people have accepted: they agree, whatever the rules say.
        listed: keep each caption that disagrees, until whoever merges takes it.
    """

    examples: int = 3
    review: int = 0
    per_stratum: int = 5
    allowed: frozenset[int] = frozenset()
    listed: bool = False


@dataclass
class Counts:
    """Everything that figures are made of.

    A *caption* is one text under one set of labels, counted once for each row that has it; what several images share as
    one support set is one row.
    """

    settings: Settings = field(default_factory=Settings)
    rows: int = 0
    captions: int = 0
    agreeing: int = 0
    images: int = 0
    words: int = 0
    bigrams: int = 0
    groups: Counter[Group] = field(default_factory=Counter)
    groups_agreeing: Counter[Group] = field(default_factory=Counter)
    combinations: Counter[tuple[str, ...]] = field(default_factory=Counter)
    combinations_agreeing: Counter[tuple[str, ...]] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    classes_agreeing: Counter[str] = field(default_factory=Counter)
    class_images: Counter[str] = field(default_factory=Counter)
    asserted: Counter[str] = field(default_factory=Counter)
    unasserted: Counter[tuple[str, str]] = field(default_factory=Counter)
    issues: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    group_issues: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    cells: Counter[tuple[str, str]] = field(default_factory=Counter)
    spurious: Counter[tuple[str, str]] = field(default_factory=Counter)
    unsupported: Frequent[str] = field(default_factory=Frequent)
    hedges: Frequent[str] = field(default_factory=Frequent)
    lengths: Counter[int] = field(default_factory=Counter)
    similarity: Counter[int] = field(default_factory=Counter)
    similarity_sum: float = 0.0
    sets: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    bad: list[Bad] = field(default_factory=list)
    openings: Frequent[str] = field(default_factory=Frequent)
    unigrams_seen: Distinct = field(default_factory=Distinct)
    bigrams_seen: Distinct = field(default_factory=Distinct)
    texts_seen: Distinct = field(default_factory=Distinct)
    vocabulary: set[str] = field(default_factory=set)
    growth: list[tuple[int, int]] = field(default_factory=list)
    texts: list[tuple[int, tuple[str, ...], str]] = field(default_factory=list)
    clashes: Clashes = field(default_factory=Clashes)
    strata: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: Sample[tuple[str, str], Example] = field(default_factory=lambda: Sample(0))
    drawn: Sample[str, Example] = field(default_factory=lambda: Sample(0))
    stratified: Sample[tuple[str, str], Example] = field(default_factory=lambda: Sample(0))
    listed: list[Listed] = field(default_factory=list)
    version: str = ""

    def __post_init__(self) -> None:
        self.examples = Sample(self.settings.examples)
        if self.settings.review:
            self.drawn, self.stratified = Sample(self.settings.review), Sample(self.settings.per_stratum)

    def merge(self, part: "Counts") -> None:
        """Add the counts of the part that follows.

        What depends on order (vocabulary growth, which owner of a text came first) rests on parts coming in order.
        """
        for name in ("rows", "captions", "agreeing", "images", "words", "bigrams", "similarity_sum", "sets"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        for name, value in vars(self).items():
            if isinstance(value, Counter):
                value.update(getattr(part, name))
        for name in (
            "openings",
            "unsupported",
            "hedges",
            "unigrams_seen",
            "bigrams_seen",
            "texts_seen",
            "examples",
            "drawn",
            "stratified",
        ):
            getattr(self, name).merge(getattr(part, name))
        self.bad += part.bad[: _PROBLEMS - len(self.bad)]
        for rank, owner, text in part.texts:
            self.clashes.add(rank, owner, text)
        if len(self.vocabulary) < _WORDS:
            self.vocabulary |= part.vocabulary
        if part.captions:
            self.growth.append((self.captions, len(self.vocabulary)))
            if len(self.growth) > 400:
                self.growth = [*self.growth[:-1:2], self.growth[-1]]
        if len(self.combinations) > 4 * _MANY:
            self.combinations = Counter(dict(self.combinations.most_common(_MANY)))
            self.combinations_agreeing = _of(self.combinations, self.combinations_agreeing)
        if len(self.groups) > 4 * _MANY:  # a column that is different in each row is no dimension
            self.groups = Counter(dict(self.groups.most_common(_MANY)))
            self.groups_agreeing = _of(self.groups, self.groups_agreeing)
            self.group_issues = Counter({k: v for k, v in self.group_issues.items() if k[:2] in self.groups})
        self.version = self.version or part.version


def allow_key(caption: str, labels: Iterable[str]) -> int:
    """Return what stands for a caption under its labels, in any order, in a list of accepted captions."""
    return hash64("\0".join((caption, *sorted(labels))))


def _of(kept: Mapping[Any, int], counts: Counter[Any]) -> Counter[Any]:
    return Counter({k: v for k, v in counts.items() if k in kept})


class Judge:
    """Judges rows under one schema; makes the counts of one part.

    Args:
        schema: what the labels mean.
        settings: how much is kept.
    """

    def __init__(self, schema: LabelSchema, settings: Settings) -> None:
        self.schema = schema
        self.settings = settings
        self.checker = Checker(schema)
        self._labels: dict[str, tuple[str, ...] | SchemaError] = {}
        self._verdicts: dict[tuple[object, ...], Verdict] = {}
        self._pairs: set[tuple[str, str]] = set()

    def count(self, rows: Iterable[Row | Bad]) -> Counts:
        """Judge rows and count."""
        counts = Counts(self.settings, version=self.checker.version)
        self._pairs.clear()
        for row in rows:
            problem = row if isinstance(row, Bad) else self._row(counts, row)
            if problem is not None:
                counts.problems[problem.code] += 1
                counts.bad.append(problem)
        return counts

    def _row(self, counts: Counts, row: Row) -> Bad | None:
        if not decodable(*row.captions, *texts_of(row.labels)):
            return Bad(row.file, row.place, "bad_encoding", "characters that are not UTF-8; save the file as UTF-8")
        try:
            labels = self._codes(row.labels)
        except SchemaError as e:
            code = "no_label" if str(e) == "no label" else "unknown_label"
            return Bad(row.file, row.place, code, str(e))
        captions = [(i, text) for i, text in enumerate(row.captions) if text.strip()]
        if not captions:
            return Bad(row.file, row.place, "empty_caption", "no caption")
        counts.rows += 1
        counts.images += row.images
        for label in labels:
            counts.class_images[label] += row.images
        sets = [
            self._caption(counts, row, labels, text, row.sources[i] if i < len(row.sources) else "")
            for i, text in captions
        ]
        if len(sets) > 1:
            _similarity(counts, sets)
        if len(captions) < len(row.captions):
            empty = len(row.captions) - len(captions)
            return Bad(row.file, row.place, "empty_caption", f"{empty} of {len(row.captions)} captions are empty")
        return None

    def _codes(self, value: Any) -> tuple[str, ...]:
        """Return the class codes of a cell; cells repeat, and so do those that name no class.

        Raises:
            SchemaError: it names none.
        """
        key = value if isinstance(value, str) else repr(value)
        found = self._labels.get(key)
        if found is None:
            try:
                found = parse_labels(value, self.schema)
            except SchemaError as e:
                found = e
            if len(self._labels) < _REMEMBERED:
                self._labels[key] = found
        if isinstance(found, SchemaError):
            raise SchemaError(str(found))
        return found

    def _verdict(self, row: Row, labels: tuple[str, ...], text: str) -> Verdict:
        key = (text, labels, row.negatives, row.attributes)
        found = self._verdicts.get(key)
        if found is None:
            found = self.checker.check(text, labels, negatives=row.negatives, attributes=dict(row.attributes))
            if not found.agrees and self.settings.allowed and allow_key(text, labels) in self.settings.allowed:
                found = Verdict("agree", (), found.version)
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            self._verdicts[key] = found
        return found

    def _caption(self, counts: Counts, row: Row, labels: tuple[str, ...], text: str, source: str) -> frozenset[str]:
        verdict = self._verdict(row, labels, text)
        agrees = verdict.agrees
        groups = (*row.groups, ("source", source)) if source else row.groups
        counts.captions += 1
        counts.agreeing += agrees
        counts.combinations[labels] += 1
        counts.combinations_agreeing[labels] += agrees
        for label in labels:
            counts.classes[label] += 1
            counts.classes_agreeing[label] += agrees
        for group in groups:
            counts.groups[group] += 1
            counts.groups_agreeing[group] += agrees
        cells = self._issues(counts, Judged(row, labels, text, verdict, groups))
        rank = hash64(text)
        words = self._words(counts, text, rank)
        counts.texts.append((rank, labels, text[:_LONG]))
        self._keep(counts, Judged(row, labels, text, verdict, groups), cells)
        return words

    def _issues(self, counts: Counts, judged: Judged) -> list[tuple[str, str]]:
        """Count a verdict's issues; return the cells (code, class) of the heat map that the caption belongs to."""
        verdict, labels = judged.verdict, judged.labels
        if not verdict.issues:
            for label in labels:
                counts.asserted[label] += 1
            return [("agree", labels[0])]
        seen: set[tuple[str, str, str]] = set()
        cells: dict[tuple[str, str], None] = {}
        lost: dict[str, str] = {}
        others: set[str] = set()
        for issue in verdict.issues:
            seen.add((issue.code, issue.level, issue.detail or ""))
            if issue.code in _LABEL_CODES and issue.label is not None:
                lost.setdefault(issue.label, issue.code)
            elif issue.code == "not_a_caption" and issue.detail in _UNREAD:
                lost = dict.fromkeys(labels, "missing_label")
            if issue.level != "error":
                continue
            if (other := self._asserted(issue.code, issue.label, issue.text)) is not None and other not in labels:
                others.add(other)
            if issue.code == "unsupported_finding" and issue.text:
                counts.unsupported.add(issue.text.casefold()[:60])
            elif issue.code == "hedged_label" and issue.cue:
                counts.hedges.add(judged.text[slice(*issue.cue)].casefold()[:60])
            for label in (issue.label,) if issue.label in labels else labels:
                cells[issue.code, str(label)] = None
        for key in seen:
            counts.issues[key] += 1
        for label in labels:
            if label in lost:
                counts.unasserted[label, lost[label]] += 1
            else:
                counts.asserted[label] += 1
            for other in others:
                counts.spurious[label, other] += 1
        for other in others:
            counts.asserted[other] += 1
        for code, label in cells:
            counts.cells[code, label] += 1
        for code in {code for code, _ in cells}:
            counts.errors[code] += 1
            for dimension, value in judged.groups:
                counts.group_issues[dimension, value, code] += 1
        if self.settings.listed and not verdict.agrees:
            counts.listed.append(_listed(judged, lost, others))
        return list(cells) or [("agree", labels[0])]

    def _asserted(self, code: str, label: str | None, text: str | None) -> str | None:
        """Return the class that an issue says is asserted without being a label."""
        if code == "extra_label":
            return label
        if code == "wrong_grade" and text:
            found = self.schema.find(text)
            return found.code if found else None
        return None

    def _keep(self, counts: Counts, judged: Judged, cells: Sequence[tuple[str, str]]) -> None:
        """Keep the caption, if chance wants it, as an example of its cells and for human review."""
        rank = hash64(f"{judged.row.file}\0{judged.row.place}\0{judged.text}")
        stratum = cells[0]
        review = bool(self.settings.review)
        if review:
            counts.strata[stratum] += 1
        wanted = [c for c in cells if counts.examples.wants(c, rank)]
        if not wanted and not (review and (counts.drawn.wants("", rank) or counts.stratified.wants(stratum, rank))):
            return
        example = judged.example(rank)
        for cell in wanted:
            counts.examples.add(cell, rank, example)
        if review:
            counts.drawn.add("", rank, example)
            counts.stratified.add(stratum, rank, example)

    def _words(self, counts: Counts, text: str, rank: int) -> frozenset[str]:
        """Count a caption's words; return them."""
        words = words_of(text)
        counts.texts_seen.add((rank,))
        counts.lengths[min(len(words), LONGEST)] += 1
        counts.words += len(words)
        counts.bigrams += max(0, len(words) - 1)
        found = frozenset(words)
        new = found - counts.vocabulary
        counts.vocabulary |= new
        counts.unigrams_seen.add(map(hash64, new))
        pairs = set(pairwise(words)) - self._pairs
        self._pairs |= pairs
        counts.bigrams_seen.add([hash64(f"{a} {b}") for a, b in pairs])
        if len(words) >= _OPENING:
            counts.openings.add(" ".join(opening(words, _OPENING)))
        return found


def _listed(judged: Judged, unasserted: Iterable[str], asserted: Iterable[str]) -> Listed:
    """Return the row of a caption that disagrees."""
    row, wrong = judged.row, [i for i in judged.verdict.issues if i.level == "error"]
    lost = set(unasserted)
    return Listed(
        file=row.file,
        place=row.place,
        key=row.key,
        labels="|".join(judged.labels),
        unasserted="|".join(label for label in judged.labels if label in lost),
        asserted="|".join(sorted(asserted)),
        codes="|".join(dict.fromkeys(f"{i.code}.{i.detail}" if i.detail else i.code for i in wrong)),
        words="|".join(dict.fromkeys(i.text for i in wrong if i.text)),
        caption=judged.text,
    )


def _similarity(counts: Counts, sets: Sequence[frozenset[str]]) -> None:
    """Count how alike the captions of a set are."""
    mean = self_similarity(sets)
    if not math.isnan(mean):
        counts.sets += 1
        counts.similarity_sum += mean
        counts.similarity[min(BINS - 1, int(mean * BINS))] += 1
