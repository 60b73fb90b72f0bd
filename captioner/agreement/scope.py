"""How each word of a caption is meant: affirmed, denied, doubted, or not about this image at all.

A left-to-right clause machine in the tradition of NegEx and ConText. A cue acts on the words after it, on the subject
before it, or on the next phrase only; commas, conjunctions and verbs decide how far. Every walk is bounded, so that the
time is linear in the length of the text.
"""

from dataclasses import dataclass

from captioner.agreement import lexicon as lx
from captioner.agreement.matcher import Hit
from captioner.agreement.tokens import Tokens

_REACH = 64
"""No scope reaches further than this many tokens."""

_ABBREVIATED = frozenset("e g i vs versus approx dr fig cf eg ie resp incl st".split())
_OTHER_CLOSING = frozenset(("?", ";", "!"))
_CLOSING = _OTHER_CLOSING | {"."}
_HARD = frozenset((":", ";", "(", ")", "[", "]", "-", '"'))
_FEATURES = frozenset(("feature", "figure"))
_DOUBTING = lx.words("likely probable probably possible possibly questionable suspected presumed equivocal")
_ASKING = frozenset(("?", "for"))
_LEAVING_OPEN = frozenset("may might could believed thought felt assumed would".split())
_AUXILIARY = frozenset("cannot not can to could should may might would".split())
_AFTER_PREDICATE = frozenset((".", ",", ";", ":", "and", "but", "on", "in", "?", "by", "here"))
_REMARKABLE = lx.words(
    "positive negative remarkable notable diagnostic significant suspicious concerning typical except save"
)
_TELLING = lx.words("hallmark characteristic characteristics typical classic classical diagnostic pathognomonic")
_SHOWS = lx.words("shows demonstrates reveals displays depicts exhibits contains harbours bears discloses has have")
_INFINITE = frozenset(("be", "been", "being"))
_SURE = frozenset(("definite", "certain"))
"""In a list of what is denied these say no more than the denial: "no opacity, effusion or definite nodule"."""
_OPENING = frozenset(("-", '"'))
_SKIP_BACK = (
    lx.NEUTRAL_ADVERB | lx.BE | frozenset(("have", "has", "had", "can", "could", "will", "would", "does", "do", "did"))
)
_VERB_LIKE = lx.FINITE | lx.PARTICIPLE
_CONTENT_END = lx.STOP | _HARD
_TIGHT_END = lx.STOP | _HARD | lx.FINITE | frozenset((",", "and", "of", "in", "on", "with", "at", "as", "from"))
_SHOWING = frozenset(("show", "appear", "reached"))
_AFTER_SHOWING = frozenset("on in here anywhere within at throughout".split())
_ABSENCE = frozenset(("absence", "lack"))
_SUPPOSING = frozenset(("if", "were", "should", "had", "unless", "suppose", "supposing"))
"""At the head of a sentence these make it a supposition."""

_OPENING_DOUBT = _ASKING | _SUPPOSING
_INVERTING = frozenset(("nor", "neither", "never", "nowhere", "no"))
_AUXILIARIES = frozenset("is are was were does do did has have can could".split())
_INVERSION = 10
_OPENS_CLAUSE = frozenset(("that", "whether", "if"))
_OTHER_CLAUSE = frozenset((";", "but", "however", "although", "though", "whereas", "yet"))
_AND_STILL = frozenset(("but", "yet", "though", "although"))
_LIST_JOIN = frozenset(("or", "nor"))
_FORWARD_KINDS = frozenset(
    (lx.NEG_F, lx.NOT, lx.HEDGE_F, lx.HYPO_F, lx.HIST_F, lx.FAM_F, lx.GEN_F, lx.NOTHING, lx.NEG_TO_COMMA)
)
_STATUS = {
    lx.NEG_F: lx.NEGATED, lx.NEG_B: lx.NEGATED, lx.NEG_TIGHT: lx.NEGATED, lx.NOTHING: lx.NEGATED,
    lx.NEG_TO_COMMA: lx.NEGATED, lx.HEDGE_F: lx.HEDGED, lx.HEDGE_B: lx.HEDGED, lx.HEDGE_BOTH: lx.HEDGED,
    lx.HYPO_F: lx.HYPOTHETICAL, lx.HIST_F: lx.HISTORICAL, lx.HIST_B: lx.HISTORICAL, lx.FAM_F: lx.FAMILY,
    lx.GEN_F: lx.GENERIC,
}  # fmt: skip


