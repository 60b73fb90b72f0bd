"""What a caption says: findings with how they are meant, states of organs, places, ways of imaging."""

import itertools
import operator
from dataclasses import dataclass, field

from captioner.agreement import lexicon as lx
from captioner.agreement import matcher, resumption, scales, scope
from captioner.agreement import vocabulary as vb
from captioner.agreement.binding import bound
from captioner.agreement.matcher import Hit
from captioner.agreement.mentions import Mention
from captioner.agreement.scope import Scopes
from captioner.agreement.states import State, States
from captioner.agreement.tokens import Tokens

_REST = frozenset("otherwise remaining rest remainder other elsewhere else".split())
_VAGUE = ("condition",)
_SERVICES = frozenset(
    ("screening", "clinic", "service", "suspect", "workup", "protocol", "registry", "program", "programme")
)
_JOINS = frozenset(("and", "or", ",", "/", "nor", "but"))
_JOINTS = _JOINS | frozenset(("not", "rather", "than", "instead", "of", "as", "well", "opposed", "to"))
_INSERTS = frozenset(("(", ","))
_IN_OTHER_WORDS = frozenset(("i", "ie", "that", "or", "also", "namely"))
_BREAKS = lx.STOP | frozenset(("no", "without"))
_OPENS_NOUN = lx.DETERMINER | lx.PARTICIPLE | frozenset(("with", "of", ":"))
_NO_NOUN = frozenset(
    "and or nor not no without other otherwise so more less whether possibly perhaps also but as".split()
)
_ADJECTIVAL = tuple("al ic ar ous ed ive ary ing ent ant oid ory ate ose able ible ular iform er".split())
_SAYS = frozenset(
    "a an the defined caused often usually typically commonly frequently when one among generally characterized".split()
)
_DEFINING = frozenset(
    """infection disease condition disorder inflammation accumulation collection abnormality type form kind cause
    complication process syndrome state buildup build gathering widening leakage clouding growth loss increase decrease result consequence leading common presence tumor cancer group term malignancy illness
    seen caused defined characterized usually typically commonly often frequently generally""".split()
)
_GENERAL_VERBS = frozenset(
    "refer occurs occur develop arise typically usually often commonly can mean result describe".split()
)


