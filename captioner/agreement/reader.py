"""What a caption says: findings with how they are meant, states of organs, places, ways of imaging."""

from dataclasses import dataclass, field

from captioner.agreement import lexicon as lx
from captioner.agreement import matcher, scope
from captioner.agreement import vocabulary as vb
from captioner.agreement.matcher import Hit
from captioner.agreement.scope import Scopes
from captioner.agreement.tokens import Tokens, tokenize

_LINK = frozenset("of in to at within involving affecting from on around about inside for".split())
_REST = frozenset("otherwise remaining rest remainder other elsewhere else".split())
_WEAK = frozenset(
    (
        "sharp",
        "intact",
        "preserved",
        "maintained",
        "continuous",
        "spared",
        "regular",
        "sound",
        "clear",
        "physiological",
        "normally",
        "well aerated",
        "uninvolved",
        "unaffected",
    )
)
_LOOKS = frozenset("look looks appear appears appearing looking sized seem seems".split())
_PARTIAL = frozenset(
    "other further additional acute focal another more significant new second obvious definite associated else discrete gross major active secondary".split()
)


@dataclass(slots=True)
class Mention:
    """A finding in a caption: tokens, what it asserts, how it is meant, and the cue that says so."""

    start: int
    end: int
    meanings: tuple[int, ...]
    signs: frozenset[int]
    status: int
    cue: int = -1
    graded: bool = False


@dataclass(slots=True)
class State:
    """A statement that something is normal: where (None: the image as a whole), and its tokens."""

    start: int
    end: int
    places: frozenset[str] | None
    cue: int = -1


