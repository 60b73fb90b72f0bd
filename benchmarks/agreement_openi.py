"""Findings read in whole chest reports against NegBio's gold labels of the OpenI reports, beside other tools.

Neither is shipped. Bring the reports as one table (``uid``, ``findings``, ``impression``; the collection of Indiana
University, Demner-Fushman et al. 2016, JAMIA 23:304-310) and ``openi_gld_std14.csv`` of https://github.com/ncbi-nlp/NegBio
(Peng et al. 2018, AMIA Joint Summits):

    python -m benchmarks.agreement_openi REPORTS.csv openi_gld_std14.csv [--negex FOLDER]

The vocabulary is the ``chestxray14`` schema's, 13 findings (of hernia the gold labels hold no case). Every tool judges the
same mentions, those wordings in one piece, and says of each how it is meant; see :mod:`benchmarks._peers`. The last
line is our reading as it is, with mentions in several pieces ("the heart is mildly enlarged").

One rule for all says what counts as present: a finding of which at least one mention is neither denied nor open nor of
another time or person. Open is what the publishers of the gold labels call uncertain (``negbio/patterns/
uncertainty_patterns.txt``: possible, may, suspected, cannot exclude …); alternatives ("atelectasis or scar", "versus") and
"borderline" are not among them, and the gold labels count them as present. The second figure of each line counts these as
absent. Reports are no captions: this measures the reading of polarity and wordings, not verdicts.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

from benchmarks import _peers as peers
from captioner.agreement import Checker, lexicon
from captioner.agreement.reader import Mention, Reading, read
from captioner.agreement.tokens import tokenize
from captioner.schema import load_schema

OURS = "captioner"
WHOLE = "captioner, all it reads"
_NOT_OPEN = frozenset(("versus", "and/or", "borderline", "is borderline"))
"""What leaves a choice or a degree open, but not, to the annotators, whether something is there."""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def meant(reading: Reading, mention: Mention) -> peers.Meant:
    """Return how our reading takes a mention; ``alternative`` for what only leaves a choice or a degree open."""
    if mention.status == lexicon.HEDGED:
        cue = reading.cue_span(mention.cue)
        text = reading.tokens.text[slice(*cue)].casefold() if cue else "versus"
        return "alternative" if text in _NOT_OPEN else "uncertain"
    return {lexicon.AFFIRMED: "affirmed", lexicon.NEGATED: "negated"}.get(mention.status, "other")


class Score:
    """Hits and misses of one tool, by finding."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}

    def add(self, name: str, *, true: bool, said: bool) -> None:
        what = "hit" if true and said else "missed" if true else "false" if said else "none"
        self.counts.setdefault(name, Counter())[what] += 1

    def of(self, name: str | None = None) -> tuple[float, float, float]:
        """Return precision, recall and F1 of a finding, or of all together."""
        c = self.counts[name] if name else sum(self.counts.values(), Counter())
        precision, recall = c["hit"] / max(1, c["hit"] + c["false"]), c["hit"] / max(1, c["hit"] + c["missed"])
        return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="?")
    parser.add_argument("gold", type=Path, nargs="?")
    parser.add_argument("--negex", type=Path, help="folder negex.python of chapmanbe/negex")
    options = parser.parse_args()
    if options.reports is None or options.gold is None:
        print("no reports and gold labels given: nothing to do")
        return
    checker = Checker(load_schema("chestxray14"))
    meanings = checker.vocabulary.meanings
    texts = {f"CXR{r['uid']}": f"{r['findings']}\n{r['impression']}" for r in rows(options.reports)}
    gold = [r for r in rows(options.gold) if r["filename"] in texts]
    findings = {
        name: checker.schema.resolve(name).code for name in gold[0] if name not in ("filename", "normal", "Hernia")
    }
    tools = peers.all_of(options.negex)
    scores = {name: (Score(), Score()) for name in (*tools, OURS, WHOLE)}

    def codes(mention: Mention) -> set[str]:
        return {c for i in mention.meanings for j in meanings[i].implies if (c := meanings[j].code) is not None}

    for row in gold:
        text = texts[row["filename"]]
        reading = read(tokenize(text), checker.vocabulary)
        plain = [m for m in reading.mentions if m.meanings and m.gap is None and not m.denial and not m.graded]
        spans = [reading.span(m.start, m.end) for m in plain]
        said = {name: list(zip(plain, judge(text, spans), strict=True)) for name, judge in tools.items() if judge}
        said[OURS] = [(m, meant(reading, m)) for m in plain]
        said[WHOLE] = [(m, meant(reading, m)) for m in reading.mentions if m.meanings]
        for tool, judged in said.items():
            sure = {c for m, how in judged if how == "affirmed" for c in codes(m)}
            wide = sure | {c for m, how in judged if how == "alternative" for c in codes(m)}
            for name, code in findings.items():
                for score, present in zip(scores[tool], (wide, sure), strict=True):
                    score.add(name, true=row[name] == "1", said=code in present)
    print(f"{len(gold)} reports, {sum(row[n] == '1' for row in gold for n in findings)} findings that are there\n")
    print(f"{'micro-average':24} {'precision':>9} {'recall':>7} {'F1':>7}   F1 with alternatives absent")
    for tool, (wide_score, sure_score) in scores.items():
        if tool in tools and tools[tool] is None:
            print(f"{tool:24} not installed or not given")
            continue
        precision, recall, f1 = wide_score.of()
        print(f"{tool:24} {precision:9.3f} {recall:7.3f} {f1:7.3f}   {sure_score.of()[2]:.3f}")
    print(f"\n{'F1 of ' + WHOLE:32} {'positive':>9}")
    for name in findings:
        there = sum(row[name] == "1" for row in gold)
        print(f"{name:32} {there:9} {scores[WHOLE][0].of(name)[2]:.3f}")


if __name__ == "__main__":
    main()
