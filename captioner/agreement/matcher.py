"""One pass over a caption's tokens: every entry of the trie that begins at each of them, the longest of each layer."""

from captioner.agreement.lexicon import BE, IMAGE, PREPOSITIONS
from captioner.agreement.tokens import Tokens
from captioner.agreement.vocabulary import CONCEPT, CUE, IS, Node, Words

Hit = tuple[int, int, int]
"""First token, token after the last, index into the layer's table."""

GapHit = tuple[int, int, int, int, int]
"""First token, token after the first segment, start and end of the last segment, term."""

_GAP_WORDS = 4
_GAP_REACH = 18
_PICTURE_OPENS = frozenset(("in", "on", "by", "from"))
_NO_PREDICATE = frozenset(("a", "an", "the", "this", "that"))
_ABSENCE = frozenset("without free absence absent lack lacking devoid clear negative".split())
_INSERTED = frozenset(("however", "though", "therefore", "too", "also", "moreover", "nevertheless", "meanwhile"))
_SHORTEST_LOWER = 3
_FUNCTION = frozenset(
    "the a an is are was were be been being of in and or to that this its it has have seen shown present by not clearly also".split()
)
_GAP_STOP = frozenset(
    """, ; : . ! ? ( ) - but however although though while whereas except which who whose with shows show demonstrate
    reveal because since""".split()
)
LAYERS = 9


def match(tokens: Tokens, trie: Node) -> tuple[list[list[Hit]], list[GapHit]]:
    """Return the hits of each layer in the order of the text, and discontinuous mentions.

    Args:
        tokens: of the caption.
        trie: of the vocabulary.
    """
    words = tokens.words
    n = len(words)
    # In a text of one case throughout, capitals tell nothing.
    shortest = 1 if tokens.text.isupper() else _SHORTEST_LOWER if tokens.text.islower() else 0
    layers: list[list[Hit]] = [[] for _ in range(LAYERS)]
    gaps: list[GapHit] = []
    ends = [0] * LAYERS
    there = tokens.distinct
    if not BE.isdisjoint(there):
        there |= {IS}
    first = trie.after.get
    for i, word in enumerate(words):
        node = first(word)
        if node is None:
            continue
        found: list[tuple[int, Hit]] = []
        j = i + 1
        while True:
            # Most wordings in several pieces end in a word that is not there at all.
            if node.lasts and not there.isdisjoint(node.lasts):
                ahead = [gap for last in there & node.lasts for gap in node.gaps[last]]
                if len(ahead) > 1:
                    ahead.sort()
                for index, case, rest in ahead:
                    if case and not _capitals(tokens, i, j, shortest):
                        continue
                    last = _follow(words, j, n, rest)
                    if last is not None:
                        gaps.append((i, j, last[0], last[1], index))
            for layer, index, case in node.entries:
                if layer == CONCEPT and i < ends[CUE] and word in _ABSENCE and layers[CUE][-1][0] < i:
                    continue  # "not | free of X": the denial is denied, and X stands alone
                if j > ends[layer] and not (case and not _capitals(tokens, i, j, shortest)):
                    found.append((layer, (i, j, index)))
            if j == n or (node := node.after.get(words[j])) is None:
                break
            j += 1
        # Once the longest of a layer is in, those that begin with it are not.
        for layer, hit in reversed(found):
            if i >= ends[layer] or (layer == CONCEPT and _outgrows(hit, layers[layer])):
                layers[layer].append(hit)
                ends[layer] = hit[1]
    return layers, gaps


def _outgrows(hit: Hit, found: list[Hit]) -> bool:
    """Say whether a wording runs on from inside the one before it and is the longer: "degenerative | arthropathy of the X"."""
    last = found[-1]
    return hit[1] - hit[0] > last[1] - last[0]


def _capitals(tokens: Tokens, i: int, j: int, shortest: int) -> bool:
    """Say whether the text of an abbreviation has its capitals."""
    text = tokens.text[tokens.starts[i] : tokens.ends[j - 1]]
    if shortest:
        return len(text) >= shortest
    return sum(c.isupper() for c in text) >= 2 or (len(text) == 1 and text.isupper())


def _follow(words: list[str], at: int, n: int, rest: tuple[Words, ...]) -> tuple[int, int] | None:
    """Return where the last of the following segments lies, each at most a few content words after the one before it."""
    start = at
    predicate = False
    for segment in rest:
        first = segment[0]
        size = len(segment)
        linked = first == IS
        limit = min(n, at + _GAP_REACH)
        if not linked and first not in words[at:limit]:
            return None
        content = 0
        k = at
        while k < limit:
            word = words[k]
            if (word in BE) if linked else (word == first and (size == 1 or tuple(words[k : k + size]) == segment)):
                break
            if predicate and (word in _NO_PREDICATE or (word in PREPOSITIONS and word != "of")):
                return None
            if word == "," and k + 2 < n:
                if words[k + 1] == "which":
                    k += 2
                    continue
                if words[k + 1] in _INSERTED and words[k + 2] == ",":
                    k += 3  # "the heart, however, is enlarged"
                    continue
                if k == start and words[k + 1].endswith("ed"):
                    k += 1  # "a polyp, lifted by injection"
                    continue
            if word == "(" and k == start:
                k += 1  # "colitis (Mayo grade 2)"
                continue
            if word in _GAP_STOP:
                return None
            if word in _PICTURE_OPENS and k + 1 < n and words[k + 1] in ("this", "the", "that", "these"):
                # "the retinopathy seen in this colour photograph is diabetic": the picture is no part of the mention
                past = _picture_end(words, k + 2, n)
                if past is not None:
                    k = past
                    continue
            if word not in _FUNCTION:
                content += 1
                if content > _GAP_WORDS:
                    return None
            k += 1
        else:
            return None
        start, at = k, k + size
        predicate = linked
    return start, at


def _picture_end(words: list[str], at: int, n: int) -> int | None:
    """Return the token after "colour fundus photograph" where such a noun phrase begins."""
    k = at
    limit = min(n, at + 5)
    while k < limit and words[k][0].isalnum() and words[k] not in _FUNCTION and words[k] not in PREPOSITIONS:
        k += 1
        if words[k - 1] in IMAGE and (k >= n or words[k] not in IMAGE):
            return k
    return None