@dataclass(slots=True)
class Scopes:
    """For each token its status, the cue that gave it (an index into ``cues``), and the sentence it stands in.

    ``compared`` marks words behind a comparison ("more than mild"), which denies a degree but not a disease. Where ``plain``,
    everything is affirmed.
    """

    status: list[int]
    by: list[int]
    sentence: list[int]
    sentences: list[tuple[int, int]]
    compared: list[int]
    cues: list[Hit]
    plain: bool = True


def sentences(tokens: Tokens) -> list[tuple[int, int]]:
    """Return the sentences as ranges of tokens; a semicolon and a line break end one as well."""
    words, text = tokens.words, tokens.text
    n = len(words)
    multiline = "\n" in text
    if not multiline and (_CLOSING.isdisjoint(tokens.distinct) or _closes_once(words, tokens.distinct)):
        return [(0, n)] if n else []
    found: list[tuple[int, int]] = []
    begin = 0
    for i, word in enumerate(words):
        if word == ".":
            close = i + 1 == n or tokens.parted(i)
            if not close or (i > begin and words[i - 1] in _ABBREVIATED and i + 1 < n):
                continue
        elif word == "?":
            if i + 1 < n and tokens.starts[i + 1] == tokens.ends[i]:
                continue
        elif word not in (";", "!") and not (
            multiline and i + 1 < n and "\n" in text[tokens.ends[i] : tokens.starts[i + 1]]
        ):
            continue
        found.append((begin, i + 1))
        begin = i + 1
    if begin < n:
        found.append((begin, n))
    return found


def _closes_once(words: list[str], distinct: frozenset[str]) -> bool:
    """Say whether a single full stop, at the end, is all that ends a sentence."""
    return words[-1] == "." and words.count(".") == 1 and _OTHER_CLOSING.isdisjoint(distinct)


def resolve(tokens: Tokens, cues: list[Hit], kinds: list[int]) -> Scopes:
    """Return how each token is meant.

    Args:
        tokens: of the caption.
        cues: hits of the cue layer, in the order of the text.
        kinds: what the cue of each index does.
    """
    n = len(tokens.words)
    parts = sentences(tokens)
    sentence = [0] * n
    for number, (a, b) in enumerate(parts):
        if number:
            sentence[a:b] = [number] * (b - a)
    scopes = Scopes([lx.AFFIRMED] * n, [-1] * n, sentence, parts, [-1] * n, cues)
    if cues or not _OPENING_DOUBT.isdisjoint(tokens.distinct):
        scopes.plain = False
        _Machine(tokens, scopes, kinds).run()
    return scopes