@dataclass(slots=True)
class Reading:
    """All that was read in one caption."""

    tokens: Tokens
    scopes: Scopes
    mentions: list[Mention] = field(default_factory=list)
    normal: list[State] = field(default_factory=list)
    abnormal: list[Hit] = field(default_factory=list)
    anatomies: list[Hit] = field(default_factory=list)
    modalities: list[Hit] = field(default_factory=list)
    triggers: list[Hit] = field(default_factory=list)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the characters of a range of tokens."""
        return self.tokens.starts[start], self.tokens.ends[end - 1]

    def cue_span(self, cue: int) -> tuple[int, int] | None:
        """Return the characters of a cue."""
        if cue < 0:
            return None
        hit = self.scopes.cues[cue]
        return self.span(hit[0], hit[1])


def _between(a: int, b: int, c: int, d: int) -> tuple[int, int]:
    """Return the tokens between two parts, whichever comes first."""
    return (b, c) if a <= c else (d, a)


def read(tokens: Tokens, vocabulary: vb.Vocabulary) -> Reading:
    """Return what a caption says in the terms of a vocabulary."""
    return _Reader(tokens, vocabulary).read()


_START = operator.attrgetter("start")


class _Reader:
    def __init__(self, tokens: Tokens, vocabulary: vb.Vocabulary) -> None:
        self.tokens = tokens
        self.words = tokens.words
        self.vocabulary = vocabulary
        self.layers, self.gaps = matcher.match(tokens, vocabulary.trie)
        self.scopes = scope.resolve(tokens, self.layers[vb.CUE], vocabulary.cues)
        self.named: tuple[set[int], dict[int, int]] | None = None

    def read(self) -> Reading:
        layers = self.layers
        self.share_words()
        mentions = self.contiguous()
        covered: set[int] = set()
        used: set[int] = set()
        if layers[vb.NORMAL] or layers[vb.ABNORMAL]:
            covered = {k for m in mentions if m.meanings and not m.denial for k in range(m.start, m.end)}
        if self.gaps:
            mentions += self.discontinuous()
        if layers[vb.STRUCTURE] and (layers[vb.NORMAL] or layers[vb.ABNORMAL]):
            structured, used = self.structured()
            mentions += structured
        if self.vocabulary.scales:
            mentions += [
                Mention(start, end, owners, frozenset(), status, cue, graded=True)
                for start, end, owners, status, cue in scales.read(self.tokens, self.scopes, self.vocabulary.scales)
            ]
        if len(mentions) > 1:
            mentions.sort(key=_START)
        self.generic(mentions)
        if mentions and len(self.scopes.sentences) > 1:
            resumption.resume(self.tokens, self.scopes, mentions)
        if "or" in self.tokens.distinct:
            self.alternatives(mentions)
        reading = Reading(
            self.tokens,
            self.scopes,
            mentions,
            anatomies=layers[vb.ANATOMY],
            modalities=layers[vb.MODALITY],
            triggers=layers[vb.TRIGGER],
        )
        if layers[vb.NORMAL] or layers[vb.ABNORMAL]:
            reading.abnormal = [h for h in layers[vb.ABNORMAL] if h[0] not in used and h[0] not in covered]
            states = States(
                self.words,
                self.scopes,
                anatomy=layers[vb.ANATOMY],
                names=self.vocabulary.anatomies,
                modality=layers[vb.MODALITY],
                covered=covered,
                something=any(m.status == lx.AFFIRMED and m.meanings for m in mentions),
            )
            reading.normal = states.normal(layers[vb.NORMAL])
            reading.normal += states.without_abnormality(layers[vb.ABNORMAL], self.vocabulary.abnormal, used)
            # "normal apart from a cataract" calls only the rest normal.
            if reading.normal and self.scopes.cues:
                kinds = self.vocabulary.cues
                spared = {
                    self.scopes.sentence[start]
                    for start, _, index in self.scopes.cues
                    if kinds[index] == lx.EXCEPT and self.words[start] != "only"
                }
                if spared:
                    reading.normal = [s for s in reading.normal if self.scopes.sentence[s.start] not in spared]
        return reading

    def status(self, ranges: tuple[tuple[int, int], ...], inner: tuple[int, int]) -> tuple[int, int]:
        """Return how a mention is meant; cues that are part of its own wording do not count."""
        scopes = self.scopes
        if scopes.plain:
            return lx.AFFIRMED, -1
        status, by = scopes.status, scopes.by
        best, cue = lx.AFFIRMED, -1
        for lo, hi in ranges:
            for k in range(lo, hi):
                if status[k] > best:
                    number = by[k]
                    if number >= 0:
                        c = scopes.cues[number]
                        own = c[0] >= inner[0] or status[k] == lx.NEGATED
                        if own and inner[0] < c[1] <= inner[1]:
                            continue
                    best, cue = status[k], number
        if best == lx.NEGATED and cue >= 0:
            end = scopes.cues[cue][1]
            k = ranges[0][0] - 1
            floor = max(end, k - 2)
            while k >= floor and self.words[k] not in (",", "or", "and"):
                if self.words[k] in lx.ADDITIONAL:
                    return lx.GENERIC, cue
                k -= 1
        return best, cue

    def share_words(self) -> None:
        """Add findings that share a word with their neighbour: "subdural and subarachnoid haemorrhage"."""
        words = self.words
        concepts = self.layers[vb.CONCEPT]
        n = len(words)
        added: list[Hit] = []
        joined = [] if _JOINTS.isdisjoint(self.tokens.distinct) else [h for h in concepts if h[1] - h[0] > 1]
        ends = starts = frozenset[int]()
        if joined:
            ends, starts = frozenset([h[1] for h in concepts]), frozenset([h[0] for h in concepts])
        for s, e, index in joined:
            if s > 1 and words[s - 1] in _JOINTS and self.vocabulary.terms[index].meanings:
                hit = self.shared_head(s, e, ends)
                if hit is not None:
                    added.append(hit)
            if e + 1 < n and words[e] in _JOINS and e + 1 not in starts:
                found = self.lookup((s, e - 1), (e + 1, e + 2))
                if found is not None:
                    added.append((e + 1, e + 2, found))
        if not _INSERTS.isdisjoint(self.tokens.distinct):
            for k in [k for k, word in enumerate(words) if word in _INSERTS and 0 < k < n - 3]:
                if words[k] == "(" or words[k + 1] in _IN_OTHER_WORDS:
                    added += self.apposition(k)
                elif words[k + 1] == "not" and k < n - 4:
                    added += self.parenthesis(k + 1)
        if added:
            concepts += [hit for hit in added if hit not in concepts]
            concepts.sort()

    def shared_head(self, s: int, e: int, ends: frozenset[int]) -> Hit | None:
        """Return the finding before a joint that ends as the one after it does: "diabetic rather than | hypertensive X"."""
        words = self.words
        joint = s - 1
        while joint > 0 and words[joint - 1] in _JOINTS:
            joint -= 1
        if joint in ends or all(w == "," for w in words[joint:s]):
            return None
        for size in (1, 2, 3):
            first = joint - size
            if first < 0 or words[first] in _JOINTS:
                break
            for cut in range(s + 1, e):
                found = self.lookup((first, joint), (cut, e))
                if found is not None:
                    return first, joint, found
        return None

    def parenthesis(self, k: int) -> list[Hit]:
        """Return the findings of "diabetic, not hypertensive, retinopathy"; ``k`` is where "not" stands."""
        words = self.words
        close = next((q for q in range(k + 2, min(len(words) - 1, k + 5)) if words[q] == ","), None)
        if close is None:
            return []
        found = []
        for size in (1, 2):
            for first, end in ((k + 1, close), (k - 2, k - 1)):
                term = self.lookup((first, end), (close + 1, close + 1 + size))
                if term is not None:
                    found.append((first, end, term))
        return found

    def apposition(self, k: int) -> list[Hit]:
        """Return the findings that run on over an insertion: "exudative (neovascular) X", "dry, i.e. non-exudative, X"."""
        words = self.words
        close = ")" if words[k] == "(" else ","
        end = next((q for q in range(k + 2, min(len(words) - 1, k + 8)) if words[q] == close), None)
        if end is None:
            return []
        for before in (3, 2, 1):
            for after in (4, 3, 2, 1):
                if k >= before and end + after < len(words):
                    found = self.lookup((k - before, k), (end + 1, end + 1 + after))
                    if found is not None:
                        return [(k - before, k, found)]
        return []

    def lookup(self, first: tuple[int, int], second: tuple[int, int]) -> int | None:
        """Return the term that exactly the words of two ranges are."""
        node = self.vocabulary.trie
        words = self.words
        for start, end in (first, second):
            for word in words[start:end]:
                if word not in node.after:
                    return None
                node = node.after[word]
        return next((index for layer, index, _ in node.entries if layer == vb.CONCEPT), None)

    def contiguous(self) -> list[Mention]:
        """Return findings whose wording stands in one piece."""
        found = []
        terms = self.vocabulary.terms
        places = [h for h in (*self.layers[vb.ANATOMY], *self.layers[vb.STRUCTURE]) if h[1] - h[0] > 1]
        reach, by_class = 0, False
        for start, end, index in self.layers[vb.CONCEPT]:
            term = terms[index]
            # What a class's wording ends in belongs to it: the "osteoarthritis" of "acromioclavicular osteoarthritis of X".
            runs_on = start < reach and by_class
            if end > reach:
                reach = end
                by_class = term.of_class
            if runs_on or not (term.meanings or term.signs or term.denies):
                continue
            if places and any(s <= start and e >= end and e - s > end - start for s, e, _ in places):
                continue
            status, cue = self.status(((start, end),), (start, end))
            if status == lx.AFFIRMED:
                status = self.attached(start, end)
            if term.denies and status == lx.AFFIRMED:
                found.append(Mention(start, end, term.denies, frozenset(), lx.NEGATED, denial=True))
            if term.meanings or term.signs:
                found.append(Mention(start, end, term.meanings, term.signs, status, cue, weak=term.weak))
        return found

    def attached(self, start: int, end: int) -> int:
        """Return what an affirmed mention is worth beside its neighbours: "any mass", "glaucoma screening"."""
        after = self.words[end] if end < len(self.words) else "."
        if after in ("patient", "history"):
            return lx.HISTORICAL
        if after in _SERVICES or (start and self.words[start - 1] == "any"):
            return lx.HYPOTHETICAL
        return lx.AFFIRMED

    def discontinuous(self) -> list[Mention]:
        """Return findings with other words between their parts: "the heart is mildly enlarged"."""
        found: list[Mention] = []
        terms = self.vocabulary.terms
        concepts = self.layers[vb.CONCEPT]
        for a, b, c, d, index in self.gaps:
            if self.scopes.sentence[a] != self.scopes.sentence[c]:
                continue
            term = terms[index]
            mine = {*term.meanings, *term.signs, *term.denies}
            # A longer wording that says something else owns its words.
            if any(
                ((s <= c and e >= d and e - s > d - c) or (s <= a and e >= b and e - s > b - a))
                and not mine & {*terms[i].meanings, *terms[i].signs, *terms[i].denies}
                for s, e, i in concepts
            ):
                continue
            between = self.words[b:c]
            if "and" in between and b == a + 1 and self.words[a].endswith("ed"):
                continue  # "the heart is enlarged and the aorta": the state is the subject's before it
            if ("and" in between or "or" in between) and any(
                s >= b and e <= c and terms[i].meanings for s, e, i in concepts
            ):
                continue
            if any(self.vocabulary.meanings[m].kind == "normal" for m in term.meanings) and any(
                w in _REST for w in self.words[max(0, a - 3) : d]
            ):
                continue
            status, cue = self.status(((a, b), (c, d)), (-1, -1))
            if term.denies and status == lx.AFFIRMED:
                found.append(Mention(a, d, term.denies, frozenset(), lx.NEGATED, gap=(b, c), denial=True))
            if term.meanings or term.signs:
                found.append(Mention(a, d, term.meanings, term.signs, status, cue, gap=(b, c)))
        return found

    def structured(self) -> tuple[list[Mention], set[int]]:
        """Bind words of abnormality to structures: "a lesion of the kidney", "the ACL is torn", "an intact ACL"."""
        structures = self.layers[vb.STRUCTURE]
        used: set[int] = set()
        found: list[Mention] = []
        if not structures:
            return found, used
        table = self.vocabulary.structures
        terms = self.vocabulary.terms
        known: dict[vb.Words, dict[int, tuple[int, ...]]] = {}
        for start, end, index in self.layers[vb.ABNORMAL]:
            if any(
                s <= start and e >= end and e - s > end - start and terms[i].meanings
                for s, e, i in self.layers[vb.CONCEPT]
            ):
                continue
            head = self.vocabulary.abnormal[index]
            # Only what the word can speak of: in "a tear of the ACL in the knee" no tear is the knee's.
            able = known.get(head)
            if able is None:
                able = known[head] = {
                    i: owners
                    for i in {h[2] for h in structures}
                    if (
                        owners := tuple(
                            m for m, heads in table[i] if heads is None or head in heads or head[-1:] in heads
                        )
                    )
                }
            # "gallbladder condition" is a disease, "the condition of the gallbladder" none.
            targets = [h for h in structures if h[2] in able]
            if head == _VAGUE:
                targets = [h for h in targets if h[1] == start and not self.inside_finding(h)]
            for s, e, i in bound(self.words, self.scopes, start, end, targets):
                if owners := able[i]:
                    status, cue = self.status(((start, end), (s, e)), (-1, -1))
                    found.append(
                        Mention(
                            min(s, start), max(e, end), owners, frozenset(), status, cue, gap=_between(s, e, start, end)
                        )
                    )
                    used.add(start)
        for start, end, _ in self.layers[vb.NORMAL]:
            if self.scopes.status[start] != lx.AFFIRMED:
                continue
            for s, e, i in bound(self.words, self.scopes, start, end, structures):
                owners = tuple(m for m, heads in table[i] if heads is None)
                if owners:
                    found.append(
                        Mention(
                            min(s, start),
                            max(e, end),
                            owners,
                            frozenset(),
                            lx.NEGATED,
                            gap=_between(s, e, start, end),
                            denial=True,
                        )
                    )
        return found, used

    def inside_finding(self, hit: Hit) -> bool:
        """Say whether a structure is part of a finding's own wording: the ACL of "postoperative ACL"."""
        terms = self.vocabulary.terms
        return any(
            s <= hit[0] and hit[1] <= e and e - s > hit[1] - hit[0] and terms[i].meanings
            for s, e, i in self.layers[vb.CONCEPT]
        )

    def generic(self, mentions: list[Mention]) -> None:
        """Take definitions for what they are: "Pneumonia is an infection that …" says nothing of this image."""
        words = self.words
        for m in mentions:
            if m.status != lx.AFFIRMED or (m.start > 1 and len(self.scopes.sentences) == 1):
                continue
            a, b = self.scopes.sentences[self.scopes.sentence[m.start]]
            begins = m.start == a or (m.start == a + 1 and words[a] in lx.DETERMINER)
            if not begins or m.end + 1 >= b:
                continue
            verb, after = words[m.end], words[m.end + 1]
            defines = (
                verb in ("is", "are") and after in _SAYS and any(w in _DEFINING for w in words[m.end + 1 : m.end + 9])
            )
            if (defines or (verb in _GENERAL_VERBS and after not in ("be", "not"))) and not any(
                w in lx.IMAGE for w in words[m.end : b]
            ):
                for other in mentions:
                    if a <= other.start < b and other.status == lx.AFFIRMED:
                        other.status = lx.GENERIC

    def alternatives(self, mentions: list[Mention]) -> None:
        """Doubt both sides of an "or" that nothing denies."""
        words = self.words
        affirmed = [m for m in mentions if m.status == lx.AFFIRMED and m.meanings]
        for left, right in itertools.pairwise(affirmed):
            between = words[left.end : right.start]
            if "or" not in between or len(between) > 5 or any(w in lx.FINITE or w in _BREAKS for w in between):
                continue
            same = self.scopes.sentence[left.start] == self.scopes.sentence[right.start]
            if same and not set(left.meanings) & set(right.meanings):
                left.status = right.status = lx.HEDGED
        for m in affirmed:
            if m.status == lx.AFFIRMED and m.gap is None and (self.other_after(m.end) or self.other_before(m.start)):
                m.status = lx.HEDGED

    def other_after(self, at: int) -> bool:
        """Say whether "or" and something of another kind follow a finding: "pneumothorax | or skin fold"."""
        words = self.words
        if at + 1 >= len(words) or words[at] != "or":
            return False
        k = at + 1
        while k < len(words) and (words[k] in lx.DETERMINER or words[k] == "as"):
            k += 1
        end = k
        while end < len(words) and self.nominal(end):
            end += 1
        return end > k and not self.same_kind(k, end)

    def other_before(self, at: int) -> bool:
        """Say whether something of another kind and "or" precede a finding: "a skin fold or a | pneumothorax"."""
        words = self.words
        k = at
        while k > 0 and words[k - 1] in lx.DETERMINER:
            k -= 1
        if k < 2 or words[k - 1] != "or":
            return False
        start = end = k - 1
        while start > 0 and self.nominal(start - 1):
            start -= 1
        opened = start > 0 and words[start - 1] in _OPENS_NOUN
        # "focal or diffuse consolidation": what stands before is a mere adjective unless an article tells it is a thing
        whole = k < at or (not words[end - 1].endswith(_ADJECTIVAL) and end - start > 1)
        return opened and whole and end > start and not self.same_kind(start, end)

    def nominal(self, k: int) -> bool:
        """Say whether a token can be part of a noun phrase."""
        word = self.words[k]
        return word[0].isalpha() and not (
            word in lx.PREPOSITIONS
            or word in lx.FINITE
            or word in lx.STOP
            or word in lx.DETERMINER
            or word in lx.PARTICIPLE
            or word in lx.PERCEIVED
            or word in _NO_NOUN
        )

    def same_kind(self, start: int, end: int) -> bool:
        """Say whether a noun phrase names no rival of a finding: the picture, a place, a word of abnormality, a finding."""
        if any(w in lx.IMAGE for w in self.words[start:end]):
            return True
        named, places = self.named_tokens()
        return not named.isdisjoint(range(start, end)) or places.get(end, -1) >= start

    def named_tokens(self) -> tuple[set[int], dict[int, int]]:
        """Return the tokens of all findings, states, pictures and cues, and where the places begin, by their ends."""
        if self.named is None:
            layers = (vb.CONCEPT, vb.ABNORMAL, vb.NORMAL, vb.MODALITY, vb.CUE, vb.SEVERITY, vb.TRIGGER)
            tokens = {k for layer in layers for h in self.layers[layer] for k in range(h[0], h[1])}
            places: dict[int, int] = {}
            for start, end, _ in itertools.chain(self.layers[vb.ANATOMY], self.layers[vb.STRUCTURE]):
                places[end] = max(start, places.get(end, -1))
            self.named = tokens, places
        return self.named
