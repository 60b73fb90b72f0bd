"""Other tools that say how a mention is meant, handed the same mentions: medspaCy's ConText, negspacy and NegEx.

None is a dependency. medspaCy and negspacy are used where they are installed (``pip install medspacy negspacy``, best in an
environment of their own, from which the benchmark is then run with this project on the path); NegEx where its folder is
given, ``negex.python`` of https://github.com/chapmanbe/negex with ``negex.py`` and ``negex_triggers.txt``.

A mention is a range of characters that our matcher found, so that every tool judges the same ones: what differs is the
reading of what stands around them.
"""

import contextlib
import importlib
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Span = tuple[int, int]
Meant = str
"""``affirmed``, ``negated``, ``uncertain``, or ``other`` (history, family, hypothetical)."""

Judge = Callable[[str, Sequence[Span]], list[Meant]]
"""Says of each mention of a text how it is meant."""

_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")


def medspacy_context() -> Judge | None:
    """Return medspaCy's sentence splitter and ConText with their own rules (Eyre et al. 2021, AMIA); None if not installed."""
    warnings.simplefilter("ignore")
    try:
        import medspacy
    except ImportError:
        return None
    with contextlib.suppress(ImportError):
        from loguru import logger

        logger.remove()  # the sentence splitter logs every decision otherwise
    nlp: Any = medspacy.load(enable=["medspacy_pyrush", "medspacy_context"])

    def judge(text: str, spans: Sequence[Span]) -> list[Meant]:
        found = _entities(nlp, text, spans)
        return [
            "affirmed"
            if e is None
            else "negated"
            if e._.is_negated
            else "uncertain"
            if e._.is_uncertain
            else "other"
            if e._.is_historical or e._.is_hypothetical or e._.is_family
            else "affirmed"
            for e in found
        ]

    return judge


def negspacy(terms: str = "en_clinical") -> Judge | None:
    """Return negspacy with one of its lists of terms; None if it is not installed. It knows denials alone."""
    warnings.simplefilter("ignore")
    try:
        import spacy
        from negspacy.termsets import termset
    except ImportError:
        return None
    importlib.import_module("negspacy.negation")
    nlp: Any = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    nlp.add_pipe("negex", config={"neg_termset": termset(terms).get_patterns()})

    def judge(text: str, spans: Sequence[Span]) -> list[Meant]:
        return ["negated" if e is not None and e._.negex else "affirmed" for e in _entities(nlp, text, spans)]

    return judge


def negex(folder: Path | None) -> Judge | None:
    """Return NegEx as its authors published it in Python (Chapman et al. 2001); None without its folder.

    Its tags for what is possible cannot be run (they fail in the published code), so it knows denials alone.
    """
    if folder is None or not (folder / "negex.py").is_file():
        return None
    sys.path.insert(0, str(folder))
    module: Any = importlib.import_module("negex")
    rules = module.sortRules((folder / "negex_triggers.txt").read_text(encoding="utf-8").splitlines())

    def judge(text: str, spans: Sequence[Span]) -> list[Meant]:
        cuts = [0, *(m.end() for m in _SENTENCE.finditer(text)), len(text)]
        meant = []
        for start, end in spans:
            lo = max(c for c in cuts if c <= start)
            hi = min(c for c in cuts if c >= end)
            tagger = module.negTagger(sentence=text[lo:hi], phrases=[text[start:end]], rules=rules, negP=False)
            meant.append("negated" if tagger.getNegationFlag() == "negated" else "affirmed")
        return meant

    return judge


def _entities(nlp: Any, text: str, spans: Sequence[Span]) -> list[Any]:
    """Return the entities of a text that a pipeline has judged, one for each span; None for what has no tokens."""
    doc = nlp.make_doc(text)
    entities = []
    last = -1
    for start, end in spans:
        entity = doc.char_span(start, end, label="FINDING", alignment_mode="expand")
        if entity is None or entity.start < last:
            entities.append(None)
            continue
        last = entity.end
        entities.append(entity)
    doc.ents = [e for e in entities if e is not None]
    doc = nlp(doc)
    judged = {(e.start, e.end): e for e in doc.ents}
    return [None if e is None else judged.get((e.start, e.end)) for e in entities]


def all_of(negex_folder: Path | None) -> dict[str, Judge | None]:
    """Return every tool by its name; None for one that is not there."""
    return {"NegEx": negex(negex_folder), "negspacy": negspacy(), "medspaCy ConText": medspacy_context()}
