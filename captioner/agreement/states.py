"""Statements of normality: of the image as a whole, or of a place in it."""

from dataclasses import dataclass

from captioner.agreement import lexicon as lx
from captioner.agreement.binding import LINK, LOOKS, run_after, run_before
from captioner.agreement.matcher import Hit
from captioner.agreement.scope import Scopes

_REST = frozenset("otherwise remaining rest remainder other elsewhere else".split())
_UNLIKE = frozenset(
    "deviation deviate deviates deviating departure depart departs departing differ differs different differing other away".split()
)
_WEAK = frozenset(
    """sharp|intact|preserved|maintained|continuous|spared|regular|sound|clear|physiological|normally|well aerated
    |uninvolved|unaffected|as expected|in order""".replace("\n    ", "").split("|")
)
"""Words that speak for a place, never for the whole image."""

_SKIP = (
    lx.NEUTRAL_ADVERB
    | lx.BE
    | frozenset(
        "completely entirely perfectly wholly of the a an as within quite appearing largely essentially its has have in overall".split()
    )
)
_VAGUE = frozenset(
    """it everything finding all structure anatomy this that view architecture result overall appearance whole aspect
    feature tissue organ impression conclusion everywhere diagnosis status no""".split()
)
_PLAIN = frozenset(
    """any evidence of sign the visible apparent detectable discernible radiographic radiological radiologic sonographic
    obvious structural a an form kind finding feature to suggest suggesting indicate indicating demonstrable appreciable
    here acute chronic focal underlying evident in imaging pathologic pathological abnormal or no cardiopulmonary trace indication histological
    definite significant identifiable intrathoracic histologic thoracic ocular single all such photographic this whatsoever
    nor is are seen and noted diagnostic relevant microscopic show demonstrate reveal contain have display exhibit""".split()
)
"""What may stand between a denial and "abnormality" when all of it is denied."""

_AFTER_ABNORMAL = frozenset(
    """or and that anywhere whatsoever detected seen identified visible noted present evident finding process change found
    here to either reported appearance nor demonstrated detectable apparent shown observed depicted recognized demonstrable
    discernible condition feature""".split()
)
_AFTER_NORMAL = frozenset(
    """seen here looking appearing finding anatomy architecture structure study for throughout result everywhere overall
    adult feature tissue except size limit as during result without no but and or with in on""".split()
)


_THINGS = frozenset(
    """anatomy structure feature architecture condition state finding study morphology integrity configuration detail
    characteristic""".split()
)
"""Nouns that stand for all there is to see: "normal anatomy"."""


@dataclass(slots=True)
class State:
    """A statement that something is normal: where (None: the image as a whole), and its tokens."""

    start: int
    end: int
    places: frozenset[str] | None
    cue: int = -1