@dataclass(slots=True)
class Reading:
    """All that was read in one caption."""

    tokens: Tokens
    scopes: Scopes
    mentions: list[Mention] = field(default_factory=list)
    normal: list[State] = field(default_factory=list)
    anatomies: list[Hit] = field(default_factory=list)
    modalities: list[Hit] = field(default_factory=list)
    triggers: list[Hit] = field(default_factory=list)
    starts: frozenset[int] = frozenset()
    texts: list[Hit] = field(default_factory=list)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the characters of a range of tokens."""
        return self.tokens.starts[start], self.tokens.ends[end - 1]

    def cue_span(self, cue: int) -> tuple[int, int] | None:
        """Return the characters of a cue."""
        if cue < 0:
            return None
        hit = self.scopes.cues[cue]
        return self.span(hit[0], hit[1])


def read(text: str, vocabulary: vb.Vocabulary, tokens: Tokens | None = None) -> Reading:
    """Return what a caption says in the terms of a vocabulary."""
    return _Reader(tokens or tokenize(text), vocabulary).read()


class _Reader:
    def __init__(self, tokens: Tokens, vocabulary: vb.Vocabulary) -> None:
        self.tokens = tokens
        self.words = tokens.words
        self.vocabulary = vocabulary
        loud = not any(c.islower() for c in tokens.text)
        self.layers, self.gaps = matcher.match(tokens, vocabulary.trie, loud=loud)
        self.scopes = scope.resolve(tokens, self.layers[vb.CUE], vocabulary.cues)

    def read(self) -> Reading:
        layers = self.layers
        reading = Reading(
            self.tokens,
            self.scopes,
            anatomies=layers[vb.ANATOMY],
            modalities=layers[vb.MODALITY],
            triggers=layers[vb.TRIGGER],
        )
        mentions = self.contiguous()
        mentions += self.discontinuous()
        mentions.sort(key=lambda m: m.start)
        self.covered = [False] * (len(self.words) + 1)
        for m in mentions:
            if m.meanings:
                for k in range(m.start, m.end):
                    self.covered[k] = True
        structured, used = self.structured()
        mentions += structured
        mentions += self.scaled(mentions)
        self.generic(mentions)
        self.alternatives(mentions)
        reading.mentions = mentions
        reading.normal = self.normal_states(used)
        reading.starts = frozenset(m.start for m in mentions if m.meanings)
        return reading

    # --- findings -----------------------------------------------------------------------------------------------

    def status(self, ranges: tuple[tuple[int, int], ...], inner: tuple[int, int]) -> tuple[int, int]:
        """Return how a mention is meant; cues that are part of its own wording do not count."""
        scopes = self.scopes
        status, by = scopes.status, scopes.by
        best, cue = lx.AFFIRMED, -1
        for lo, hi in ranges:
            for k in range(lo, hi):
                if status[k] > best:
                    number = by[k]
                    if number >= 0:
                        c = scopes.cues[number]
                        if c[0] >= inner[0] and c[1] <= inner[1]:
                            continue
                    best, cue = status[k], number
        if best == lx.NEGATED and cue >= 0:
            end = scopes.cues[cue][1]
            lo = ranges[0][0]
            if 0 <= lo - end <= 6:
                k = lo - 1
                while k >= end and k >= lo - 3:
                    if self.words[k] in lx.ADDITIONAL:
                        return lx.GENERIC, cue
                    if self.words[k] in (",", "or", "and"):
                        break
                    k -= 1
        return best, cue

    def contiguous(self) -> list[Mention]:
        found = []
        terms = self.vocabulary.terms
        for start, end, index in self.layers[vb.CONCEPT]:
            term = terms[index]
            if not term.meanings and not term.signs and not term.denies:
                continue
            status, cue = self.status(((start, end),), (start, end))
            if term.denies and status == lx.AFFIRMED:
                found.append(Mention(start, end, term.denies, frozenset(), lx.NEGATED))
            if term.meanings or term.signs:
                found.append(Mention(start, end, term.meanings, term.signs, status, cue))
        return found

    def discontinuous(self) -> list[Mention]:
        if not self.gaps:
            return []
        found = []
        concept = self.layers[vb.CONCEPT]
        terms = self.vocabulary.terms
        for a, b, c, d, index in self.gaps:
            if self.scopes.sentence[a] != self.scopes.sentence[c]:
                continue
            term = terms[index]
            mine = set(term.meanings) | set(term.signs) | set(term.denies)
            # A longer wording that says something else owns the words: "heart ... enlarged" is not "enlarged mass".
            if any(
                s <= c and e >= d and e - s > d - c and not mine & (set(terms[i].meanings) | terms[i].signs)
                for s, e, i in concept
            ) or any(
                s <= a and e >= b and e - s > b - a and not mine & (set(terms[i].meanings) | terms[i].signs)
                for s, e, i in concept
            ):
                continue
            if any(w in ("and", "or") for w in self.words[b:c]) and any(
                e <= c and s >= b and terms[i].meanings for s, e, i in concept
            ):
                continue
            if any(self.vocabulary.meanings[m].kind == "normal" for m in term.meanings) and any(
                w in _REST for w in self.words[max(0, a - 3) : d]
            ):
                continue
            status, cue = self.status(((a, b), (c, d)), (-1, -1))
            if term.denies and status == lx.AFFIRMED:
                found.append(Mention(a, d, term.denies, frozenset(), lx.NEGATED))
            if term.meanings or term.signs:
                found.append(Mention(a, d, term.meanings, term.signs, status, cue))
        return found

    def structured(self) -> tuple[list[Mention], set[int]]:
        """Bind words of abnormality to the structures they speak of: "a lesion of the kidney", "the ACL is torn"."""
        structures = self.layers[vb.STRUCTURE]
        used: set[int] = set()
        if not structures:
            return [], used
        found: list[Mention] = []
        table = self.vocabulary.structures
        for start, end, index in self.layers[vb.ABNORMAL]:
            head = self.vocabulary.abnormal[index]
            targets = self.bound(start, end, structures)
            for s, e, i in targets:
                owners = tuple(m for m, heads in table[i] if heads is None or head in heads or (head[-1:] in heads))
                if not owners:
                    continue
                status, cue = self.status(((start, end), (s, e)), (-1, -1))
                found.append(Mention(min(s, start), max(e, end), owners, frozenset(), status, cue))
                used.add(start)
        for start, end, index in self.layers[vb.NORMAL]:
            for s, e, i in self.bound(start, end, structures):
                owners = tuple(m for m, heads in table[i] if heads is None)
                if owners and self.scopes.status[start] == lx.AFFIRMED:
                    found.append(Mention(min(s, start), max(e, end), owners, frozenset(), lx.NEGATED))
        return found, used

    def bound(self, start: int, end: int, targets: list[Hit]) -> list[Hit]:
        """Return the targets that a word of state speaks of: after "of", right before or after it, or its subject."""
        words = self.words
        a, b = self.scopes.sentences[self.scopes.sentence[start]]
        # "lesion of the kidney", "tear involving the ACL and the MCL"
        k = end
        while (
            k < b
            and k < end + 3
            and words[k] not in _LINK
            and words[k] not in lx.FINITE
            and words[k] not in (",", ".", "and", "or", "with", "without")
        ):
            k += 1
        if k < b and words[k] in _LINK:
            found = self.run_after(k + 1, b, targets)
            if found:
                return found
        # "ACL pathology", "ACL and MCL pathology", "abnormal ACL"
        found = self.run_before(start, a, targets)
        if found:
            return found
        after = [
            t
            for t in targets
            if t[0] == end or (t[0] == end + 1 and words[end] in ("the", "appearing", "looking", "sized"))
        ]
        if after and not (start > a and words[start - 1] in lx.BE):
            return self.run_after(after[0][0], b, targets)
        # "the ACL is torn", "the kidney contains a lesion"
        k = start - 1
        verb = -1
        while k >= a and start - k < 14:
            w = words[k]
            if w in lx.STOP or w in (";", ":", "(", ")"):
                break
            if w in ("with", "without") and verb < 0:
                break
            if w in lx.FINITE or w in _LOOKS:
                verb = k
                break
            if w == "," and words[k + 1] not in lx.DETERMINER and not any(t[0] <= k for t in targets):
                break
            k -= 1
        if verb < 0:
            return []
        if words[verb] not in lx.BE and any(verb < t[0] < start for t in targets):
            return []
        k = verb - 1
        while k >= a and words[k] in lx.NEUTRAL_ADVERB | lx.BE | lx.FINITE:
            k -= 1
        subject = self.run_before(k + 1, a, targets)
        if not subject and k >= a:
            # "the signal of the marrow is abnormal", "the ACL on this image is torn"
            for t in reversed(targets):
                if (
                    a <= t[0]
                    and t[1] <= k + 1
                    and k + 1 - t[1] <= 6
                    and not any(w in lx.FINITE or w in (",", "and") for w in words[t[1] : k + 1])
                ):
                    return [t]
        return subject

    def run_before(self, at: int, a: int, targets: list[Hit]) -> list[Hit]:
        """Return the list of targets that ends at a token: "liver, spleen and kidney | show"."""
        words = self.words
        by_end = {t[1]: t for t in targets if t[1] <= at}
        found: list[Hit] = []
        k = at
        while k > a:
            target = by_end.get(k)
            if target is None:
                if not found:
                    return []
                break
            found.append(target)
            k = target[0]
            while k > a and words[k - 1] in ("the", "both", "a", "an", "adjacent", "surrounding"):
                k -= 1
            moved = False
            while k > a and words[k - 1] in (",", "and", "or", "nor", "the"):
                k -= 1
                moved = True
            if not moved:
                break
        return found

    def run_after(self, at: int, b: int, targets: list[Hit]) -> list[Hit]:
        words = self.words
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
                while k < b and words[k] in (",", "and", "or", "the", "nor"):
                    k += 1
                    moved = True
                if not moved:
                    break
            elif words[k] in ("the", "a", "an", "this", "its", "one", "either", "both"):
                k += 1
            elif slack and words[k][0].isalpha() and words[k] not in lx.FINITE and words[k] not in lx.PREPOSITIONS:
                slack -= 1
                k += 1
            else:
                break
        return found

    def scaled(self, mentions: list[Mention]) -> list[Mention]:
        """Bind words and numbers of degree to the disease that they grade."""
        found: list[Mention] = []
        words = self.words
        n = len(words)
        for scale in self.vocabulary.scales:
            heads = scale.heads
            nouns = lx.GRADE_NOUNS | heads
            for i, word in enumerate(words):
                owners: frozenset[int] | None = None
                end = i + 1
                if word in scale.words and word not in ("proliferative",):
                    owners = scale.words[word]
                elif word == "proliferative" and "proliferative" in scale.words:
                    key = "non proliferative" if i and words[i - 1] == "non" else "proliferative"
                    owners = scale.words.get(key)
                elif scale.levels and (word.isdigit() or word in lx.NUMBERS) and i:
                    owners = self.level(scale, i)
                    if owners is None:
                        continue
                    compared = self.scopes.compared[i]
                    status = lx.NEGATED if compared >= 0 else self.scopes.status[i]
                    found.append(
                        Mention(
                            max(0, i - 1),
                            i + 1,
                            tuple(owners),
                            frozenset(),
                            status,
                            compared if compared >= 0 else self.scopes.by[i],
                            graded=True,
                        )
                    )
                    continue
                if not owners or not self.grades(i, end, nouns, heads, scale):
                    continue
                compared = self.scopes.compared[i]
                if compared >= 0:
                    status, cue = lx.NEGATED, compared
                else:
                    status, cue = self.scopes.status[i], self.scopes.by[i]
                lo = i - 1 if word == "proliferative" and len(owners) > 1 else i
                if word == "proliferative" and len(owners) > 1:
                    # "non" belongs to the word; what counts is a cue before it.
                    status, cue = (self.scopes.status[lo], self.scopes.by[lo]) if compared < 0 else (status, cue)
                found.append(Mention(lo, end, tuple(sorted(owners)), frozenset(), status, cue, graded=True))
        return found

    def level(self, scale: vb.Scale, i: int) -> frozenset[int] | None:
        words = self.words
        value = lx.NUMBERS.get(words[i], int(words[i]) if words[i].isdigit() and len(words[i]) < 3 else -1)
        owner = scale.levels.get(value)
        if owner is None:
            return None
        k = i - 1
        while (
            k >= 0
            and i - k <= 3
            and words[k]
            in (
                "of",
                ":",
                "is",
                "=",
                "as",
                "#",
                "at",
                "scale",
                "level",
                "grade",
                "stage",
                "severity",
                "class",
                "score",
                "category",
                "icdr",
                "icdrs",
                "icdrss",
                "etdrs",
                "grading",
                "be",
                "dr",
            )
        ):
            if words[k] in (
                "grade",
                "stage",
                "level",
                "class",
                "score",
                "category",
                "icdr",
                "icdrs",
                "icdrss",
                "severity",
                "grading",
                "dr",
            ):
                return frozenset((owner,))
            k -= 1
        if self.tokens.words[i - 1] == "r" and False:
            return frozenset((owner,))
        return None

    def grades(self, i: int, end: int, nouns: frozenset[str], heads: frozenset[str], scale: vb.Scale) -> bool:
        """Say whether a word of degree grades the scale's disease, and not something else."""
        words = self.words
        n = len(words)
        a, b = self.scopes.sentences[self.scopes.sentence[i]]
        severity = set(scale.words) | {
            "non",
            "proliferative",
            "diabetic",
            "background",
            "very",
            "or",
            "and",
            "to",
            ",",
            "degree",
            "nonproliferative",
            "even",
        }
        k = end
        while k < min(b, end + 9):
            word = words[k]
            if word in nouns:
                # "severe PDR": the degree of another step is not a step of its own.
                if words[i] != "proliferative":
                    between = words[end:k]
                    for p, w in enumerate(words[end : k + 1], end):
                        if w == "pdr" or (w == "proliferative" and words[p - 1] != "non"):
                            return "and" in between or "or" in between or "to" in between or "," in between
                    if word in ("stage", "grade") and k + 2 < b and words[k + 1].isdigit() and words[k + 2] == "pdr":
                        return False
                return word in heads or word in lx.GRADE_NOUNS
            if word in severity or word in ("icdr", "stage", "grade", "4", "3", "2", "1"):
                k += 1
                continue
            break
        word = words[k] if k < b else "."
        closes = (
            k >= b
            or not word[0].isalpha()
            or word in lx.PREPOSITIONS
            or word in lx.STOP
            or word in lx.FINITE
            or word in ("but", "and", "or", "without", "no", "rather", "not", "here", "only")
        )
        if not closes:
            return False
        # "retinopathy is moderate", "severity: mild", "graded moderate"
        lo = i - 1
        while lo >= max(a, i - 12):
            w = words[lo]
            if w in nouns or w in lx.GRADED or w in ("severity", "graded", "icdr", "npdr"):
                return True
            if w in lx.STOP and w not in ("which", "that", "where"):
                break
            lo -= 1
        return False

    def generic(self, mentions: list[Mention]) -> None:
        """Take definitions for what they are: "Pneumonia is an infection that …" says nothing of this image."""
        words = self.words
        for m in mentions:
            if m.status != lx.AFFIRMED:
                continue
            a, b = self.scopes.sentences[self.scopes.sentence[m.start]]
            begins = m.start == a or (m.start == a + 1 and words[a] in lx.DETERMINER)
            if not begins or m.end + 1 >= b:
                continue
            w, nxt = words[m.end], words[m.end + 1]
            if (
                w in ("is", "are")
                and nxt
                in (
                    "a",
                    "an",
                    "the",
                    "defined",
                    "caused",
                    "often",
                    "usually",
                    "typically",
                    "commonly",
                    "frequently",
                    "when",
                    "one",
                    "among",
                    "generally",
                    "characterized",
                    "classified_",
                )
                and any(x in _DEFINING for x in words[m.end + 1 : m.end + 9])
            ) or (
                w
                in (
                    "refer",
                    "occurs",
                    "occur",
                    "develop",
                    "develops",
                    "arise",
                    "arises",
                    "typically",
                    "usually",
                    "often",
                    "commonly",
                    "can",
                    "mean",
                    "result",
                    "describes",
                    "describe",
                )
                and nxt not in ("be", "not")
            ):
                for other in mentions:
                    if a <= other.start < b and other.status == lx.AFFIRMED:
                        stop = next(
                            (
                                k
                                for k in range(m.end, b)
                                if words[k] in (";",)
                                or (words[k] == "this" and words[k + 1 : k + 2] and words[k + 1] in lx.IMAGE)
                            ),
                            b,
                        )
                        if other.start < stop:
                            other.status = lx.GENERIC

    def alternatives(self, mentions: list[Mention]) -> None:
        """Doubt both sides of an "or" that nothing denies."""
        words = self.words
        if "or" not in words:
            return
        affirmed = sorted((m for m in mentions if m.status == lx.AFFIRMED and m.meanings), key=lambda m: m.start)
        for left, right in zip(affirmed, affirmed[1:], strict=False):
            between = words[left.end : right.start]
            if (
                "or" not in between
                or len(between) > 5
                or self.scopes.sentence[left.start] != self.scopes.sentence[right.start]
            ):
                continue
            if set(left.meanings) & set(right.meanings) or any(
                w in lx.FINITE or w in lx.STOP or w in ("no", "without") for w in between
            ):
                continue
            left.status = right.status = lx.HEDGED

    # --- normality ----------------------------------------------------------------------------------------------

    def normal_states(self, used: set[int]) -> list[State]:
        found = []
        for start, end, index in self.layers[vb.NORMAL]:
            if any(self.covered[start:end]) or self.scopes.status[start] != lx.AFFIRMED:
                # A cue inside the words themselves ("nothing abnormal") denies nothing else.
                number = self.scopes.by[start]
                inner = number >= 0 and start <= self.scopes.cues[number][0] < end
                if any(self.covered[start:end]) or not inner:
                    continue
            text = lx.NORMAL_WORDS[index]
            places, ok = self.subject(start, end, weak=text in _WEAK)
            if ok:
                found.append(State(start, end, places))
        for start, end, index in self.layers[vb.ABNORMAL]:
            if start in used or any(self.covered[start:end]) or self.scopes.status[start] != lx.NEGATED:
                continue
            if " ".join(self.vocabulary.abnormal[index]) not in lx.GLOBAL_ABNORMAL:
                continue
            number = self.scopes.by[start]
            lo = self.scopes.cues[number][1] if number >= 0 else start
            if any(w in _PARTIAL or w in _REST for w in self.words[min(lo, start) : start]) or any(
                w in _REST for w in self.words[max(0, start - 2) : start]
            ):
                continue
            if (
                end < len(self.words)
                and self.words[end] in ("other", "beside", "besides", "apart", "aside", "except")
                or (
                    end < len(self.words)
                    and self.words[end][0].isalpha()
                    and self.words[end] not in lx.PREPOSITIONS
                    and self.words[end] not in lx.FINITE
                    and self.words[end]
                    not in (
                        "or",
                        "and",
                        "that",
                        "anywhere",
                        "whatsoever",
                        "detected",
                        "seen",
                        "identified",
                        "visible",
                        "noted",
                        "present",
                        "evident",
                        "finding",
                        "process",
                        "change",
                        "found",
                        "here",
                        "to",
                        "either",
                        "reported",
                        "appearance",
                        "nor",
                        "demonstrated",
                        "detectable",
                        "apparent",
                        "shown",
                        "observed",
                    )
                )
            ):
                continue
            places = {p for h in self.layers[vb.ANATOMY] if lo <= h[0] < start for p in self.vocabulary.anatomies[h[2]]}
            k = end
            while k < min(len(self.words), end + 5) and self.words[k] not in (".", ",", ";"):
                if self.words[k] in _LINK:
                    places |= {
                        p
                        for h in self.run_after(k + 1, min(len(self.words), k + 10), self.layers[vb.ANATOMY])
                        for p in self.vocabulary.anatomies[h[2]]
                    }
                    break
                k += 1
            if not places:
                places = self.subject_places(start)
            if start and self.words[start - 1] in ("focal", "acute"):
                continue
            found.append(State(start, end, frozenset(places) or None, number))
        return found

    def subject_places(self, start: int) -> set[str]:
        """Return what a denial speaks of when its clause begins with places: "the lungs show no disease"."""
        number = self.scopes.by[start]
        if number < 0:
            return set()
        at = self.scopes.cues[number][0]
        a = self.scopes.sentences[self.scopes.sentence[start]][0]
        k = at - 1
        while k >= a and k > at - 4:
            if self.words[k] in lx.FINITE:
                hits = self.run_before(k, a, self.layers[vb.ANATOMY])
                return {p for h in hits for p in self.vocabulary.anatomies[h[2]]}
            k -= 1
        k = at - 1
        while k >= a and at - k < 20:
            if self.words[k] in lx.STOP or self.words[k] in (";", ":"):
                break
            if self.words[k] in lx.FINITE:
                j = k
                while j > a and self.words[j - 1] in lx.FINITE | lx.NEUTRAL_ADVERB:
                    j -= 1
                hits = self.run_before(j, a, self.layers[vb.ANATOMY])
                if hits and self.words[j - 1] not in lx.IMAGE:
                    return {p for h in hits for p in self.vocabulary.anatomies[h[2]]}
                break
            k -= 1
        return set()

    def subject(self, start: int, end: int, *, weak: bool) -> tuple[frozenset[str] | None, bool]:
        """Return the places that a word of normality speaks of (None: the image), and whether it counts at all."""
        words = self.words
        a, b = self.scopes.sentences[self.scopes.sentence[start]]
        anatomy = self.layers[vb.ANATOMY]
        modality = self.layers[vb.MODALITY]
        if start > a and words[start - 1] in _REST or (start > a + 1 and words[start - 2] in _REST):
            return None, False
        if end < b and words[end] == "of" and words[start] in ("clear",):
            return None, False
        # "normal heart size", "healthy retina", "unremarkable ultrasound of the breast"
        attributive = not (start > a and words[start - 1] in lx.BE | _LOOKS)
        if attributive:
            k = end
            places: set[str] = set()
            while k < min(b, end + 5):
                hit = next((h for h in anatomy if h[0] == k), None)
                picture = words[k] in lx.IMAGE or any(h[0] == k for h in modality)
                if picture:
                    if words[k] == "appearance":
                        if k + 1 < b and words[k + 1] in ("of", "in"):
                            hits = self.run_after(k + 2, b, anatomy)
                            hits = [h for h in hits if not (h[1] < b and words[h[1]] in lx.IMAGE)]
                            if hits:
                                return frozenset(p for h in hits for p in self.vocabulary.anatomies[h[2]]), True
                        return (frozenset(places) or None), True
                    return None, not weak
                if hit is not None:
                    places |= self.vocabulary.anatomies[hit[2]]
                    k = hit[1]
                    while k < b and words[k] in (",", "and", "or") and any(h[0] == k + 1 for h in anatomy):
                        places |= next(self.vocabulary.anatomies[h[2]] for h in anatomy if h[0] == k + 1)
                        k = next(h[1] for h in anatomy if h[0] == k + 1)
                    if k < b and (words[k] in lx.IMAGE or any(h[0] == k for h in modality)):
                        return None, not weak
                    return frozenset(places), True
                if (
                    not words[k][0].isalpha()
                    or words[k] in lx.PREPOSITIONS
                    or words[k] in lx.FINITE
                    or words[k] in lx.STOP
                    or words[k] in ("and", "or", "but", "without", "no")
                ):
                    break
                k += 1
            if (
                k > end
                and end < b
                and words[end][0].isalpha()
                and words[end] not in lx.NEUTRAL_ADVERB
                and words[end] not in lx.PREPOSITIONS
                and words[end]
                not in (
                    "seen",
                    "here",
                    "looking",
                    "appearing",
                    "finding",
                    "anatomy",
                    "architecture",
                    "structure",
                    "study",
                    "for",
                    "throughout",
                    "result",
                    "everywhere",
                    "overall",
                    "adult",
                    "feature",
                    "tissue",
                    "except",
                    "size",
                    "limit",
                    "as",
                    "during",
                )
            ):
                return None, False
        # "the heart is normal", "lungs clear", "the image is unremarkable"
        k = start - 1
        while k >= a and (words[k] in _SKIP or words[k] in _LOOKS):
            k -= 1
        if k >= a and words[k] in (":", "of", "as", "within", "in", "with", "a", "an"):
            if words[k] == ":" or words[k] == "of":
                pass
        hi = k + 1
        lo = k
        while lo >= a and hi - lo < 24:
            w = words[lo]
            if w in lx.STOP or w in (";", "(", ")") or (w in lx.FINITE and lo < k) or w in lx.PARTICIPLE:
                break
            if w in (",", "and") and lo + 1 < hi and self.is_clause(lo + 1, hi):
                break
            lo -= 1
        inside = [h for h in anatomy if lo < h[0] < hi]
        if any(w in _REST for w in words[lo + 1 : hi]):
            return None, False
        pictures = [p for p in range(lo + 1, hi) if words[p] in lx.IMAGE]
        if inside:
            last = max(h[1] for h in inside)
            if pictures and (last in pictures or pictures[0] < min(h[0] for h in inside)):
                return None, not weak
            return frozenset(p for h in inside for p in self.vocabulary.anatomies[h[2]]), True
        if pictures or any(lo < h[0] < hi for h in modality):
            return None, not weak
        left = [w for w in words[lo + 1 : hi] if w[0].isalpha() and w not in lx.DETERMINER and w not in lx.PREPOSITIONS]
        vague = all(w in _VAGUE or w in _SKIP for w in left)
        return None, vague and not weak

    def is_clause(self, at: int, hi: int) -> bool:
        return any(w in lx.FINITE for w in self.words[at:hi])


_SKIP = (
    lx.NEUTRAL_ADVERB
    | lx.BE
    | frozenset(
        "completely entirely perfectly wholly of the a an as within quite appearing largely essentially its has have in overall".split()
    )
)
_VAGUE = frozenset(
    "it everything finding all structure anatomy this that view architecture result overall appearance whole aspect feature tissue organ impression conclusion everywhere diagnosis status no".split()
)
_DEFINING = frozenset(
    """infection disease condition disorder inflammation accumulation collection abnormality type form kind cause complication
    process finding_ syndrome state enlargement_ result consequence leading common presence tumor cancer group term malignancy
    illness seen caused defined characterized usually typically commonly often frequently generally""".split()
)
