"""Counts → figures: shares with intervals, as tables."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from captioner.audit.counts import BINS, Counts
from captioner.audit.rows import GROUPS
from captioner.audit.statistics import wilson
from captioner.schema import LabelSchema

_RATE = ("captions", "agree", "share", "low", "high")


def _rated(keys: Mapping[Any, tuple[Any, ...]], total: Mapping[Any, int], hits: Mapping[Any, int]) -> list[list[Any]]:
    rows = []
    for key, cells in keys.items():
        rate = wilson(hits.get(key, 0), total[key])
        rows.append([*cells, rate.total, rate.hits, rate.share, rate.low, rate.high])
    return rows


def by_class(counts: Counts, schema: LabelSchema) -> pd.DataFrame:
    """Return agreement of the captions of each class: a row a class that has captions, in the schema's order."""
    keys = {c: (c, schema[c].name) for c in schema.codes if counts.classes.get(c)}
    return pd.DataFrame(_rated(keys, counts.classes, counts.classes_agreeing), columns=["class", "name", *_RATE])


def by_combination(counts: Counts) -> pd.DataFrame:
    """Return agreement of the captions of each combination of labels, the most frequent first."""
    keys = {labels: ("|".join(labels),) for labels, _ in counts.combinations.most_common(1000)}
    return pd.DataFrame(_rated(keys, counts.combinations, counts.combinations_agreeing), columns=["labels", *_RATE])


def by_group(counts: Counts) -> pd.DataFrame:
    """Return agreement by split, run, prompt, engine and source, as far as they are known."""
    order = sorted(counts.groups, key=lambda g: (GROUPS.index(g[0]), -counts.groups[g], g[1]))
    rows = _rated({g: g for g in order}, counts.groups, counts.groups_agreeing)
    return pd.DataFrame(rows, columns=["dimension", "value", *_RATE])


def issues(counts: Counts) -> pd.DataFrame:
    """Return how many captions have each kind of issue (a caption counts once for each), the most frequent first."""
    rows = []
    for (code, level, detail), number in sorted(counts.issues.items(), key=lambda i: (-i[1], i[0])):
        rate = wilson(number, counts.captions)
        rows.append([code, level, detail, number, rate.share, rate.low, rate.high])
    return pd.DataFrame(rows, columns=["code", "level", "detail", "captions", "share", "low", "high"])


def codes(counts: Counts) -> pd.DataFrame:
    """Return how many captions have at least one error of each code, the most frequent first."""
    rows = []
    for code, number in sorted(counts.errors.items(), key=lambda i: (-i[1], i[0])):
        rate = wilson(number, counts.captions)
        rows.append([code, number, rate.share, rate.low, rate.high])
    return pd.DataFrame(rows, columns=["code", "captions", "share", "low", "high"])


def heat_map(counts: Counts, schema: LabelSchema) -> pd.DataFrame:
    """Return the number of captions with an error, class by code; classes in the schema's order, codes by frequency.

    A caption counts in the row of the label that an issue is about, or of all its labels where it is about none of them.
    """
    codes: dict[str, int] = {}
    for (code, _), number in counts.cells.items():
        codes[code] = codes.get(code, 0) + number
    columns = sorted(codes, key=lambda c: (-codes[c], c))
    classes = [c for c in schema.codes if counts.classes.get(c)]
    data = [[counts.cells.get((code, c), 0) for code in columns] for c in classes]
    return pd.DataFrame(data, index=pd.Index(classes, name="class"), columns=pd.Index(columns, name="code"))


def coverage(counts: Counts, schema: LabelSchema) -> pd.DataFrame:
    """Return how often captions assert each positive label, and how they fail to."""
    rows = []
    for code in schema.codes:
        total = counts.classes.get(code, 0)
        if not total:
            continue
        lost = [counts.unasserted.get((code, c), 0) for c in ("missing_label", "negated_label", "hedged_label")]
        rate = wilson(total - sum(lost), total)
        rows.append([code, total, rate.hits, rate.share, rate.low, rate.high, *lost])
    columns = ["class", "captions", "asserted", "share", "low", "high", "missing", "negated", "hedged"]
    return pd.DataFrame(rows, columns=columns)


def spurious(counts: Counts, schema: LabelSchema) -> pd.DataFrame:
    """Return how many captions of a class assert another one that is no label of theirs: class by asserted class."""
    rows = [c for c in schema.codes if any(k[0] == c for k in counts.spurious)]
    columns = [c for c in schema.codes if any(k[1] == c for k in counts.spurious)]
    data = [[counts.spurious.get((r, c), 0) for c in columns] for r in rows]
    return pd.DataFrame(data, index=pd.Index(rows, name="class"), columns=pd.Index(columns, name="asserted"))


