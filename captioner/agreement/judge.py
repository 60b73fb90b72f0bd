"""The judge: what a caption says, held against its labels, rule by rule."""

import functools
from collections.abc import Callable

from captioner.agreement import lexicon as lx
from captioner.agreement.compiling import STATE_WORDS
from captioner.agreement.context import Context
from captioner.agreement.issues import Issue
from captioner.agreement.mentions import Mention
from captioner.agreement.reader import Reading
from captioner.agreement.tokens import Kind
from captioner.agreement.vocabulary import Meaning, Vocabulary

Accept = Callable[[int], tuple[str, ...]]
LevelOf = Callable[[str, str | None, str], str]

_CAUSE = frozenset(
    "following after secondary due caused complicating complicated from underlying related alcoholic attributable resulting".split()
)
_DOUBTED = (lx.HEDGED, lx.HYPOTHETICAL)
_DEGREES = frozenset("mild moderate severe proliferative advanced significant large focal acute chronic".split())
_FOCAL = frozenset("lesion mass nodule tumor cyst lump".split())
"""What is focal by nature, so that the word takes nothing from a denial."""

_ALTERED = frozenset(
    """enlarged enlargement swollen swelling atrophic atrophied shrunken hypertrophied distended engorged nodular
    heterogeneous inhomogeneous hypoechoic hyperechoic unhealthy stone calculus sludge polyp cyst nodule tumor thrombus
    clot fibroid""".split()
)
"""Words of state that only a finding could support."""

_DEGREE_OF = {
    word: degree
    for degree, words in enumerate(("mild minimal slight subtle minor", "moderate", "severe advanced profound"))
    for word in words.split()
}
_ADJECTIVES = 3
_DISEASE_ENDINGS = ("itis", "oma", "emia", "iasis", "osis", "opathy", "plegia", "megaly", "penia", "rrhage")
_SHORTEST_DISEASE = 5
_NO_DISEASE = frozenset(
    """diagnosis prognosis mitosis apoptosis stroma hypoxemia symptoma axoma soma chroma aroma diploma osmosis symbiosis
    necrosis fibrosis sclerosis stenosis keratosis hyperkeratosis parakeratosis orthokeratosis acanthosis spongiosis
    anisocytosis poikilocytosis exocytosis phagocytosis pyknosis elastosis hyalinosis anisonucleosis melanosis cyanosis
    lordosis kyphosis ankylosis hyperemia ischemia anastomosis trauma scotoma karyorrhexis papillomatosis telangiectasia
    acidosis homeostasis stasis cholestasis metastasis""".split()
)
"""Words with such an ending that name a process, a shape or a feature rather than a disease."""

DISEASES = Kind(lambda w: w.endswith(_DISEASE_ENDINGS) and len(w) > _SHORTEST_DISEASE and w not in _NO_DISEASE)

_LOOKS_SO = frozenset("pale pallor raised elevated blurred blurring".split())
"""Words of state that may as well describe how an organ looks in health."""

_NO_FINDING = ("normal", "absence", "organ", "tissue", "device")


