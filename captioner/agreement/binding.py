"""What a word of state speaks of: the structures or places beside it, after its preposition, or in its subject."""

from captioner.agreement import lexicon as lx
from captioner.agreement.matcher import Hit
from captioner.agreement.scope import Scopes

LINK = frozenset("of in to at within involving affecting from on around about inside for throughout across".split())
LOOKS = frozenset("look looks appear appears appearing looking sized seem seems".split())
_JOIN = frozenset((",", "and", "or", "nor", "the"))
_BREAK = frozenset((",", ".", "and", "or", "with", "without"))
_ARTICLES = frozenset(("the", "a", "an", "this", "its", "one", "either", "both"))
_BEFORE = frozenset(("the", "both", "a", "an", "adjacent", "surrounding"))
_REGION = frozenset("region area zone tissue structure joint compartment space site location aspect".split())
_SHOWING = frozenset("showing demonstrating displaying exhibiting revealing containing".split())
_CARRIES = frozenset(("with", "by"))
_PASSIVE = lx.words("affected involved occupied replaced infiltrated marked")
_ADJECTIVES = 4
_LIES = frozenset(("lie", "is", "are", "was", "can", "be", "has"))
_TROUBLE = frozenset(("issue", "problem"))
_PASS = lx.NEUTRAL_ADVERB | lx.BE | lx.FINITE


def run_before(words: list[str], at: int, a: int, targets: list[Hit]) -> list[Hit]:
    """Return the list of targets that ends at a token: "liver, spleen and kidney | show"."""
    by_end = {t[1]: t for t in targets if t[1] <= at}
    found: list[Hit] = []
    k = at
    while k > a:
        target = by_end.get(k)
        if target is None and not found and words[k - 1] in _REGION:
            k -= 1
            continue
        if target is None and words[k - 1] == ")" and k - 3 > a and words[k - 3] == "(":
            # "calcaneofibular ligament (CFL) abnormality"
            k -= 3
            continue
        if target is None:
            break
        found.append(target)
        k = target[0]
        while k > a and words[k - 1] in _BEFORE:
            k -= 1
        moved = False
        while k > a and words[k - 1] in _JOIN:
            k -= 1
            moved = True
        if not moved:
            break
    return found


def run_after(words: list[str], at: int, b: int, targets: list[Hit]) -> list[Hit]:
    """Return the list of targets that begins at, or a word or two after, a token: "of the | medial meniscus"."""
    by_start = {t[0]: t for t in targets if t[0] >= at}
    found: list[Hit] = []
    k = at
    slack = 2
    while k < b:
        target = by_start.get(k)
        if target is not None:
            found.append(target)
            k = target[1]
            slack = 0
            moved = False
            while k < b and words[k] in _JOIN:
                k += 1
                moved = True
            if not moved:
                break
        elif words[k] in _ARTICLES:
            k += 1
        elif slack and words[k][0].isalpha() and words[k] not in lx.FINITE and words[k] not in lx.PREPOSITIONS:
            slack -= 1
            k += 1
        else:
            break
    return found


def bound(words: list[str], scopes: Scopes, start: int, end: int, targets: list[Hit]) -> list[Hit]:
    """Return the targets that a word of state speaks of.

    Args:
        words: of the caption.
        scopes: of the caption.
        start: first token of the word of state.
        end: token after it.
        targets: structures in the order of the text.
    """
    a, b = scopes.sentences[scopes.sentence[start]]
    targets = [t for t in targets if a <= t[0] < b]
    if not targets:
        return []
    # "lesion of the kidney", "tear involving the ACL and the MCL"
    k = end
    while k < b and k < end + 4 and words[k] not in LINK and words[k] not in _BREAK:
        if words[k] in lx.FINITE and words[k] not in _LIES:
            break
        k += 1
    if k < b and (words[k] in LINK or (words[k] == "with" and words[end - 1] in _TROUBLE)):
        found = run_after(words, k + 1, b, targets)
        # "abnormal on this knee MRI" speaks of the picture, not of the knee
        if found and not (found[-1][1] < b and words[found[-1][1]] in lx.IMAGE):
            return found
    # "ACL pathology", "ACL and MCL pathology"
    found = run_before(words, start, a, targets) or carrier(words, start, a, targets)
    if found:
        return found
    # "abnormal ACL"
    if not (start > a and words[start - 1] in lx.BE):
        for t in targets:
            if t[0] == end or (t[0] == end + 1 and words[end] in ("the", "appearing", "looking", "sized")):
                return run_after(words, t[0], b, targets)
    return subject(words, start, a, targets)


def carrier(words: list[str], start: int, a: int, targets: list[Hit]) -> list[Hit]:
    """Return the targets that have something: "kidney affected by | a lesion", "bowel with | irregularities"."""
    k = start - 1
    while k > a and start - k <= _ADJECTIVES and words[k] not in _CARRIES:
        if words[k] in _BREAK or words[k] in lx.FINITE or words[k] in lx.STOP or not words[k][0].isalpha():
            return []
        k -= 1
    if k <= a or words[k] not in _CARRIES:
        return []
    while k > a and (words[k - 1] in _PASSIVE or words[k - 1] in lx.BE or words[k - 1] in lx.PERCEIVED):
        k -= 1
    return run_before(words, k, a, targets)


def subject(words: list[str], start: int, a: int, targets: list[Hit]) -> list[Hit]:
    """Return the targets that are the subject of a predicate: "the ACL is torn", "the kidney contains a lesion"."""
    k = start - 1
    verb = -1
    while k >= a and start - k < 14:
        w = words[k]
        if w in lx.STOP or w in (";", ":", "(", ")") or (w in ("with", "without") and verb < 0):
            break
        if w in lx.FINITE or w in LOOKS or w in _SHOWING:
            verb = k
            break
        if w == "," and words[k + 1] not in lx.DETERMINER and not any(t[0] <= k for t in targets):
            break
        k -= 1
    if verb < 0 or (words[verb] not in lx.BE and any(verb < t[0] < start for t in targets)):
        return []
    k = verb - 1
    while k >= a and words[k] in _PASS:
        k -= 1
    found = run_before(words, k + 1, a, targets)
    if found or k < a:
        return found
    # "the signal of the marrow is abnormal", "the ACL on this image is torn"
    for t in reversed(targets):
        if t[1] < len(words) and words[t[1]] in lx.IMAGE:
            continue
        if t[1] <= k + 1 <= t[1] + 6 and not any(w in lx.FINITE or w in (",", "and") for w in words[t[1] : k + 1]):
            return [t]
    return []