def frequencies(counts: Counts, schema: LabelSchema) -> pd.DataFrame:
    """Return how frequent each class is among images, among captions, and in what captions say."""
    rows = []
    for code in schema.codes:
        images, captions = counts.class_images.get(code, 0), counts.classes.get(code, 0)
        asserted = counts.asserted.get(code, 0)
        if images or asserted:
            rows.append(
                [
                    *(code, images, captions, asserted),
                    *(_part(images, counts.images), _part(captions, counts.captions), _part(asserted, counts.captions)),
                ]
            )
    columns = ["class", "images", "captions", "asserted", "share_of_images", "share_of_captions", "share_asserted"]
    return pd.DataFrame(rows, columns=columns)


def lengths(counts: Counts) -> pd.DataFrame:
    """Return how many captions have each number of words; the last row stands for all longer ones, too."""
    return pd.DataFrame(sorted(counts.lengths.items()), columns=["words", "captions"])


def openings(counts: Counts) -> pd.DataFrame:
    """Return the most frequent first five words."""
    return _most(counts.openings.counts.most_common(30), "opening", counts.captions)


def unsupported(counts: Counts) -> pd.DataFrame:
    """Return the most frequent wordings of findings that no label holds."""
    return _most(counts.unsupported.counts.most_common(30), "wording", counts.captions)


def hedges(counts: Counts) -> pd.DataFrame:
    """Return the most frequent words that make a label only possible."""
    return _most(counts.hedges.counts.most_common(30), "wording", counts.captions)


def _most(items: Iterable[tuple[str, int]], name: str, total: int) -> pd.DataFrame:
    rows = [[text, number, _part(number, total)] for text, number in items]
    return pd.DataFrame(rows, columns=[name, "captions", "share"])


def duplicates(counts: Counts) -> pd.DataFrame:
    """Return texts that stand under different labels, those under the most first."""
    found = sorted(counts.clashes.found.values(), key=lambda f: (-len(f[1]), -f[1].total(), f[0]))
    rows = [
        [text, len(owners), owners.total(), " / ".join("|".join(o) for o, _ in owners.most_common(8))]  # type: ignore[arg-type]
        for text, owners in found[:200]
    ]
    return pd.DataFrame(rows, columns=["caption", "label_sets", "captions", "labels"])


def vocabulary(counts: Counts) -> pd.DataFrame:
    """Return how many different words there are in the first so many captions."""
    return pd.DataFrame(counts.growth, columns=["captions", "words"])


def similarity(counts: Counts) -> pd.DataFrame:
    """Return the distribution of self-similarity: sets by the mean overlap (Jaccard) of the words of two of their captions."""
    rows = [[i / BINS, (i + 1) / BINS, counts.similarity.get(i, 0)] for i in range(BINS)]
    return pd.DataFrame(rows, columns=["from", "to", "sets"])


def group_issues(counts: Counts) -> pd.DataFrame:
    """Return how many captions of each split, run, prompt, engine and source have each error."""
    order = sorted(counts.group_issues.items(), key=lambda i: (GROUPS.index(i[0][0]), i[0][1], -i[1], i[0][2]))
    rows = [[*key, number, number / counts.groups[key[:2]]] for key, number in order]
    return pd.DataFrame(rows, columns=["dimension", "value", "code", "captions", "share"])


def diversity(counts: Counts) -> dict[str, float]:
    """Return figures of how varied the captions are.

    ``distinct_1`` and ``distinct_2``: different words and pairs of words as a share of all (Li et al. 2016, NAACL).
    ``distinct_captions``: different texts as a share of all. ``self_similarity``: the mean, over sets, of the mean overlap
    of two captions' words. ``words``: mean length. Values that there is nothing to make of are not numbers.
    """
    clashes = counts.clashes
    total = sum(k * v for k, v in counts.lengths.items())
    return {
        "words": _part(total, counts.captions),
        "distinct_1": _part(counts.unigrams_seen.count(), counts.words),
        "distinct_2": _part(counts.bigrams_seen.count(), counts.bigrams),
        "distinct_captions": _part(counts.texts_seen.count(), counts.captions),
        "self_similarity": counts.similarity_sum / counts.sets if counts.sets else math.nan,
        "texts_under_several_labels": _part(len(clashes.found), clashes.followed),
    }


def _part(number: float, total: float) -> float:
    return number / total if total else math.nan
