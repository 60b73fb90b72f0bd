"""The judge: what a caption says, held against its labels."""

import functools
from collections.abc import Mapping, Sequence

from captioner.agreement import details, form
from captioner.agreement import lexicon as lx
from captioner.agreement import vocabulary as vb
from captioner.agreement.issues import Issue, Verdict
from captioner.agreement.reader import Mention, Reading, read
from captioner.agreement.tokens import tokenize
from captioner.agreement.wordings import accepted
from captioner.schema import LabelSchema, Library, hash_of, load_library, load_schema

RULES = "1"
"""Version of the rules; raised whenever a verdict may change for the same vocabulary."""

_DEFAULT_LEVELS = {"denied_class": "info"}
_ORDER = {"error": 0, "warning": 1, "info": 2}
_CAUSE = frozenset(
    "following after secondary due caused complicating complicated from underlying related alcoholic attributable resulting".split()
)
_FINDINGS = ("finding", "grade", "device")


@functools.lru_cache(maxsize=64)
def _compiled(key: str, schema_box: "_Box") -> vb.Vocabulary:
    return vb.compile_vocabulary(schema_box.schema, schema_box.library)


class _Box:
    """Carries a schema through the cache, which compares by the key alone."""

    __slots__ = ("library", "schema")

    def __init__(self, schema: LabelSchema, library: Library) -> None:
        self.schema = schema
        self.library = library

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Box)

    def __hash__(self) -> int:
        return 0


class Checker:
    """Judges captions of one dataset.

    Compiling takes a moment and is shared between checkers of the same schema; checking is a pure function of its
    arguments, safe in threads. A checker can be pickled.

    Attributes:
        schema: the dataset's schema.
        version: the rules' version and a hash of the vocabulary; two checkers of one version give the same verdicts.
    """

    def __init__(self, schema: LabelSchema, library: Library | None = None) -> None:
        self.schema = schema
        self.library = library or load_library()
        self._key = hash_of([schema.hash, self.library.hash])
        self.version = f"{RULES}-{self._key}"
        self._vocabulary = _compiled(self._key, _Box(schema, self.library))

    def __reduce__(self) -> tuple[type["Checker"], tuple[LabelSchema, Library]]:
        """Pickle the schema and the library; the vocabulary is compiled again where it is needed."""
        return (Checker, (self.schema, self.library))

    def check(
        self,
        caption: str,
        labels: Sequence[str],
        *,
        negatives: Sequence[str] = (),
        attributes: Mapping[str, str] | None = None,
    ) -> Verdict:
        """Return whether a caption agrees with all of an image's labels.

        Args:
            caption: any text whatsoever.
            labels: the positive labels: codes, names or aliases, in any case.
            negatives: labels that are known to be absent.
            attributes: name (as in the schema's ``attributes``) → value, which a caption may then state.

        Raises:
            SchemaError: a label is not in the schema.
        """
        vocabulary = self._vocabulary
        codes = list(dict.fromkeys(self.schema.resolve(label).code for label in labels))
        denied = [self.schema.resolve(label).code for label in negatives]
        judge = _Judge(
            self,
            caption,
            [vocabulary.by_code[c] for c in codes],
            [vocabulary.by_code[c] for c in denied],
            attributes or {},
        )
        issues = judge.run()
        bad = any(i.level == "error" for i in issues)
        return Verdict("disagree" if bad else "agree", issues, self.version)

    def level(self, code: str, detail: str | None, default: str) -> str:
        """Return the level of an issue under this schema."""
        levels = self.schema.levels
        if detail is not None and f"{code}.{detail}" in levels:
            return levels[f"{code}.{detail}"]
        return levels.get(code, _DEFAULT_LEVELS.get(code, default))


def check_caption(
    caption: str,
    labels: Sequence[str],
    schema: LabelSchema | str,
    *,
    negatives: Sequence[str] = (),
    attributes: Mapping[str, str] | None = None,
) -> Verdict:
    """Return whether a caption agrees with its labels; see :meth:`Checker.check`.

    Args:
        caption: any text.
        labels: codes, names or aliases of the positive classes.
        schema: a schema, or the name or path of one.
        negatives: labels known to be absent.
        attributes: metadata that a caption may state.

    Raises:
        SchemaError: a label is not in the schema, or the schema is not valid.
        UsageError: there is no such schema.
    """
    if isinstance(schema, str):
        schema = load_schema(schema)
    return Checker(schema).check(caption, labels, negatives=negatives, attributes=attributes)


