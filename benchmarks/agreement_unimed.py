"""What the check says of the published RadImageNet captions of UniMed-CLIP, class by class.

The captions are not shipped. Bring the file ``constants.py`` of https://github.com/mbzuai-oryx/UniMed-CLIP (Khattak et al.
2024, arXiv:2412.10372); it is read as data, never run:

    python -m benchmarks.agreement_unimed PATH/constants.py [--sample N] [--seed S]

Prints each class with how many of its captions disagree and why, the totals by code, and, with ``--sample``, refused
captions drawn at random, for a person to read and to say of each whether it was refused rightly.
"""

import argparse
import random
from collections import Counter
from pathlib import Path

from captioner.agreement import Checker, Verdict
from captioner.audit.literals import class_of, dictionaries
from captioner.schema import load_schema

NAME = "radimagenet_all_prompts"
CLASSES_WITHOUT_LABEL = ("last",)
"""Entries of the file that stand for no class."""


def errors(verdict: Verdict) -> list[str]:
    return [f"{i.code}{f' ({i.detail})' if i.detail else ''}" for i in verdict.issues if i.level == "error"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("constants", type=Path, nargs="?")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.constants is None:
        print("no constants.py of UniMed-CLIP given: nothing to do")
        return
    checker = Checker(load_schema("radimagenet"))
    refused: list[tuple[str, str, Verdict]] = []
    totals: Counter[str] = Counter()
    arrhythmia: Counter[bool] = Counter()
    total = 0
    found = dictionaries(options.constants)
    if NAME not in found:
        raise SystemExit(f"{options.constants}: no assignment to {NAME}; is it the constants.py of UniMed-CLIP?")
    for entry in found[NAME]:
        label = class_of(checker.schema, entry.key)
        if label is None:
            if entry.key not in CLASSES_WITHOUT_LABEL:
                print(f"{entry.key!r}: no such class")
            continue
        code, captions = label.code, list[str](entry.value)
        verdicts = [(c, checker.check(c, [code])) for c in captions]
        wrong = [(code, c, v) for c, v in verdicts if not v.agrees]
        for caption, verdict in verdicts:
            if "atrial fib" in caption.casefold():
                arrhythmia[verdict.agrees] += 1
        refused += wrong
        total += len(captions)
        why = Counter(e for _, _, v in wrong for e in set(errors(v)))
        totals.update(why)
        if wrong:
            reasons = ", ".join(f"{e} {n}" for e, n in why.most_common())
            print(f"{code:32} {len(wrong):3} of {len(captions)} disagree: {reasons}")
    print(f"\n{len(refused)} of {total} captions disagree; by code: {dict(totals.most_common())}")
    print(f"'atrial fibrillation', however spelt: {arrhythmia[False]} refused, {arrhythmia[True]} passed")
    for code, caption, verdict in random.Random(options.seed).sample(refused, min(options.sample, len(refused))):
        spans = "; ".join(f"{i.code}: {i.text or '-'}" for i in verdict.issues if i.level == "error")
        print(f"{code} | {caption} | {spans}")


if __name__ == "__main__":
    main()
