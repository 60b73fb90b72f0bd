"""How often the check is right.

Always: truth by construction (every built-in caption under its own labels and under others, for every schema).
With files that you bring (none are shipped):

    python -m benchmarks.agreement_accuracy [--gold FILE …] [--negex FILE] [--negex-tool FOLDER]

``--gold``: JSONL with schema, labels, caption, verdict ('agree' or 'disagree') and errors (acceptable codes).
``--negex``: the NegEx test corpus, tab-separated (number, phrase, sentence, Negated or Affirmed), as in
rsAnnotations-1-120-random.txt of https://github.com/chapmanbe/negex (Chapman et al. 2001). Polarity of the marked phrase,
beside the tools of :mod:`benchmarks._peers`; ``--negex-tool`` is the folder negex.python of the same repository.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks import _peers as peers
from captioner import resources
from captioner.agreement import Checker, lexicon, matcher, scope
from captioner.agreement import vocabulary as vb
from captioner.agreement.tokens import phrase, tokenize
from captioner.schema import load_schema
from captioner.triplets import Labels, make_triplet
from captioner.writer import write_captions


def own_captions() -> None:
    """Label swap and self-agreement on captions of the built-in writer."""
    print(f"{'schema':18} {'classes':>7} {'own captions agree':>20} {'others fail':>20}")
    for name in resources.names("label_schemas"):
        schema = load_schema(name)
        checker = Checker(schema)
        meanings = [m for m in checker.vocabulary.meanings if m.code is not None]
        agree = total = caught = pairs = 0
        for k, item in enumerate(schema.classes):
            captions = write_captions(schema, make_triplet(schema, Labels((item.code,))), 5)
            agree += sum(checker.check(c, [item.code]).agrees for c in captions)
            total += len(captions)
            mine = meanings[k]
            for j, theirs in enumerate(meanings):
                same = mine.concept is not None and (mine.concept, mine.anatomy) == (theirs.concept, theirs.anatomy)
                if j in mine.implies or same or (mine.kind == "normal" and theirs.kind == "absence"):
                    continue
                pairs += 1
                caught += not checker.check(captions[j % len(captions)], [theirs.code or ""]).agrees
        share = 100 * caught / pairs if pairs else 100.0
        print(f"{name:18} {len(meanings):7} {agree:12} / {total:5} {share:13.2f} % of {pairs}")


def gold(path: Path) -> None:
    """Verdicts and codes against a file of gold verdicts."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    checkers = {name: Checker(load_schema(name)) for name in {r["schema"] for r in rows}}
    counts: Counter[str] = Counter()
    for row in rows:
        verdict = checkers[row["schema"]].check(row["caption"], row["labels"])
        right = verdict.verdict == row["verdict"]
        counts["right"] += right
        counts["passed"] += not right and verdict.agrees
        counts["refused"] += not right and not verdict.agrees
        if right and not verdict.agrees and row.get("errors"):
            counts["coded"] += 1
            counts["code"] += bool({i.code for i in verdict.issues if i.level == "error"} & set(row["errors"]))
    print(
        f"{path.name}: verdicts {counts['right'] / len(rows):.4f} of {len(rows)} (wrong captions passed {counts['passed']}, "
        f"right captions refused {counts['refused']}), an acceptable code {counts['code'] / max(1, counts['coded']):.3f}"
    )


def _cues() -> tuple[vb.Node, list[int]]:
    trie = vb.Node()
    kinds: list[int] = []
    for kind, text in lexicon.CUES.items():
        for wording in text.split("|"):
            vb.insert(trie, phrase(wording.strip()), (vb.CUE, len(kinds), False))
            kinds.append(kind)
    return trie, kinds


def _negex_rows(path: Path) -> Iterator[tuple[str, str, bool]]:
    for line in path.read_text(encoding="latin-1").splitlines():
        cells = [c.strip().strip('"') for c in line.split("\t")]
        if len(cells) > 3 and cells[3] in ("Negated", "Affirmed"):
            yield cells[1], cells[2], cells[3] == "Negated"


def negex(path: Path, folder: Path | None) -> None:
    """Polarity on the NegEx corpus: the scope machine alone, and other tools on the same phrases."""
    trie, kinds = _cues()
    tools = peers.all_of(folder)
    counts: dict[str, Counter[tuple[bool, bool]]] = {name: Counter() for name in (*tools, "captioner")}
    for concept, sentence, truth in _negex_rows(path):
        tokens = tokenize(sentence)
        words = list(phrase(concept))
        size = len(words)
        places = [i for i in range(len(tokens) - size + 1) if tokens.words[i : i + size] == words]
        cues = matcher.match(tokens, trie)[0][vb.CUE]
        cues = [c for c in cues if not any(p <= c[0] and c[1] <= p + size for p in places)]
        status = scope.resolve(tokens, cues, kinds).status
        said = any(max(status[p : p + size], default=0) == lexicon.NEGATED for p in places)
        counts["captioner"][said, truth] += 1
        spans = [(tokens.starts[p], tokens.ends[p + size - 1]) for p in places]
        for name, judge in tools.items():
            if judge is not None:
                counts[name]["negated" in judge(sentence, spans), truth] += 1
    print(f"{path.name}: {counts['captioner'].total()} phrases\n{'':18} {'precision':>9} {'recall':>7} {'F1':>7}")
    for name, found in counts.items():
        if not found:
            print(f"{name:18} not installed or not given")
            continue
        hit, false, missed = found[True, True], found[True, False], found[False, True]
        precision, recall = hit / max(1, hit + false), hit / max(1, hit + missed)
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        print(f"{name:18} {precision:9.3f} {recall:7.3f} {f1:7.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, nargs="*", default=[])
    parser.add_argument("--negex", type=Path)
    parser.add_argument("--negex-tool", type=Path)
    options = parser.parse_args()
    own_captions()
    for path in options.gold:
        gold(path)
    if options.negex:
        negex(options.negex, options.negex_tool)


if __name__ == "__main__":
    main()
