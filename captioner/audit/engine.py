"""From a target to its audit."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from captioner import atomic
from captioner.audit import figures
from captioner.audit.counts import Counts, Example, Listed, Settings, allow_key
from captioner.audit.result import Audit
from captioner.audit.rows import Columns, harmless
from captioner.audit.statistics import sample_size, wilson
from captioner.audit.targets import Target, open_target
from captioner.audit.workers import judge_all
from captioner.captions_file import parse_labels, read_rows
from captioner.errors import SchemaError, UsageError
from captioner.schema import LabelSchema, load_schema
from captioner.storage import Place, place


def audit(
    target: Place | str,
    schema: LabelSchema | str,
    *,
    columns: Columns | None = None,
    labels: Path | str | None = None,
    images: Path | str | None = None,
    strict: bool = False,
    processes: int | None = None,
    examples: int = 3,
    review: float | None = None,
    allow: Path | str | None = None,
    disagreements: Path | str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Audit:
    """Judge every caption of a target and return the figures. Memory does not grow with the number of captions.

    Args:
        target: a run's folder, an output folder, a folder of shards or tables, a Hugging Face dataset on disk, or a file
            (tar, CSV, TSV, JSONL, Parquet, Arrow); of runs, output folders and shards also the URL.
        schema: a label schema, or the name or path of one.
        columns: which column of a table holds what; what is left out is guessed.
        labels: a table of labels by key, for shards that hold captions alone.
        images: the folder of the image shards, or the folder that the paths in a table start from; found by itself for
            runs.
        strict: let the first row that cannot be audited end it.
        processes: how many judge at once; as many as there are cores if left out.
        examples: captions to keep for each code and class.
        review: half the width of the 95 % interval that a human review shall reach (0.05); draws its sample.
        allow: JSONL with ``labels`` and ``caption`` that people have accepted: these agree, whatever the rules say.
        disagreements: a CSV to write with a row for each caption that disagrees, see
            :class:`captioner.audit.counts.Listed`; it appears whole or not at all.
        progress: called now and then with the number of captions judged so far.

    Raises:
        UsageError: there is nothing to audit, a column is missing, or (strict) a row cannot be used.
        SchemaError: the schema is not valid.
    """
    loaded = load_schema(schema) if isinstance(schema, str) else schema
    found = open_target(
        place(target),
        loaded,
        columns=columns,
        labels=None if labels is None else Path(labels),
        images=None if images is None else Path(images),
    )
    # The whole is not known before it was read: the sample is drawn for as many captions as it could take.
    settings = Settings(
        examples=examples,
        review=sample_size(review, 1 << 62) if review else 0,
        allowed=_allowed(Path(allow), loaded) if allow is not None else frozenset(),
        listed=disagreements is not None,
    )
    counts = Counts(settings)
    with _listing(disagreements) as write:
        for part in judge_all(found.rows, loaded, settings, processes):
            if strict and part.bad:
                raise UsageError(f"{part.bad[0]} (--strict)")
            write(part.listed)
            counts.merge(part)
            if progress is not None:
                progress(counts.captions)
    return _result(found, loaded, counts, review)


@contextmanager
def _listing(path: Path | str | None) -> Iterator[Callable[[Iterable[Listed]], None]]:
    """Give what writes captions that disagree into a table."""
    if path is None:
        yield lambda _: None
        return
    with atomic.replacing(Path(path)) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="", write_through=True)
        try:
            table = csv.writer(text)
            table.writerow(Listed._fields)
            yield lambda rows: table.writerows(map(harmless, row) for row in rows)
        finally:
            text.detach()


def _allowed(path: Path, schema: LabelSchema) -> frozenset[int]:
    keys = set()
    for line, row in read_rows(path):
        try:
            keys.add(allow_key(str(row["caption"]), parse_labels(row["labels"], schema)))
        except (KeyError, SchemaError) as e:
            raise UsageError(f"{path}: row {line}: accepted captions need 'labels' and 'caption': {e}") from None
    return frozenset(keys)


def _result(target: Target, schema: LabelSchema, counts: Counts, review: float | None) -> Audit:
    return Audit(
        target=target.path,
        kind=target.kind,
        schema=schema.id,
        title=schema.title,
        checker=counts.version,
        rows=counts.rows,
        images=counts.images,
        captions=counts.captions,
        agreement=wilson(counts.agreeing, counts.captions),
        by_class=figures.by_class(counts, schema),
        by_combination=figures.by_combination(counts),
        by_group=figures.by_group(counts),
        codes=figures.codes(counts),
        issues=figures.issues(counts),
        group_issues=figures.group_issues(counts),
        heat_map=figures.heat_map(counts, schema),
        coverage=figures.coverage(counts, schema),
        spurious=figures.spurious(counts, schema),
        frequencies=figures.frequencies(counts, schema),
        lengths=figures.lengths(counts),
        similarity=figures.similarity(counts),
        vocabulary=figures.vocabulary(counts),
        openings=figures.openings(counts),
        duplicates=figures.duplicates(counts),
        unsupported=figures.unsupported(counts),
        hedges=figures.hedges(counts),
        diversity=figures.diversity(counts),
        problems=dict(counts.problems.most_common()),
        bad=tuple(counts.bad),
        names={c.code: c.name for c in schema.classes},
        examples=_examples(counts),
        sample=_sample(counts, review) if review else (),
        sample_error=review,
        facts=target.facts,
    )


def _examples(counts: Counts) -> tuple[tuple[str, str, Example], ...]:
    """Return examples by code and class, frequent cells first."""
    held = sorted(counts.examples.items(), key=lambda cell: (cell[0][0] == "agree", -counts.cells[cell[0]], cell[0]))
    return tuple((code, label, example) for (code, label), items in held for example in items)


def _sample(counts: Counts, error: float) -> tuple[tuple[Example, float], ...]:
    """Return the captions to review, each with the number of captions that it stands for.

    A simple random sample, topped up so that each stratum (code by class) has a few, and one at least where there are so
    many strata that the sample would become half as large again. Both are drawn by the same random order, so a stratum's
    share of the sample is a simple random sample of the stratum, and its weight is the stratum's size over the number drawn.
    """
    size = sample_size(error, counts.captions)
    random = {e.id: e for _, items in counts.drawn.items() for e in items[:size]}
    chosen = random
    for few in range(counts.settings.per_stratum, 0, -1):
        chosen = random | {e.id: e for _, items in counts.stratified.items() for e in items[:few]}
        if len(chosen) <= 1.5 * size:
            break
    strata: dict[tuple[str, str], list[Example]] = {}
    for example in chosen.values():
        strata.setdefault(stratum_of(example), []).append(example)
    weights = {stratum: counts.strata[stratum] / len(members) for stratum, members in strata.items()}
    # Identifiers are hashes: their order tells a reviewer nothing of what the checker said.
    return tuple((example, weights[stratum_of(example)]) for _, example in sorted(chosen.items()))


def stratum_of(example: Example) -> tuple[str, str]:
    """Return the code and class that a caption is drawn by: those of its first error."""
    for issue in example.issues:
        if issue["level"] == "error":
            return issue["code"], issue["label"] if issue["label"] in example.labels else example.labels[0]
    return "agree", example.labels[0]