class States:
    """Finds the statements of normality of one caption.

    Args:
        words: of the caption.
        scopes: how each word is meant.
        anatomy: hits of places, and the names of each hit's places.
        modality: tokens at which a way of imaging is named.
        covered: tokens that belong to a finding's wording.
        something: a finding is affirmed, so that "no other abnormality" leaves one.
    """

    def __init__(
        self,
        words: list[str],
        scopes: Scopes,
        *,
        anatomy: list[Hit],
        names: list[frozenset[str]],
        modality: list[Hit],
        covered: set[int],
        something: bool,
    ) -> None:
        self.words = words
        self.scopes = scopes
        self.anatomy = anatomy
        self.names = names
        self.modality = {h[0] for h in modality}
        self.placed = {h[0]: h for h in anatomy}
        self.covered = covered
        self.something = something

    def normal(self, hits: list[Hit]) -> list[State]:
        """Return what words of normality assert: "the heart is normal", "unremarkable study"."""
        found = []
        for start, end, index in hits:
            if start in self.covered:
                continue
            if self.scopes.status[start] != lx.AFFIRMED:
                # A cue inside the words themselves ("nothing abnormal") denies nothing else.
                number = self.scopes.by[start]
                if not (number >= 0 and start <= self.scopes.cues[number][0] < end):
                    continue
            counts, places = self.subject(start, end, weak=lx.NORMAL_WORDS[index] in _WEAK)
            if counts:
                found.append(State(start, end, places))
        return found

    def without_abnormality(self, hits: list[Hit], abnormal: list[tuple[str, ...]], used: set[int]) -> list[State]:
        """Return what the denial of any abnormality asserts: "no sign of disease in the lungs"."""
        words = self.words
        found = []
        for start, end, index in hits:
            if start in used or start in self.covered or self.scopes.status[start] != lx.NEGATED:
                continue
            if " ".join(abnormal[index]) not in lx.GLOBAL_ABNORMAL:
                continue
            number = self.scopes.by[start]
            cue = self.scopes.cues[number] if number >= 0 else (start, start, 0)
            if cue[1] <= start:
                inside = {k for h in self.anatomy for k in range(h[0], h[1])}
                first = max(cue[1], start - 10)
                said = [k for k in range(first, start) if not self.plain(k) and k not in inside]
                listed = self.covered.union(k for k in range(first, start) if words[k] in (",", "other", "any"))
                closes = words[start - 1] == "other" and not self.something and not self.covered.isdisjoint(said)
                if said and not (closes and listed.issuperset(said)):
                    continue
            elif (
                start
                and words[start - 1][0].isalpha()
                and words[start - 1] not in lx.DETERMINER | lx.FINITE | lx.NEUTRAL_ADVERB
            ):
                continue
            if (
                end < len(words)
                and words[end][0].isalpha()
                and not (
                    words[end] in lx.PREPOSITIONS
                    or words[end] in lx.FINITE
                    or words[end] in _AFTER_ABNORMAL
                    or end in self.placed
                )
            ):
                continue
            places = self.places_of_denial(cue, start, end)
            found.append(State(start, end, frozenset(places) or None, number))
        return found

    def plain(self, k: int) -> bool:
        """Say whether a token between a denial and "abnormality" restricts nothing: "nothing on this X-ray to suggest"."""
        if self.words[k] == ",":
            return any(h[0] <= k - 1 < h[1] for h in self.anatomy)  # "no cardiac, pulmonary or pleural abnormality"
        return self.words[k] in _PLAIN or self.words[k] == "on" or self.pictures(k)

    def places_of_denial(self, cue: Hit, start: int, end: int) -> set[str]:
        words = self.words
        a, b = self.scopes.sentences[self.scopes.sentence[start]]
        places = {p for h in self.anatomy if cue[1] <= h[0] < start for p in self.names[h[2]]}
        k = end
        while k < min(b, end + 5) and words[k] not in (".", ",", ";"):
            if words[k] in LINK:
                hits = run_after(words, k + 1, min(b, k + 10), self.anatomy)
                if not (hits and hits[-1][1] < b and self.pictures(hits[-1][1])):
                    places |= {p for h in hits for p in self.names[h[2]]}
                break
            k += 1
        if places:
            return places
        # "the lungs show no sign of disease"
        k = cue[0] - 1
        while k >= a and cue[0] - k < 20:
            if words[k] in lx.STOP or words[k] in (";", ":"):
                break
            if words[k] in lx.FINITE:
                while k > a and words[k - 1] in lx.FINITE | lx.NEUTRAL_ADVERB:
                    k -= 1
                hits = run_before(words, k, a, self.anatomy)
                if not hits and k - 1 > a and words[k - 1] not in lx.IMAGE:
                    hits = self.expanded(k, a)
                return {p for h in hits for p in self.names[h[2]]}
            k -= 1
        return set()

    def expanded(self, at: int, a: int) -> list[Hit]:
        """Return a subject that a participle follows: "the lungs are expanded and | show"."""
        k = at - 1
        while k >= a and at - k < 6:
            if self.words[k] in lx.BE:
                return run_before(self.words, k, a, self.anatomy)
            k -= 1
        return []

    def pictures(self, k: int) -> bool:
        """Say whether a token names the picture: "chest | X-ray"."""
        return self.words[k] in lx.IMAGE or k in self.modality

    def subject(self, start: int, end: int, *, weak: bool) -> tuple[bool, frozenset[str] | None]:
        """Return whether a word of normality counts, and the places that it speaks of (None: the image)."""
        words = self.words
        a, b = self.scopes.sentences[self.scopes.sentence[start]]
        if (start > a and words[start - 1] in _REST) or (start > a + 1 and words[start - 2] in _REST):
            return False, None
        if end < b and words[start] == "clear" and words[end] in ("of", "from", "cut", "evidence"):
            return False, None
        if any(words[k] in _UNLIKE for k in range(max(a, start - 4), start)) and any(
            words[k] in ("from", "than", "to") for k in range(max(a, start - 2), start)
        ):
            return False, None  # "a deviation from the normal"
        if not (start > a and (words[start - 1] in lx.BE or words[start - 1] in LOOKS)):
            decided = self.attributive(end, b, weak=weak)
            if decided is not None:
                return decided
        # "the heart is normal", "lungs clear", "the image is unremarkable"
        k = start - 1
        while k >= a and (words[k] in _SKIP or words[k] in LOOKS or words[k] == ":"):
            k -= 1
        hi = k + 1
        listed = run_before(words, hi, a, self.anatomy)
        if listed:
            if any(w in _REST for w in words[max(a, min(h[0] for h in listed) - 4) : hi]):
                return False, None
            return True, frozenset(p for h in listed for p in self.names[h[2]])
        lo = k
        while lo >= a and hi - lo < 24:
            w = words[lo]
            if w in lx.STOP or w in (";", "(", ")", ",", ":") or (w in lx.FINITE and lo < k) or w in lx.PARTICIPLE:
                break
            if w == "and" and lo + 1 < hi and words[lo + 1] in lx.DETERMINER:
                break
            lo -= 1
        region = range(lo + 1, hi)
        if any(words[p] in _REST for p in region):
            return False, None
        inside = [h for h in self.anatomy if lo < h[0] < hi]
        pictures = [p for p in region if self.pictures(p)]
        if inside:
            last = max(h[1] for h in inside)
            if pictures and (last in pictures or pictures[0] < min(h[0] for h in inside)):
                return not weak, None
            return True, frozenset(p for h in inside for p in self.names[h[2]])
        if pictures:
            return not weak, None
        left = [
            words[p]
            for p in region
            if words[p][0].isalpha() and words[p] not in lx.DETERMINER and words[p] not in lx.PREPOSITIONS
        ]
        return not weak and all(w in _VAGUE or w in _SKIP for w in left), None

    def attributive(self, end: int, b: int, *, weak: bool) -> tuple[bool, frozenset[str] | None] | None:
        """Decide for "normal heart size", "healthy retina", "unremarkable ultrasound of the breast"; None: it is none."""
        words = self.words
        k = end
        while k < min(b, end + 5):
            hit = self.placed.get(k)
            if words[k] in _THINGS and k + 1 < b and words[k + 1] in ("of", "in"):
                hits = run_after(words, k + 2, b, self.anatomy)
                if hits and not (hits[-1][1] < b and self.pictures(hits[-1][1])):
                    return True, frozenset(p for h in hits for p in self.names[h[2]])
            if words[k] in _THINGS:
                return not weak, None
            if self.pictures(k):
                if words[k] == "appearance" and k + 1 < b and words[k + 1] in ("of", "in"):
                    hits = run_after(words, k + 2, b, self.anatomy)
                    if hits and not (hits[-1][1] < b and self.pictures(hits[-1][1])):
                        return True, frozenset(p for h in hits for p in self.names[h[2]])
                return not weak, None
            if hit is not None:
                hits = run_after(words, k, b, self.anatomy)
                after = hits[-1][1]
                if after < b and self.pictures(after):
                    return not weak, None
                return True, frozenset(p for h in hits for p in self.names[h[2]])
            w = words[k]
            if (
                not w[0].isalpha()
                or w in lx.PREPOSITIONS
                or w in lx.FINITE
                or w in lx.STOP
                or w in ("and", "or", "but", "without", "no")
            ):
                break
            k += 1
        w = words[end] if end < b else "."
        if (
            k > end
            and w[0].isalpha()
            and not (w in lx.NEUTRAL_ADVERB or w in lx.PREPOSITIONS or w in _AFTER_NORMAL or w in lx.PERCEIVED)
        ):
            return False, None
        return None
