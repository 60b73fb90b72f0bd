"""Findings that the check reads in whole chest reports, against NegBio's gold labels of the OpenI reports.

Neither is shipped. Bring the reports as one table (``uid``, ``findings``, ``impression``; the collection of Indiana
University, Demner-Fushman et al. 2016, JAMIA 23:304-310) and ``openi_gld_std14.csv`` of https://github.com/ncbi-nlp/NegBio
(Peng et al. 2018, AMIA Joint Summits):

    python -m benchmarks.agreement_openi REPORTS.csv openi_gld_std14.csv

A finding counts as present where a report affirms it at least once, or names it as one of two readings ("atelectasis or
scar", "atelectasis versus infiltrate"), which the gold labels do too, other than what only "may be". Reports are no captions: this measures the reading of
polarity and wordings, not verdicts. Prints precision, recall and F1 of each finding and their micro-average, with all 14
and without hernia, of which the gold labels hold no case; the latter also for what is affirmed alone.
"""

import argparse
import csv
from collections import Counter
from pathlib import Path

from captioner.agreement import Checker, lexicon
from captioner.agreement.reader import read
from captioner.agreement.tokens import tokenize
from captioner.schema import load_schema


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def found(checker: Checker, text: str, *, alternatives: bool) -> set[str]:
    """Return the codes of the classes that a text affirms or names as one of two, with what they imply."""
    meanings, kinds = checker.vocabulary.meanings, checker.vocabulary.cues
    said: set[str] = set()
    reading = read(tokenize(text), checker.vocabulary)
    cues = reading.scopes.cues
    for mention in reading.mentions:
        one_of_two = mention.status == lexicon.HEDGED and (
            mention.cue < 0 or kinds[cues[mention.cue][2]] == lexicon.HEDGE_BOTH
        )
        if mention.status == lexicon.AFFIRMED or (alternatives and one_of_two):
            for index in mention.meanings:
                said |= {code for i in meanings[index].implies if (code := meanings[i].code) is not None}
    return said


def score(counts: Counter[str]) -> str:
    hit, false, missed = counts["hit"], counts["false"], counts["missed"]
    precision, recall = hit / max(1, hit + false), hit / max(1, hit + missed)
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return f"{hit + missed:5} positive, precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="?")
    parser.add_argument("gold", type=Path, nargs="?")
    options = parser.parse_args()
    if options.reports is None or options.gold is None:
        print("no reports and gold labels given: nothing to do")
        return
    checker = Checker(load_schema("chestxray14"))
    texts = {f"CXR{r['uid']}": f"{r['findings']}\n{r['impression']}" for r in rows(options.reports)}
    gold = [r for r in rows(options.gold) if r["filename"] in texts]
    codes = {name: checker.schema.resolve(name).code for name in gold[0] if name not in ("filename", "normal")}
    print(f"{len(gold)} reports")
    for alternatives in (True, False):
        counts: dict[str, Counter[str]] = {name: Counter() for name in codes}
        for row in gold:
            said = found(checker, texts[row["filename"]], alternatives=alternatives)
            for name, code in codes.items():
                true, mine = row[name] == "1", code in said
                counts[name]["hit" if true and mine else "missed" if true else "false" if mine else "none"] += 1
        thirteen = sum((c for n, c in counts.items() if n != "Hernia"), Counter())
        if alternatives:
            for name, count in counts.items():
                print(f"{name:20} {score(count)}")
            print(f"{'micro, 14':20} {score(sum(counts.values(), Counter()))}")
            print(f"{'micro, 13':20} {score(thirteen)}")
        else:
            print(f"{'affirmed alone, 13':20} {score(thirteen)}")


if __name__ == "__main__":
    main()