class Judge:
    """Collects the issues of one caption.

    Args:
        caption: the text.
        reading: what it says.
        context: what its labels allow.
        vocabulary: of the schema.
        negatives: classes known to be absent.
        closed_world: a class that is not labelled is absent.
        accept: returns the wordings that would pass for a class.
        level_of: returns an issue's level under the schema, by code, detail and default.
    """

    def __init__(
        self,
        caption: str,
        reading: Reading,
        context: Context,
        vocabulary: Vocabulary,
        *,
        negatives: frozenset[int],
        closed_world: bool,
        accept: Accept,
        level_of: LevelOf,
    ) -> None:
        self.caption = caption
        self.reading = reading
        self.context = context
        self.v = vocabulary
        self.m = vocabulary.meanings
        self.negatives = negatives
        self.closed_world = closed_world
        self.accept = accept
        self.level_of = level_of
        self.issues: dict[Issue, None] = {}
        self.unmet: set[int] = set()
        self.asserted: dict[int, list[Mention]] = {}
        for mention in reading.mentions:
            for meaning in mention.meanings:
                self.asserted.setdefault(meaning, []).append(mention)

    def add(
        self,
        code: str,
        fix: str,
        *,
        label: int | None = None,
        tokens: tuple[int, int] | None = None,
        cue: int = -1,
        detail: str | None = None,
        level: str = "error",
        accept: bool = False,
    ) -> None:
        """Note an issue; ``tokens`` is a range of tokens, ``cue`` an index into the reading's cues."""
        level = self.level_of(code, detail, level)
        if level == "off":
            return
        span = self.reading.span(*tokens) if tokens else None
        self.issues[
            Issue(
                code=code,
                level=level,
                label=self.m[label].code if label is not None else None,
                span=span,
                text=self.caption[span[0] : span[1]] if span else None,
                cue=self.reading.cue_span(cue),
                detail=detail,
                fix=fix,
                accept=self.accept(label) if accept and label is not None else (),
            )
        ] = None

    def run(self) -> None:
        """Judge the labels, then everything else that is said."""
        for label in self.context.labels:
            kind = self.m[label].kind
            if kind == "normal":
                self.normal_label(label)
            elif kind == "absence":
                self.absence_label(label)
            else:
                self.label(label)
        for mention in self.reading.mentions:
            self.mention(mention)
        self.unknown_disease()
        if self.reading.normal:
            self.normality()
        if self.context.kinds == {"absence"}:
            self.more_than_absence()
        elif self.context.kinds == {"organ"}:
            self.organs_only()

    # --- the labels themselves ----------------------------------------------------------------------------------

    def label(self, label: int) -> None:
        """Hold a caption against a finding, grade, organ, tissue or device that is there."""
        meaning = self.m[label]
        affirmed = denied = doubted = other = None
        for index, mentions in self.asserted.items():
            own = label in self.m[index].implies
            if not own and index not in meaning.implies:
                continue
            for m in mentions:
                sure = not m.graded or len(m.meanings) == 1
                if own and m.status == lx.AFFIRMED and sure:
                    affirmed = affirmed or m
                elif m.status == lx.NEGATED and index == label and sure:
                    denied = m
                elif m.status == lx.NEGATED and index in meaning.implies and index != label and not self.partial(m):
                    denied = denied or m
                elif own and m.status in _DOUBTED:
                    doubted = doubted or m
                elif own and m.status != lx.NEGATED:
                    other = other or m
        if affirmed is not None and not (denied is not None and label in denied.meanings and not denied.graded):
            self.degree(label, affirmed)
            return
        if affirmed is None:
            if meaning.kind == "organ" and self.names_place(meaning.anatomy):
                return
            self.unmet.add(label)
        say = f"Say plainly that the image shows {meaning.name}."
        name = _capital(meaning.name)
        if denied is not None:
            self.verdict("negated_label", f"{name} is there: do not deny it. {say}", label, denied)
        elif doubted is not None:
            self.verdict("hedged_label", f"{name} is certain: do not leave it open. {say}", label, doubted)
        elif (
            state := next((s for s in self.reading.normal if s.places and s.places & meaning.seats), None)
        ) is not None:
            fix = f"{name} is there: do not call its place normal. {say}"
            self.add("negated_label", fix, label=label, tokens=(state.start, state.end), accept=True)
        elif other is not None:
            self.verdict("missing_label", f"{name} is named, but not as a finding of this image. {say}", label, other)
        else:
            self.add("missing_label", say, label=label, accept=True)

    def degree(self, label: int, m: Mention) -> None:
        """Note a degree that is not the label's own: "mild" for severe hypertensive retinopathy."""
        mine = _degrees(self.m[label].name)
        if not mine or self.m[label].group in self.context.groups:
            return
        words = self.reading.tokens.words
        first = max(0, m.start - _ADJECTIVES)
        cut = next((k for k in range(m.start - 1, first - 1, -1) if not words[k][0].isalpha()), first - 1)
        said = {_DEGREE_OF[w]: k for k in range(cut + 1, m.end) if (w := words[k]) in _DEGREE_OF}
        if said and not mine & said.keys():
            at = min(said.values())
            fix = f"The label is {self.m[label].name}."
            self.add("wrong_grade", fix, label=label, tokens=(at, at + 1), accept=True)

    def unknown_disease(self) -> None:
        """Refuse words with the form of a disease's name that nothing in the vocabulary knows: "due to arteritis"."""
        if not self.context.labels:
            return
        tokens, status = self.reading.tokens, self.reading.scopes.status
        diseases = [w for w in DISEASES.among(tokens.distinct) if w not in self.context.words]
        for k, word in enumerate(tokens.words) if diseases else ():
            if (
                word in diseases
                and not any(m.start <= k < m.end for m in self.reading.mentions)
                and status[k] in (lx.AFFIRMED, lx.HEDGED)
                # "exposes", in the form that tokens have
                and self.caption[tokens.ends[k] - 4 : tokens.ends[k]].lower() != "oses"
            ):
                fix = f'Leave out "{word}": the labels do not hold it.'
                self.add("unsupported_finding", fix, tokens=(k, k + 1))

    def verdict(self, code: str, fix: str, label: int, m: Mention) -> None:
        """Note an issue of a label at a mention."""
        self.add(code, fix, label=label, tokens=(m.start, m.end), cue=m.cue, accept=True)

    def partial(self, m: Mention) -> bool:
        """Say whether a denial is only of a degree: "without severe retinopathy"."""
        words = self.reading.tokens.words
        for k in range(m.start - 1, max(-1, m.start - 5), -1):
            if words[k] in ("no", "without", "with", "not", "nor", "and", ",", ";", "."):
                return False  # what stands before the denial is no part of it
            if words[k] == "focal" and words[m.end - 1] in _FOCAL:
                continue
            if words[k] in _DEGREES:
                return not (k and words[k - 1] in ("even", "any"))
        return False

    def names_place(self, place: str) -> bool:
        """Say whether a body region is named."""
        status = self.reading.scopes.status
        return any(
            place in self.v.anatomies[i] and status[start] in (lx.AFFIRMED, lx.HYPOTHETICAL)
            for start, _, i in self.reading.anatomies
        )

    def normal_label(self, label: int) -> None:
        """Hold a caption against a normal: it must say so, for the whole or for its parts, or deny all there could be."""
        meaning = self.m[label]
        own = self.asserted.get(label, [])
        if any(m.status == lx.AFFIRMED for m in own):
            return
        states = self.reading.normal
        if any(s.places is None or self.whole(s.places, meaning) for s in states):
            return
        inside = {
            p for s in states if s.places for p in s.places if meaning.anatomy in self.v.places.get(p, frozenset())
        }
        if len(inside) > 1:
            return
        for m in self.reading.mentions:
            if label in m.signs and m.status == lx.AFFIRMED:
                inside |= {p for h in self.reading.anatomies if m.start <= h[0] < m.end for p in self.v.anatomies[h[2]]}
        if len(inside) > 1:
            return
        siblings = [
            m
            for m in self.m
            if m.code is not None
            and m.kind not in _NO_FINDING
            and (m.anatomy, m.modality) == (meaning.anatomy, meaning.modality)
        ]
        if siblings and all(any(self.is_denied(p) for p in m.implies) for m in siblings):
            return
        self.not_said(label, own, "Say plainly that nothing abnormal is seen.")

    def absence_label(self, label: int) -> None:
        """Hold a caption against an absence: what is absent must be denied, or all its steps, or the image be normal."""
        meaning = self.m[label]
        own = list(self.asserted.get(label, []))
        if any(m.status == lx.AFFIRMED for m in own):
            return
        if any(s.places is None or self.whole(s.places, meaning) for s in self.reading.normal):
            return
        absent = meaning.denies
        if absent is not None:
            if any(self.is_denied(p) for p in self.m[absent].implies):
                return
            steps = [i for i, m in enumerate(self.m) if m.code and absent in m.implies and i != absent]
            denied = [[x for x in self.asserted.get(i, ()) if x.status == lx.NEGATED] for i in steps]
            if steps and all(denied):
                return
            words = self.reading.tokens.words
            if any(x.start and words[x.start - 1] in ("even", "any") for found in denied for x in found):
                return
            # "neither mild nor more advanced retinopathy"
            lowest = min(steps, key=lambda i: self.m[i].level or 0, default=absent)
            head = any(x.status == lx.NEGATED for x in self.asserted.get(absent, ()))
            if head and denied and denied[steps.index(lowest)] and ("nor" in words or "or" in words):
                return
            own += self.asserted.get(absent, [])
        self.not_said(label, own, f"Say plainly: {meaning.name}.")

    def not_said(self, label: int, own: list[Mention], fix: str) -> None:
        """Note that a normal or an absence is denied, doubted or not said."""
        self.unmet.add(label)
        refused = next((m for m in own if m.status == lx.NEGATED and label in m.meanings), None)
        doubted = next((m for m in own if m.status in _DOUBTED), None)
        if refused is not None:
            self.verdict("negated_label", fix, label, refused)
        elif doubted is not None:
            self.verdict("hedged_label", fix, label, doubted)
        else:
            self.add("missing_label", fix, label=label, accept=True)

    def whole(self, places: frozenset[str], meaning: Meaning) -> bool:
        """Say whether places are the body region of a class as a whole."""
        return meaning.anatomy in places or (meaning.anatomy == "retina" and "eye" in places)

    def is_denied(self, index: int) -> bool:
        """Say whether a meaning is denied, in whatever degree."""
        return any(
            m.status == lx.NEGATED and not m.graded and not self.partial(m) and not self.only_unlikely(m)
            for m in self.asserted.get(index, ())
        )

    def only_unlikely(self, m: Mention) -> bool:
        """Say whether a denial leaves something open: enough against a label, too little for an absence."""
        scopes = self.reading.scopes
        return m.cue >= 0 and self.reading.tokens.words[scopes.cues[m.cue][0]] in ("unlikely", "improbable")

    # --- everything else that is said ---------------------------------------------------------------------------

    def mention(self, m: Mention) -> None:
        """Judge one finding that a caption names."""
        context = self.context
        if not m.meanings:
            if m.status == lx.AFFIRMED:
                self.sign(m)
            return
        if m.status == lx.NEGATED:
            self.denial(m)
            return
        allowed = not context.allowed.isdisjoint(m.meanings)
        if m.status in (lx.HISTORICAL, lx.FAMILY) and not allowed:
            text = self.caption[slice(*self.reading.span(m.start, m.end))]
            self.add("invented_detail", f'Leave out "{text}".', tokens=(m.start, m.end), cue=m.cue, detail="history")
        if m.status not in (lx.AFFIRMED, lx.HEDGED) or not context.labels:
            return
        if allowed or m.signs & context.implied:
            return
        if m.graded and len(m.meanings) > 1:
            return
        index = min(m.meanings, key=self.distance)
        other = self.m[index]
        tokens = (m.start, m.end)
        if (m.weak and self.distance(index)[0]) or self.component(m) or self.adds_nothing(other):
            if other.kind == "device" and self.context.device and m.status == lx.AFFIRMED:
                fix = "The label does not say which device it is."
                self.add("invented_detail", fix, tokens=tokens, detail="device", level="warning")
            return
        mate = self.mate(index)
        if mate is not None and other.kind != "normal":
            fix = f"The label is {self.m[mate].name}, and nothing else on its scale."
            self.add("wrong_grade", fix, label=mate, tokens=tokens, cue=m.cue, accept=True)
            return
        span = self.reading.span(*tokens)
        drop = f'Leave out "{self.caption[span[0] : span[1]]}": the labels do not hold it.'
        if other.kind == "absence":
            for i in context.labels:
                if other.denies is not None and other.denies in self.m[i].implies:
                    fix = f"{_capital(self.m[i].name)} is there: do not deny it."
                    self.add("negated_label", fix, label=i, tokens=tokens, cue=m.cue, accept=True)
        elif other.kind == "normal":
            if context.findings and m.status == lx.AFFIRMED:
                self.conflict(tokens, context.findings[0], m.cue)
        elif other.kind in ("organ", "tissue"):
            rival = (
                any(self.m[i].kind == "organ" for i in context.labels)
                if other.kind == "organ"
                else m.status == lx.AFFIRMED
            )
            if rival and not self.distance(index)[0]:
                self.add("extra_label", drop, label=index, tokens=tokens, cue=m.cue)
        elif other.code is None and other.kind == "device":
            self.add("invented_detail", drop, tokens=tokens, cue=m.cue, detail="device")
        else:
            self.foreign(index, m, drop)

    def foreign(self, index: int, m: Mention, drop: str) -> None:
        """Note a finding that no label holds."""
        context = self.context
        other = self.m[index]
        tokens = (m.start, m.end)
        placed = other.code is None or any(m.start <= h[0] and h[1] <= m.end for h in self.reading.anatomies)
        misplaced = next((i for i in sorted(self.unmet) if placed and _elsewhere(self.m[i], other)), None)
        if misplaced is not None:
            fix = f"The label is {self.m[misplaced].name}."
            self.add("wrong_anatomy", fix, label=misplaced, tokens=tokens, accept=True)
        if other.code is not None:
            self.add("extra_label", drop, label=index, tokens=tokens, cue=m.cue)
        else:
            words = self.reading.tokens.words
            if any(w in _CAUSE for w in words[max(0, m.start - 4) : m.start]):
                self.add("invented_detail", drop, tokens=tokens, cue=m.cue, detail="history")
            level = "warning" if any(i in context.typical for i in m.meanings) else "error"
            self.add("unsupported_finding", drop, tokens=tokens, cue=m.cue, level=level)
        if context.normal and m.status == lx.AFFIRMED:
            fix = "The label is normal: name no disease."
            self.add("normal_conflict", fix, label=context.normal[0], tokens=tokens, cue=m.cue, accept=True)

    def component(self, m: Mention) -> bool:
        """Say whether a finding is part of a longer wording of a label: the "mass" of "a mass ... in the bowel"."""
        if m.gap is not None:
            return False
        return any(
            other is not m
            and other.status == m.status
            and (other.holds(m.start, m.end) if other.gap is not None else other.start < m.end <= other.end)
            and (any(i in self.context.allowed for i in other.meanings) or other.signs & self.context.implied)
            for other in self.reading.mentions
        )

    def adds_nothing(self, other: Meaning) -> bool:
        """Say whether a concept says no more than the labels: a tube where devices are labelled, two labels in one word."""
        if other.code is not None:
            return False
        if other.implies & self.context.signs and not other.implies & frozenset(self.context.labels):
            return True  # a particular kind of a declared sign, and no particular kind of the label
        codes = {i for i in other.implies if self.m[i].code is not None}
        mine = codes & self.context.implied
        if any(self.m[i].kind == "device" for i in mine):
            return True
        return len(mine) > 1 and codes <= self.context.implied

    def distance(self, index: int) -> tuple[int, int]:
        """Return a sort key: meanings of the labels' own kind of image come first."""
        other = self.m[index]
        here = any(
            (self.m[i].anatomy, self.m[i].modality) == (other.anatomy, other.modality) for i in self.context.labels
        )
        return (0 if here else 1, index)

    def mate(self, index: int) -> int | None:
        """Return the label whose scale a finding contradicts: as another step, or as a wider term of another step."""
        other = self.m[index]
        for label, rivals in self.context.rivals.items():
            if other.group == self.m[label].group or (other.code is None and index in rivals):
                return label
        return None

    def sign(self, m: Mention) -> None:
        """Judge a wording that is a sign of something, but no finding of its own."""
        if m.signs & self.context.implied or not self.context.labels:
            return
        concepts = {self.m[i].concept for i in self.context.implied}
        if any(self.m[s].concept is not None and self.m[s].concept in concepts for s in m.signs):
            return
        text = self.caption[slice(*self.reading.span(m.start, m.end))]
        fix = f'Leave out "{text}": it is no sign of the labels.'
        self.add("unsupported_finding", fix, tokens=(m.start, m.end), level="warning")

    def denial(self, m: Mention) -> None:
        """Note that a class is denied of which the labels say nothing."""
        if self.closed_world or self.context.normal or m.graded:
            return
        if any(i in self.context.implied or i in self.negatives for i in m.meanings):
            return
        other = self.m[m.meanings[0]]
        if (
            other.code is None
            or other.kind in ("normal", "absence")
            or (other.group and other.group in self.context.groups)
        ):
            return
        fix = f"The labels do not say whether {other.name} is there."
        self.add("denied_class", fix, label=m.meanings[0], tokens=(m.start, m.end), cue=m.cue, level="info")

    def conflict(self, tokens: tuple[int, int], label: int, cue: int = -1) -> None:
        """Note that something is called normal which is not."""
        fix = f"The image shows {self.m[label].name}: do not call it normal."
        self.add("normal_conflict", fix, label=label, tokens=tokens, cue=cue, accept=True)

    def normality(self) -> None:
        """Judge what is called normal beside findings."""
        for state in self.reading.normal if self.context.findings else ():
            for label in self.context.findings:
                meaning = self.m[label]
                places = state.places
                if places is None or self.whole(places, meaning) or places & meaning.seats:
                    self.conflict((state.start, state.end), label, state.cue)
                    break
                if label in self.unmet and any(meaning.anatomy in self.v.places.get(p, ()) for p in places):
                    self.conflict((state.start, state.end), label, state.cue)
                    break

    def more_than_absence(self) -> None:
        """Refuse global normality where the labels say no more than that one thing is absent: another may be there."""
        labels = self.context.labels
        fix = (
            f"The label only says: {self.m[labels[0]].name}. Other disease may be there: do not call the image normal."
        )
        said = {
            (s.start, s.end): s.cue
            for s in self.reading.normal
            if s.places is None or self.whole(s.places, self.m[labels[0]])
        }
        for m in self.reading.mentions:
            if m.status == lx.AFFIRMED and any(self.m[i].kind == "normal" for i in m.meanings):
                said.setdefault((m.start, m.end), m.cue)
        for tokens, cue in said.items():
            self.add(
                "normal_conflict",
                fix,
                label=labels[0],
                tokens=tokens,
                cue=cue,
                detail="more_than_absence",
                accept=True,
            )

    def organs_only(self) -> None:
        """Refuse any word on health where the labels name nothing but organs."""
        label = self.context.labels[0]
        fix = f"The label names the {self.m[label].name} and nothing else: call it neither normal nor abnormal."
        for state in self.reading.normal:
            self.add("normal_conflict", fix, label=label, tokens=(state.start, state.end), cue=state.cue, accept=True)
        status, words = self.reading.scopes.status, self.reading.tokens.words
        altered = [
            (k, k + 1)
            for k, word in enumerate(words)
            if word in _ALTERED or ((word,) in STATE_WORDS and word not in _LOOKS_SO)
        ]
        named = {k for m in self.reading.mentions if m.meanings and not m.weak for k in range(m.start, m.end)}
        for start, end in sorted({*altered, *((h[0], h[1]) for h in self.reading.abnormal)}):
            if words[start:end] == ["condition"]:
                continue
            if status[start] in (lx.AFFIRMED, lx.HEDGED) and not named.intersection(range(start, end)):
                self.add("unsupported_finding", fix, label=label, tokens=(start, end), accept=True)


def _elsewhere(mine: Meaning, other: Meaning) -> bool:
    """Say whether a finding is a label's own, in another place: a renal lesion for a splenic one."""
    if not mine.seats or not other.seats or mine.seats & other.seats:
        return False
    return mine.name.split()[-1] == other.name.split()[-1]


@functools.cache
def _degrees(name: str) -> frozenset[int]:
    """Return the degrees that a class's name holds."""
    return frozenset(_DEGREE_OF[w] for w in name.split() if w in _DEGREE_OF)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