class _Judge:
    def __init__(
        self, checker: Checker, caption: str, labels: list[int], negatives: list[int], attributes: Mapping[str, str]
    ) -> None:
        self.checker = checker
        self.caption = caption
        self.v = checker._vocabulary  # noqa: SLF001
        self.m = self.v.meanings
        self.labels = labels
        self.negatives = set(negatives)
        self.attributes = attributes
        self.issues: list[Issue] = []
        self.implied: set[int] = set().union(*(self.m[i].implies for i in labels)) if labels else set()
        self.allowed = self.implied | set().union(*(self.m[i].allows for i in labels)) if labels else set()
        self.typical = set().union(*(self.m[i].allows for i in self.implied)) if labels else set()
        concepts = {self.m[i].concept for i in self.implied if self.m[i].concept}
        self.allowed |= {i for i, m in enumerate(self.m) if m.concept in concepts} if concepts else set()
        self.groups = {self.m[i].group for i in labels if self.m[i].group}
        self.normal = [i for i in labels if self.m[i].kind == "normal"]
        self.absent = [i for i in labels if self.m[i].kind == "absence"]
        self.shown = [i for i in labels if self.m[i].kind not in ("normal", "absence")]

    def add(
        self,
        code: str,
        fix: str,
        *,
        label: int | None = None,
        span: tuple[int, int] | None = None,
        cue: tuple[int, int] | None = None,
        detail: str | None = None,
        level: str = "error",
        accept: tuple[str, ...] = (),
    ) -> None:
        level = self.checker.level(code, detail, level)
        if level == "off":
            return
        text = self.caption[span[0] : span[1]] if span else None
        name = self.m[label].code if label is not None else None
        issue = Issue(code, level, name, span, text, cue, detail, fix, accept)
        if issue not in self.issues:
            self.issues.append(issue)

    def run(self) -> tuple[Issue, ...]:
        if len(self.caption) > form.LIMIT:
            self.add("not_a_caption", "Write one caption of a sentence or two.", detail="too_long")
            return tuple(self.issues)
        tokens = tokenize(self.caption)
        for kind, span in form.problems(self.caption, tokens):
            self.add("not_a_caption", _FORM_FIX[kind], detail=kind, span=span)
        if tokens.words:
            self.reading = read(tokens, self.v)
            self.judge()
        self.issues.sort(key=lambda i: (_ORDER[i.level], i.span or (-1, -1)))
        return tuple(self.issues)

    def judge(self) -> None:
        reading = self.reading
        self.asserted: dict[int, list[Mention]] = {}
        self.unmet: set[int] = set()
        for mention in reading.mentions:
            for meaning in mention.meanings:
                self.asserted.setdefault(meaning, []).append(mention)
        for label in self.labels:
            self.label(label)
        for mention in reading.mentions:
            self.mention(mention)
        self.normality()
        self.modality()
        self.anatomy()
        self.details()

    # --- the labels themselves ----------------------------------------------------------------------------------

    def accept(self, label: int) -> tuple[str, ...]:
        return accepted(self.checker.schema, self.m[label].code or "")[:6]

    def label(self, label: int) -> None:
        meaning = self.m[label]
        if meaning.kind == "normal":
            self.normal_label(label)
            return
        if meaning.kind == "absence":
            self.absence_label(label)
            return
        affirmed = denied = doubted = other = None
        for index, mentions in self.asserted.items():
            own = label in self.m[index].implies
            above = index in meaning.implies
            if not own and not above:
                continue
            for m in mentions:
                if own and m.status == lx.AFFIRMED and (not m.graded or len(m.meanings) == 1):
                    affirmed = affirmed or m
                elif m.status == lx.NEGATED and (index == label or (above and not self._partial(m))):
                    if index == label and (not m.graded or len(m.meanings) == 1):
                        denied = denied if denied and denied.meanings == (label,) else m
                    elif above and index != label:
                        denied = denied or m
                elif own and m.status in (lx.HEDGED, lx.HYPOTHETICAL):
                    doubted = doubted or m
                elif own:
                    other = other or m
        if meaning.kind in ("organ", "tissue") and affirmed is None and self._shows_place(meaning):
            return
        accept = self.accept(label)
        say = f"Say plainly that the image shows {meaning.name}."
        reading = self.reading
        if affirmed is not None and not (denied is not None and label in denied.meanings and not self._apart(denied)):
            return
        if affirmed is None:
            self.unmet.add(label)
        if denied is None and doubted is None:
            state = next((s for s in reading.normal if s.places and s.places & meaning.places), None)
            if state is not None:
                self.add(
                    "negated_label",
                    f"{meaning.name.capitalize()} is there: do not call its place normal. {say}",
                    label=label,
                    span=reading.span(state.start, state.end),
                    accept=accept,
                )
        if denied is not None:
            self.add(
                "negated_label",
                f"{meaning.name.capitalize()} is there: do not deny it. {say}",
                label=label,
                span=reading.span(denied.start, denied.end),
                cue=reading.cue_span(denied.cue),
                accept=accept,
            )
        elif doubted is not None:
            self.add(
                "hedged_label",
                f"{meaning.name.capitalize()} is certain: {say[0].lower()}{say[1:]}",
                label=label,
                span=reading.span(doubted.start, doubted.end),
                cue=reading.cue_span(doubted.cue),
                accept=accept,
            )
        elif other is not None:
            self.add(
                "missing_label",
                f"{meaning.name.capitalize()} is named, but not as a finding of this image. {say}",
                label=label,
                span=reading.span(other.start, other.end),
                cue=reading.cue_span(other.cue),
                accept=accept,
            )
        else:
            self.add("missing_label", say, label=label, accept=accept)

    def _partial(self, m: Mention) -> bool:
        """Say whether a denial is only of a degree: "without severe retinopathy"."""
        words = self.reading.tokens.words
        k = m.start - 1
        while k >= 0 and m.start - k <= 4:
            if words[k] in ("no", "without", "with", "not", "nor", "and", ",", ";", "."):
                return False  # what stands before the denial is no part of it
            if words[k] in (
                "mild",
                "moderate",
                "severe",
                "proliferative",
                "advanced",
                "significant",
                "large",
                "focal",
                "acute",
                "chronic",
            ):
                return not (k and words[k - 1] in ("even", "any"))
            k -= 1
        return False

    def _apart(self, m: Mention) -> bool:
        return m.graded

    def _shows_place(self, meaning: vb.Meaning) -> bool:
        """Say whether the organ of an organ class is named."""
        place = meaning.anatomy
        for start, _, index in self.reading.anatomies:
            if place in self.v.anatomies[index] and self.reading.scopes.status[start] == lx.AFFIRMED:
                return (
                    any(place in self.v.places.get(p, ()) for p in [place])
                    and meaning.kind == "organ"
                    and bool({place} & {place})
                )
        return False

    def normal_label(self, label: int) -> None:
        meaning = self.m[label]
        own = self.asserted.get(label, [])
        if any(m.status == lx.AFFIRMED for m in own):
            return
        if any(s.places is None or self._whole(s.places, meaning) for s in self.reading.normal):
            return
        named = set()
        for s in self.reading.normal:
            if s.places:
                named |= {p for p in s.places if meaning.anatomy in self.v.places.get(p, frozenset())}
        if len(named) >= 2:
            return
        siblings = [
            i
            for i, m in enumerate(self.m)
            if m.code is not None
            and m.kind not in ("normal", "absence", "organ", "tissue", "device")
            and (m.anatomy, m.modality) == (meaning.anatomy, meaning.modality)
        ]
        if siblings and all(any(self._denied(p) for p in self.m[i].implies) for i in siblings):
            return
        refused = next((m for m in own if m.status == lx.NEGATED), None)
        doubted = next((m for m in own if m.status in (lx.HEDGED, lx.HYPOTHETICAL)), None)
        say = "Say plainly that nothing abnormal is seen."
        if refused is not None:
            self.add(
                "negated_label",
                say,
                label=label,
                span=self.reading.span(refused.start, refused.end),
                cue=self.reading.cue_span(refused.cue),
                accept=self.accept(label),
            )
        elif doubted is not None:
            self.add(
                "hedged_label",
                say,
                label=label,
                span=self.reading.span(doubted.start, doubted.end),
                cue=self.reading.cue_span(doubted.cue),
                accept=self.accept(label),
            )
        else:
            self.add("missing_label", say, label=label, accept=self.accept(label))

    def _whole(self, places: frozenset[str], meaning: vb.Meaning) -> bool:
        if meaning.anatomy in places:
            return True
        return meaning.anatomy == "retina" and bool(places & {"eye"})

    def _denied(self, index: int) -> bool:
        return any(
            m.status == lx.NEGATED and not m.graded and not self._partial(m) for m in self.asserted.get(index, ())
        )

    def absence_label(self, label: int) -> None:
        meaning = self.m[label]
        own = self.asserted.get(label, [])
        if any(m.status == lx.AFFIRMED for m in own):
            return
        absent = meaning.denies
        if absent is not None:
            if any(self._denied(p) for p in self.m[absent].implies):
                return
            steps = [i for i, m in enumerate(self.m) if m.code and absent in m.implies and i != absent]
            if steps and all(any(x.status == lx.NEGATED for x in self.asserted.get(i, ())) for i in steps):
                return
            words = self.reading.tokens.words
            if any(
                x.status == lx.NEGATED and x.start and words[x.start - 1] in ("even", "any")
                for i in steps
                for x in self.asserted.get(i, ())
            ):
                return
        if any(s.places is None or self._whole(s.places, meaning) for s in self.reading.normal):
            return
        doubted = [
            m
            for m in (*own, *(self.asserted.get(absent, ()) if absent is not None else ()))
            if m.status in (lx.HEDGED, lx.HYPOTHETICAL)
        ]
        name = meaning.name
        say = f"Say plainly: {name}."
        if doubted:
            m = doubted[0]
            self.add(
                "hedged_label",
                say,
                label=label,
                span=self.reading.span(m.start, m.end),
                cue=self.reading.cue_span(m.cue),
                accept=self.accept(label),
            )
        else:
            self.add("missing_label", say, label=label, accept=self.accept(label))

    # --- everything else that is said ---------------------------------------------------------------------------

    def mention(self, m: Mention) -> None:
        if not m.meanings:
            if m.signs and m.status == lx.AFFIRMED:
                self.sign(m)
            return
        if m.status == lx.NEGATED:
            self.denial(m)
            return
        if m.status not in (lx.AFFIRMED, lx.HEDGED):
            return
        if any(i in self.allowed for i in m.meanings):
            return
        if m.signs & self.implied:
            return
        if m.graded and len(m.meanings) > 1:
            return
        index = min(m.meanings, key=self._distance)
        other = self.m[index]
        if (m.weak and self._distance(index)[0]) or self._component(m):
            return
        if self._subtype(other):
            return
        label = self.labels[0] if len(self.labels) == 1 else None
        span = self.reading.span(m.start, m.end)
        cue = self.reading.cue_span(m.cue)
        drop = f'Leave out "{self.caption[span[0] : span[1]]}": the labels do not hold it.'
        if other.group is not None and other.group in self.groups and other.kind != "normal":
            mate = next(i for i in self.labels if self.m[i].group == other.group)
            self.add(
                "wrong_grade",
                f"The label is {self.m[mate].name}, and nothing else on its scale.",
                label=mate,
                span=span,
                cue=cue,
                accept=self.accept(mate),
            )
            return
        above = self._above_a_mate(index)
        if above is not None:
            self.add(
                "wrong_grade",
                f"The label is {self.m[above].name}, and nothing else on its scale.",
                label=above,
                span=span,
                cue=cue,
                accept=self.accept(above),
            )
            return
        if other.kind == "absence":
            absent = other.denies
            hurt = [i for i in self.labels if absent is not None and absent in self.m[i].implies]
            for i in hurt:
                self.add(
                    "negated_label",
                    f"{self.m[i].name.capitalize()} is there: do not deny it.",
                    label=i,
                    span=span,
                    cue=cue,
                    accept=self.accept(i),
                )
            return
        if other.kind == "normal":
            if self.shown and m.status == lx.AFFIRMED and (not self.absent or self.shown):
                self.conflict(span, cue)
            return
        if other.kind in ("organ", "tissue") and other.code is not None:
            here = {(self.m[i].anatomy, self.m[i].modality) for i in self.labels}
            rival = (
                any(self.m[i].kind == "organ" for i in self.labels)
                if other.kind == "organ"
                else m.status == lx.AFFIRMED
            )
            if rival and (other.anatomy, other.modality) in here:
                self.add("extra_label", drop, label=index, span=span, cue=cue)
            return
        placed = any(m.start <= h[0] and h[1] <= m.end for h in self.reading.anatomies) or other.code is None
        misplaced = next((i for i in self.unmet if placed and self._same_elsewhere(i, other)), None)
        if misplaced is not None:
            self.add(
                "wrong_anatomy",
                f"The label is {self.m[misplaced].name}.",
                label=misplaced,
                span=span,
                accept=self.accept(misplaced),
            )
        if other.code is not None:
            self.add("extra_label", drop, label=index, span=span, cue=cue)
        elif other.kind == "device":
            self.add("invented_detail", drop, label=label, span=span, cue=cue, detail="device")
        elif other.kind in _FINDINGS:
            words = self.reading.tokens.words
            if any(w in _CAUSE for w in words[max(0, m.start - 4) : m.start]):
                self.add("invented_detail", drop, label=label, span=span, cue=cue, detail="history")
            level = "warning" if any(i in self.typical for i in m.meanings) else "error"
            self.add("unsupported_finding", drop, label=label, span=span, cue=cue, level=level)
        if self.normal and m.status == lx.AFFIRMED and other.kind in _FINDINGS and other.kind != "device":
            self.add(
                "normal_conflict",
                "The label is normal: name no disease.",
                label=self.normal[0],
                span=span,
                cue=cue,
                accept=self.accept(self.normal[0]),
            )

    def _component(self, m: Mention) -> bool:
        """Say whether a finding is only a part of a longer wording of a label: the "mass" of "a mass ... in the bowel"."""
        if m.gap is not None:
            return False
        return any(
            other.gap is not None
            and other.holds(m.start, m.end)
            and other.status == m.status
            and any(i in self.allowed for i in other.meanings)
            for other in self.reading.mentions
        )

    def _subtype(self, other: vb.Meaning) -> bool:
        """Say whether a concept adds nothing to the labels: a tube where devices are labelled, two labels in one word."""
        if other.code is not None:
            return False
        codes = {i for i in other.implies if self.m[i].code is not None}
        mine = codes & self.implied
        if not mine:
            return False
        return any(self.m[i].kind == "device" for i in mine) or (len(mine) > 1 and codes <= self.implied)

    def _same_elsewhere(self, label: int, other: vb.Meaning) -> bool:
        """Say whether another finding is the label's own, in another place: a renal lesion for a splenic one."""
        mine = self.m[label]
        return bool(
            mine.places
            and other.places
            and not mine.places & other.places
            and mine.name.split()[-1] == other.name.split()[-1]
        )

    def _distance(self, index: int) -> tuple[int, int]:
        other = self.m[index]
        same = any((self.m[i].anatomy, self.m[i].modality) == (other.anatomy, other.modality) for i in self.labels)
        return (0 if same else 1, index)

    def _above_a_mate(self, index: int) -> int | None:
        """Return the label whose scale a wider term contradicts: "non-proliferative" beside a proliferative label."""
        for label in self.labels:
            group = self.m[label].group
            if group is None:
                continue
            for i, m in enumerate(self.m):
                if m.group == group and i != label and index in m.implies:
                    return label
        return None

    def sign(self, m: Mention) -> None:
        if m.signs & self.implied or any(
            self.m[s].concept is not None and self.m[s].concept in {self.m[i].concept for i in self.implied}
            for s in m.signs
        ):
            return
        span = self.reading.span(m.start, m.end)
        self.add(
            "unsupported_finding",
            f'Leave out "{self.caption[span[0] : span[1]]}": it is no sign of the labels.',
            span=span,
            level="warning",
        )

    def denial(self, m: Mention) -> None:
        if (
            any(i in self.implied or i in self.negatives for i in m.meanings)
            or self.checker.schema.negatives == "closed_world"
        ):
            return
        index = m.meanings[0]
        other = self.m[index]
        if other.code is None or self.normal or m.graded or other.kind in ("normal", "absence"):
            return
        if any(other.group and self.m[i].group == other.group for i in self.labels):
            return
        span = self.reading.span(m.start, m.end)
        self.add(
            "denied_class",
            f"The labels do not say whether {other.name} is there.",
            label=index,
            span=span,
            cue=self.reading.cue_span(m.cue),
            level="info",
        )

    def conflict(self, span: tuple[int, int], cue: tuple[int, int] | None = None) -> None:
        label = self.shown[0]
        self.add(
            "normal_conflict",
            f"The image shows {self.m[label].name}: do not call it normal.",
            label=label,
            span=span,
            cue=cue,
            accept=self.accept(label),
        )

    def normality(self) -> None:
        if not self.shown or all(self.m[i].kind in ("organ", "tissue", "device") for i in self.shown):
            return
        for state in self.reading.normal:
            span = self.reading.span(state.start, state.end)
            cue = self.reading.cue_span(state.cue)
            if state.places is None:
                self.conflict(span, cue)
                continue
            for label in self.shown:
                meaning = self.m[label]
                if meaning.kind in ("organ", "tissue", "device"):
                    continue
                inside = any(meaning.anatomy in self.v.places.get(p, ()) for p in state.places)
                if (
                    self._whole(state.places, meaning)
                    or state.places & meaning.places
                    or (label in self.unmet and inside)
                ):
                    self.add(
                        "normal_conflict",
                        f"The image shows {meaning.name}: do not call it normal.",
                        label=label,
                        span=span,
                        cue=cue,
                        accept=self.accept(label),
                    )
                    break

    def modality(self) -> None:
        modalities = self.checker.library.modalities
        mine = {self.m[i].modality for i in self.labels}
        families = {modalities[k].family or modalities[k].name for k in mine if k in modalities}
        if not families:
            return
        words = self.reading.tokens.words
        for start, end, index in self.reading.modalities:
            family = self.v.modalities[index]
            if family in families or self._denied_directly(start):
                continue
            if (
                start + 1 < len(words)
                and end < len(words)
                and words[end] in _RADIOLOGICAL
                and words[start] in ("radiographic", "radiography")
            ):
                continue
            if family == "photograph" and families & {"fundus", "dermoscopy", "endoscopy"}:
                continue
            if family == "fundus" and "retina" in {self.m[i].anatomy for i in self.labels}:
                continue
            span = self.reading.span(start, end)
            name = modalities[next(iter(sorted(mine)))].name
            self.add("wrong_modality", f"The image is a {name}.", span=span)

    def anatomy(self) -> None:
        mine = {self.m[i].anatomy for i in self.labels if self.m[i].anatomy}
        if not mine:
            return
        places = self.v.places
        good = set().union(*(places.get(a, frozenset()) for a in mine)) | mine
        elsewhere = {m.anatomy for m in self.m if m.code is not None} - good
        for i in self.labels:
            good |= self.m[i].places - elsewhere
        for start, end, index in self.reading.anatomies:
            named = self.v.anatomies[index]
            if self.reading.scopes.status[start] == lx.NEGATED and not self._in_picture(start):
                continue
            if any(p in good or mine & places.get(p, frozenset()) for p in named) or named & _NEUTRAL:
                continue
            if any(places.get(p, frozenset()) & good & {"x"} for p in named):
                continue
            if self.inside_allowed(start, end):
                continue
            span = self.reading.span(start, end)
            name = self.checker.library.anatomies[next(iter(sorted(mine)))].name
            self.add("wrong_anatomy", f"The image is of the {name}.", span=span)

    def _denied_directly(self, start: int) -> bool:
        """Say whether a word is denied itself ("not a CT"), and not only said after a denial ("no mass on this CT")."""
        scopes = self.reading.scopes
        number = scopes.by[start]
        return scopes.status[start] == lx.NEGATED and number >= 0 and start - scopes.cues[number][1] <= 1

    def _in_picture(self, start: int) -> bool:
        """Say whether a place belongs to the naming of the picture: "on this MRI of the hip"."""
        words = self.reading.tokens.words
        k = start - 1
        while k >= 0 and start - k <= 4 and words[k] in ("of", "the", "a", "an", "this"):
            k -= 1
        after = words[start + 1 : start + 3]
        return (start - 1 > k >= 0 and words[k] in lx.IMAGE) or any(w in lx.IMAGE for w in after[:1])

    def inside_allowed(self, start: int, end: int) -> bool:
        return any(
            m.holds(start, end) and (any(i in self.allowed for i in m.meanings) or m.signs & self.implied)
            for m in self.reading.mentions
        )

    def details(self) -> None:
        reading = self.reading
        starts = {m.start for m in reading.mentions if m.meanings}
        graded = any(
            self.m[i].group
            and self.m[i].level is not None
            and any(s.group == self.m[i].group and s.levels for s in self.v.scales)
            for i in self.labels
        )
        histology = any(self.m[i].modality == "histology" for i in self.labels)
        found = details.find(
            reading.tokens,
            reading.triggers,
            reading.scopes,
            starts.__contains__,
            len(self.labels),
            graded=graded,
            proof_is_image=histology,
        )
        schema = self.checker.schema
        words = reading.tokens.words
        for d in found:
            if self.inside_allowed(d.start, d.end):
                continue
            if d.kind == "device" and any(self.m[i].kind == "device" for i in self.labels):
                continue
            if d.kind == "severity" and graded:
                continue
            if d.kind == "dataset" and words[d.start] in ("label",) and False:
                continue
            span = reading.span(d.start, d.end)
            text = self.caption[span[0] : span[1]]
            if self._supported(d.kind, text):
                continue
            level = d.level
            if d.kind == "laterality" and words[d.start] == "both" and (self.normal or self.absent):
                continue
            self.add(
                "invented_detail",
                f'Leave out "{text}": the labels do not say so.',
                span=span,
                detail=d.kind,
                level=level,
            )
        for words_of in self.v.dataset_words:
            n = len(words_of)
            for k in range(len(words) - n + 1):
                if (
                    words[k] == words_of[0]
                    and tuple(words[k : k + n]) == words_of
                    and not any(m.start <= k < m.end for m in reading.mentions)
                ):
                    span = reading.span(k, k + n)
                    self.add("invented_detail", "Do not name the dataset.", span=span, detail="dataset")

    def _supported(self, kind: str, text: str) -> bool:
        known = self.checker.schema.attributes
        return any(
            kind in known[name].details and value and details.supported(text, value)
            for name, value in self.attributes.items()
            if name in known
        )


_NEUTRAL = frozenset(
    """skin lymph_node gland crypt mucosa duct lobule cortex cortical cord disc media ventricle ventricular lens airway
    interstitium alveolar alveolus artery vein vessel tooth meningeal dura cup fat muscle cervix ear jaw""".split()
)
"""Places that other regions have as well, or words that mean other things too."""
_RADIOLOGICAL = frozenset(
    "evidence finding feature sign appearance change imaging manifestation indication pattern".split()
)
_FORM_FIX = {
    "empty": "Write a caption: one sentence that says what the image shows.",
    "too_long": "Write one caption of a sentence or two.",
    "too_short": "Write a whole sentence.",
    "refusal": "Write the caption itself; do not refuse, and do not speak of yourself.",
    "prompt_echo": "Give the caption alone, without words about the task.",
    "json": "Give the caption as plain text, not as JSON or a list of values.",
    "markup": "Give plain text without markup, links or code.",
    "list": "Give one caption, not several.",
    "language": "Write in English.",
    "question": "State what the image shows; do not ask.",
    "cut_off": "Finish the sentence.",
    "repetition": "Say each thing once.",
    "encoding": "Give plain text; some characters are broken.",
}
