"""Words that neither the vocabulary nor ordinary language knows: a drug, a germ, a device, a place, a person's trade.

No list of what captions may invent is ever whole. What is whole is the vocabulary of what they may say.
"""

from collections.abc import Mapping

from captioner.agreement.judge import Judge
from captioner.agreement.tokens import tokenize

_FIX = "Say it in other words, or leave it out: the labels may not hold it."


def judge(j: Judge, attributes: Mapping[str, str]) -> None:
    """Note each run of unknown words.

    Args:
        j: takes the issues.
        attributes: the image's metadata, name → value, which a caption may state.
    """
    unknown = {w for w in j.reading.tokens.distinct - j.v.known if any(map(str.isalpha, w))}
    if not unknown:
        return
    words = j.reading.tokens.words
    strange = [i for i, word in enumerate(words) if word in unknown]
    stated = {word for value in attributes.values() for word in tokenize(value).words}
    noted = {i for span in _spans(j) for i in range(*span)}
    runs: list[list[int]] = []
    for i in strange:
        if words[i] in stated or i in noted:
            continue
        if runs and runs[-1][1] == i:
            runs[-1][1] = i + 1
        else:
            runs.append([i, i + 1])
    for start, end in runs:
        j.add("unknown_word", _FIX, tokens=(start, end), level="warning")


def _spans(j: Judge) -> list[tuple[int, int]]:
    """Return the ranges of tokens that another issue is about already."""
    tokens = j.reading.tokens
    found = []
    for issue in j.issues:
        if issue.span and issue.level == "error":
            inside = [i for i in range(len(tokens)) if issue.span[0] <= tokens.starts[i] < issue.span[1]]
            if inside:
                found.append((inside[0], inside[-1] + 1))
    return found