class _Machine:
    def __init__(self, tokens: Tokens, scopes: Scopes, kinds: list[int]) -> None:
        self.tokens = tokens
        self.words = tokens.words
        self.scopes = scopes
        self.kinds = kinds
        self.cue_at = {hit[0]: number for number, hit in enumerate(scopes.cues)}
        self.clauses: set[int] = set()
        """Cues that deny or doubt a whole clause: "it is not true that"."""
        self.opened: set[int] = set()
        """Where these clauses begin."""

    def run(self) -> None:
        scopes = self.scopes
        for number, (start, end, index) in enumerate(scopes.cues):
            a, b = scopes.sentences[scopes.sentence[start]]
            self.cue(number, self.kinds[index], (start, end), (a, b))
        for a, b in scopes.sentences:
            if self.words[a] in _SUPPOSING:
                comma = next((k for k in range(a, b) if self.words[k] == ","), b)
                self.mark(a, comma, lx.HYPOTHETICAL, -1)
        if _ASKING.isdisjoint(self.tokens.distinct):
            return
        for i, word in enumerate(self.words):
            if word == "?":
                self.question_mark(i)
            elif word == "for" and self.asks(i):
                b = scopes.sentences[scopes.sentence[i]][1]
                self.mark(i + 1, self.forward_end(i, i + 1, b, evidence=True), lx.HYPOTHETICAL, -1)

    def mark(self, lo: int, hi: int, status: int, number: int) -> None:
        state, by = self.scopes.status, self.scopes.by
        for k in range(lo, hi):
            if status == lx.NEGATED and by[k] in self.clauses:
                state[k] = lx.HEDGED  # "it is not true that X is absent"
                by[k] = number
            elif status > state[k]:
                state[k] = status
                by[k] = number

    def cue(self, number: int, kind: int, at: tuple[int, int], sentence: tuple[int, int]) -> None:
        (start, end), (a, b) = at, sentence
        words = self.words
        if start - a < 2 and self.inverted(start, end, a, b):
            kind = lx.DENIES_THAT
        elif kind in (lx.NEG_B, lx.HEDGE_B) and (opened := self.clause_after(start, end, a, b)) is not None:
            kind, end = (lx.DENIES_THAT if kind == lx.NEG_B else lx.DOUBTS_THAT), opened
        if kind == lx.NOT:
            kind, end = self.what_not_does(start, end, b)
        elif kind == lx.NEG_B and words[start] == "lacking" and end < b and words[end] not in _AFTER_PREDICATE:
            kind = lx.NEG_F
        elif kind == lx.NEG_F and words[end - 1] == "show" and end < b and words[end] in ("on", "in", "."):
            kind = lx.NEG_B  # "X fails to show on this image"
        if kind in (lx.NEG_F, lx.NOTHING):
            subject = words[start] in ("no", "neither", "nor", "none") and self.opens_clause(start, a)
            self.mark(
                end, self.forward_end(start, end, b, subject=subject, evidence=kind == lx.NOTHING), lx.NEGATED, number
            )
        elif kind == lx.NEG_B:
            self.predicate(number, (start, end), sentence, lx.NEGATED)
        elif kind == lx.HEDGE_B:
            if not self.predicate(number, (start, end), sentence, lx.HEDGED):
                self.mark(end, self.forward_end(start, end, b, evidence=True), lx.HEDGED, number)
            elif end < b and words[end - 1] in _DOUBTING:
                self.mark(end, self.tight_end(end, b), lx.HEDGED, number)  # "a lesion that is likely malignant"
        elif kind == lx.NEG_TIGHT:
            self.mark(end, self.tight_end(end, b), lx.NEGATED, number)
        elif kind == lx.COMPARE:
            for k in range(end, self.tight_end(end, b)):
                self.scopes.compared[k] = number
        elif kind in (lx.DENIES_THAT, lx.DOUBTS_THAT):
            self.clauses.add(number)
            self.opened.add(end + 1 if end < b and words[end] in _AUXILIARIES else end)
            self.mark(end, self.clause_end(end, b), lx.NEGATED if kind == lx.DENIES_THAT else lx.HEDGED, number)
        elif kind == lx.DOUBTS_ALL:
            self.mark(a, b, lx.HEDGED, number)
        elif kind == lx.NEG_TO_COMMA:
            stop = end
            while stop < min(b, end + _REACH) and words[stop] not in (",", ":", ";"):
                stop += 1
            self.mark(end, stop, lx.NEGATED, number)
        elif kind == lx.HEDGE_F:
            if end < b and words[end] in lx.PERCEIVED and words[start] in _LEAVING_OPEN:
                self.predicate(number, (start, end), sentence, lx.HEDGED)
            elif not (end >= b or words[end] in (".", ",", ";", "?", ":")) or not self.predicate(
                number, (start, end), sentence, lx.HEDGED
            ):
                self.mark(end, self.forward_end(start, end, b, evidence=True), lx.HEDGED, number)
        elif kind == lx.HEDGE_BOTH:
            lo = start
            while (
                lo > a
                and start - lo < 8
                and words[lo - 1] not in _VERB_LIKE
                and words[lo - 1] not in _HARD
                and words[lo - 1] not in (",", "with", "of")
            ):
                lo -= 1
            self.mark(lo, start, lx.HEDGED, number)
            self.mark(end, self.tight_end(end, b), lx.HEDGED, number)
        elif kind == lx.HIST_B:
            self.predicate(number, (start, end), sentence, lx.HISTORICAL)
        elif kind in _STATUS:
            self.mark(end, self.forward_end(start, end, b, evidence=True), _STATUS[kind], number)
        elif kind == lx.FREE and self.tokens.hyphenated(start):
            self.mark(max(a, start - 3), start, lx.NEGATED, number) if self.tokens.hyphenated(start - 1) else self.mark(
                start - 1, start, lx.NEGATED, number
            )

    def what_not_does(self, start: int, end: int, b: int) -> tuple[int, int]:
        """Return what "not" does here, and where its cue ends."""
        words = self.words
        k = end
        while k < b and k < end + 4 and (words[k] in lx.NEUTRAL_ADVERB or words[k] in ("be", "been", "being")):
            k += 1
        if k < b:
            word = words[k]
            if word in (",", ".", ";", "and", "but") and k == end and words[start - 1] in lx.BE:
                # "X was found, Y was not"
                return lx.NEG_B, k
            if word in lx.EXCLUDED:
                return lx.HEDGE_B, k + 1
            if word in ("exclude", "rule") and k + 1 < b:
                return lx.HEDGE_F, k + 1 + (words[k + 1] == "out")
            if word in _SHOWING and (k + 1 == b or words[k + 1] in _AFTER_SHOWING or not words[k + 1][0].isalpha()):
                return lx.NEG_B, k + 1  # "X does not show on this image"; but "X does not appear Y" denies Y
            if word in lx.PERCEIVED and word not in ("part", "clear", "here"):
                return lx.NEG_B, k + 1
            if word in _FEATURES and (k + 1 == b or not words[k + 1][0].isalpha() or words[k + 1] in lx.PREPOSITIONS):
                return lx.NEG_B, k + 1
            if word == "to" and k + 2 < b and words[k + 1] == "be" and words[k + 2] in lx.PERCEIVED:
                return lx.NEG_B, k + 3
        return lx.NEG_F, end

    def opens_clause(self, start: int, a: int) -> bool:
        """Say whether a denial stands where a clause's subject stands."""
        words = self.words
        k = start - 1
        while k >= a and start - k <= 12:
            word = words[k]
            if word in ("and", "but", ",") or word in lx.STOP or word in _HARD:
                return True
            if word in _VERB_LIKE or word in ("with", "there"):
                return False
            k -= 1
        return True

    def inverted(self, start: int, end: int, a: int, b: int) -> bool:
        """Say whether a denial at the head of a sentence takes the verb before its subject: "nowhere is X seen"."""
        words = self.words
        if words[start] not in _INVERTING or (start > a and words[start] != "no"):
            return False
        if words[start] in ("nor", "neither") or (words[start] == "never" and end < b):
            return end < b and words[end] in _AUXILIARIES
        if words[start] == "no" and not (start > a and words[a] in ("in", "at", "on")):
            return False
        verb = next((k for k in range(end, min(b, end + _INVERSION)) if words[k] in _AUXILIARIES), None)
        return verb is not None and all(words[k] not in _OTHER_CLAUSE and words[k] != "," for k in range(end, verb))

    def clause_after(self, start: int, end: int, a: int, b: int) -> int | None:
        """Return where the clause begins that "it" stands for: "it is false | that", "it is wrong to say | that"."""
        words = self.words
        k = end + 2 if words[end : end + 1] == ["to"] else end
        if k < b and words[k] in _OPENS_CLAUSE and "it" in words[max(a, start - 3) : start]:
            return k + 1
        return None

    def clause_end(self, at: int, b: int) -> int:
        """Return where a clause ends that "that" or "whether" has opened."""
        return next((k for k in range(at, min(b, at + _REACH)) if self.words[k] in _OTHER_CLAUSE), min(b, at + _REACH))

    def tight_end(self, at: int, b: int) -> int:
        words = self.words
        k = at
        while k < b and k < at + 12:
            if k > at and words[k] in _TIGHT_END:
                break
            k += 1
        return k

    def forward_end(self, start: int, at: int, b: int, *, subject: bool = False, evidence: bool = False) -> int:
        """Return where the scope of a cue ends that acts on what follows it.

        Args:
            start: first token of the cue.
            at: token after the cue.
            b: end of the sentence.
            subject: the denial is the subject of its clause ("No X is seen").
            evidence: the denial is of evidence, so that it passes through a verb ("Nothing is seen to suggest X").
        """
        words, cue_at, kinds, cues = self.words, self.cue_at, self.kinds, self.scopes.cues
        asks = words[at - 1] in ("whether", "if")
        evidence = evidence or asks or words[at - 1] == "that" or any(w in lx.EVIDENCE for w in words[start:at])
        last_open = -1
        k = at
        limit = min(b, at + _REACH)
        while k < limit:
            word = words[k]
            if word in _HARD:
                if k > at or word not in _OPENING:
                    return k
                k += 1
                continue
            other = cue_at.get(k)
            if other is not None and k > at:
                kind = kinds[cues[other][2]]
                if kind == lx.EXCEPT:
                    return k
                if kind in _FORWARD_KINDS and (kind != lx.HEDGE_F or words[k - 1] in (",", "and", "or", "with")):
                    return k
                if kind == lx.PSEUDO and word not in _SURE:
                    return k
            if word in lx.STOP:
                return k
            if word == "due" and not asks and k > at and k + 1 < b and words[k + 1] == "to":
                return k
            if word in lx.EVIDENCE:
                evidence = True
            if word == ",":
                if self.ends_at_comma(k, b, subject=subject):
                    return k
            elif word == "and":
                if self.ends_at_and(k, b, subject=subject):
                    return k
                last_open = k
            elif word in _LIST_JOIN:
                pass
            elif (
                word in lx.DETERMINER
                and k > at
                and words[k - 1] not in lx.PREPOSITIONS
                and words[k - 1] not in _LIST_JOIN
            ):
                last_open = k
            elif word in lx.FINITE and k > at and word not in _INFINITE and words[k - 1] != "to":
                if subject:
                    # "Neither lung shows consolidation": who is denied shows nothing.
                    if not evidence and word not in _SHOWS:
                        return k
                    subject = False
                    evidence = True
                elif not evidence:
                    return last_open if last_open > at else k
            elif (word == "with" and k > at and words[k - 1] in lx.IMAGE) or (
                word in lx.PARTICIPLE and k > at and words[k - 1] in lx.IMAGE
            ):
                return k
            k += 1
        return k

    def ends_at_comma(self, comma: int, b: int, *, subject: bool) -> bool:
        """Say whether a statement of its own begins after a comma inside a denial."""
        words = self.words
        k = comma + 1
        if k >= b:
            return True
        word = words[k]
        if word in ("and", "or", "nor"):
            if word != "and":
                return False
            return self.ends_at_and(k, b, subject=subject)
        if word in lx.AFTER_COMMA:
            return not (word == "with" and k + 1 < b and words[k + 1] in ("no", "neither"))
        if any(w in _TELLING for w in words[k : k + 3]) and not _LIST_JOIN.intersection(words[k:b]):
            return True  # "devoid of X, hallmark features of Y"
        # Look ahead: an "or" before the next verb keeps the list open, a verb before it opens a clause.
        limit = min(b, k + 24)
        commas = 0
        joined = False
        j = k
        while j < limit:
            w = words[j]
            if w in _LIST_JOIN:
                return False
            if w == ",":
                commas += 1
            elif w == "and":
                joined = True
                if self.ends_at_and(j, b, subject=subject):
                    return word in lx.DETERMINER
            elif w in lx.STOP or w in _HARD:
                break
            elif (w in lx.FINITE and words[j - 1] != "to") or (
                w in lx.PREDICATE and j > k and not joined and self.closes(j, b)
            ):
                return not (subject and joined)
            elif w in ("normal", "clear", "unremarkable", "healthy") and j == k:
                return True
            j += 1
        return word in lx.DETERMINER

    def closes(self, j: int, b: int) -> bool:
        """Say whether a predicate word ends its statement: "effusion present," but not "normal heart"."""
        return j + 1 >= b or self.words[j + 1] in (",", ".", ";", "and", "in", "on", "but", "throughout")

    def ends_at_and(self, at: int, b: int, *, subject: bool) -> bool:
        """Say whether "and" inside a denial begins a statement of its own."""
        words = self.words
        k = at + 1
        if k >= b:
            return True
        word = words[k]
        if (
            word
            in (
                "with",
                "without",
                "there",
                "is",
                "are",
                "also",
                "it",
                "only",
                "instead",
                "has",
                "show",
                "demonstrate",
                "reveal",
            )
            or word in lx.PARTICIPLE
        ):
            return True
        if word in ("normal", "clear", "unremarkable", "healthy", "preserved", "intact"):
            return True
        if word in lx.DETERMINER:
            return word != "any"
        if word in lx.FINITE:
            return True
        # "and X is present": a verb that belongs to X alone.
        j = k
        limit = min(b, k + 8)
        while j < limit:
            w = words[j]
            if w in (",", "and", "or", "nor") or w in lx.STOP or w in _HARD:
                return False
            if w in lx.FINITE:
                return (not subject) or w in ("is", "was", "has", "remains", "appears")
            if w in lx.PREDICATE and j > k and self.closes(j, b):
                return not subject and w in ("present", "normal", "clear", "unremarkable", "enlarged", "intact")
            j += 1
        return False

    def predicate(self, number: int, cue: tuple[int, int], sentence: tuple[int, int], status: int) -> bool:
        """Let a cue act on the subject before it; say whether there is one."""
        (start, end), (a, b) = cue, sentence
        words = self.words
        k = start - 1
        while k >= a and words[k] in _SKIP_BACK:
            k -= 1
        if k >= a and words[k] in (":", ",", "-", "("):
            k -= 1
        hi = k + 1
        if k < a:
            if status == lx.NEGATED:
                self.mark(end, self.tight_end(end, b), status, number)
            return False
        relative = words[k] in ("which", "that", "who")
        if relative:
            k -= 1
            if k >= a and words[k] == ",":
                k -= 1
            hi = k + 1
        lo = k
        floor = max(a, hi - _REACH)
        while lo >= floor and lo + 1 not in self.opened:
            word = words[lo]
            if word in lx.STOP or word == "that" or word in (":", "(", ")", ";", "[", "]"):
                break
            other = self.cue_at.get(lo)
            if (
                other is not None
                and lo < start
                and self.kinds[self.scopes.cues[other][2]] in (lx.NEG_F, lx.NOTHING)
                and words[lo] in ("no", "without", "neither", "nor")
            ):
                break
            if word in _VERB_LIKE or (word == "with" and lo > a and words[lo - 1] in lx.IMAGE):
                cut = self.conjunct(lo, hi, plural=hi < len(words) and words[hi] in ("are", "were", "have"))
                lo = cut - 1 if cut is not None else lo
                break
            lo -= 1
        if status == lx.NEGATED and self.attributive(start, end, b):
            self.mark(end, self.tight_end(end, b), status, number)
            return False
        if lo + 1 >= hi and lo > a and words[lo] in _AND_STILL:
            # "X was thought of but is not seen": the subject is the one of the clause before
            hi, lo = next((p for p in range(a, lo) if words[p] in lx.FINITE), a), a - 1
        if lo + 1 >= hi:
            return False
        if status == lx.NEGATED:
            self.mark(lo + 1, hi, status, number)
            return True
        copula = hi < start or words[start] in lx.BE or words[start] in _AUXILIARY
        if not copula and not (end >= b or words[end] in _AFTER_PREDICATE):
            return False
        self.mark(lo + 1, hi, status, number)
        if status == lx.HEDGED and not _ABSENCE.isdisjoint(words[lo + 1 : hi]):
            for p in range(lo + 1, hi):  # "the absence of X is uncertain"
                self.scopes.status[p], self.scopes.by[p] = lx.HEDGED, number
        return True

    def attributive(self, start: int, end: int, b: int) -> bool:
        """Say whether a denying adjective stands before its noun ("absent breath sounds") and denies that."""
        words = self.words
        if words[start - 1] in _SKIP_BACK or words[start - 1] in (":", ","):
            return False
        if end >= b or words[start] not in ("absent", "missing", "negative", "excluded", "unlikely", "resolved"):
            return False
        nxt = words[end]
        if nxt in (
            ".",
            ",",
            ";",
            "and",
            "but",
            "in",
            "on",
            "from",
            "at",
            "for",
            "here",
            "-",
            ")",
            "or",
            "with",
            "throughout",
            "by",
        ):
            return False
        return nxt not in lx.STOP and nxt not in lx.FINITE

    def conjunct(self, verb: int, hi: int, *, plural: bool) -> int | None:
        """Return where the last subject begins after an earlier verb: "X is evident and Y is absent"."""
        words = self.words
        marks = [k for k in range(verb + 1, hi) if words[k] in (",", "and")]
        if not marks:
            return hi if words[verb] in lx.BE else None
        if plural:
            commas = [k for k in marks if words[k] == ","]
            return (commas[0] if commas else marks[-1]) + 1
        return marks[-1] + 1

    def asks(self, i: int) -> bool:
        """Say whether "for" says what an image was made for: "MRI of the hip for labral tears"."""
        words = self.words
        a = self.scopes.sentences[self.scopes.sentence[i]][0]
        if words[i - 1] in lx.IMAGE and i > a:
            return True
        for k in range(i - 2, max(a - 1, i - 7), -1):
            if words[k] == "of":
                return k > a and words[k - 1] in lx.IMAGE
            if not words[k][0].isalpha() or words[k] in lx.FINITE or words[k + 1] in _REMARKABLE:
                return False
        return False

    def question_mark(self, i: int) -> None:
        """Doubt what a question mark is attached to: "?pneumonia", "pneumonia (?)"."""
        words, starts, ends = self.words, self.tokens.starts, self.tokens.ends
        n = len(words)
        if i + 1 < n and starts[i + 1] == ends[i] and words[i + 1][0].isalnum():
            b = self.scopes.sentences[self.scopes.sentence[i]][1]
            self.mark(i + 1, self.tight_end(i + 1, b), lx.HEDGED, -1)
        elif i > 0:
            a = self.scopes.sentences[self.scopes.sentence[i]][0]
            lo = i
            while lo > a and i - lo < 6 and words[lo - 1] not in (",", ":") and words[lo - 1] not in _VERB_LIKE:
                lo -= 1
            self.mark(lo, i, lx.HEDGED, -1)
