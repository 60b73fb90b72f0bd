"""From label information to captions: choosing wordings, sentences and views, and keeping a set varied."""

import functools
import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

from captioner.agreement.sets import opening, overlap, words_of
from captioner.schema import LabelClass, LabelSchema, Library
from captioner.triplets import Triplet
from captioner.writer import frames
from captioner.writer.frames import Frame
from captioner.writer.grammar import NounPhrase, article, is_initialism, join, sentence
from captioner.writer.patient import details
from captioner.writer.wordings import View, Wordings, jingles, views

T = TypeVar("T")

VERSION = "1"
"""Changes whenever the same input may give other captions."""

# How alike two captions of a set may be (Jaccard index of their words), and whether the limit on openings holds: the
# strictest first, the next only when it gives no more.
_STRICTNESS = ((0.7, True), (0.8, True), (0.89, True), (0.89, False))
_TRIES = 60
_MOST_NEGATIVES = 3
_DISEASE = (
    "pathy",
    "itis",
    "osis",
    "disease",
    "glaucoma",
    "degeneration",
    "dystrophy",
    "emphysema",
    "pneumonia",
    "atrophy",
)


class Writer:
    """Writes captions for the triplets of one schema.

    Args:
        schema: the dataset's schema.
        library: concepts, modalities and anatomies that the schema refers to.
    """

    def __init__(self, schema: LabelSchema, library: Library) -> None:
        self._schema = schema
        self._library = library
        self._wordings: Callable[[str], Wordings] = functools.cache(functools.partial(Wordings, schema, library))

    def write(self, triplet: Triplet, count: int, *, seed: int = 0, avoid: Collection[str] = ()) -> list[str]:
        """Return captions for a triplet; see :func:`captioner.writer.write_captions`."""
        rng = _Random(f"{VERSION}|{self._schema.id}|{triplet.id}|{seed}")
        composer = _Composer(self._schema, self._library, self._wordings(triplet.anatomy), triplet, rng)
        captions: list[str] = []
        known = [frozenset(words_of(c)) for c in avoid]
        openings = Counter(opening(words_of(c)) for c in avoid)
        most = max(1, (count + len(known)) // 3)
        for limit, limit_openings in _STRICTNESS:
            for _ in range(_TRIES + 6 * count):
                if len(captions) >= count:
                    return captions
                caption = composer.caption()
                words = words_of(caption)
                different = frozenset(words)
                if any(overlap(different, other) > limit for other in known):
                    continue
                if limit_openings and openings[opening(words)] >= most:
                    continue
                captions.append(caption)
                known.append(different)
                openings[opening(words)] += 1
        return captions


class _Random:
    """Choices that are the same on every machine and Python version: of ``random``, only ``random()`` is guaranteed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed).random  # noqa: S311, nothing here is secret

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self._random() * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return [item for _, _, item in sorted((self._random(), i, item) for i, item in enumerate(items))]

    def deck(self, items: Sequence[T]) -> Iterator[T]:
        """Yield the items for ever, each once before any comes again."""
        while True:
            yield from self.shuffled(items)


class _Composer:
    """Composes one caption after another for one triplet."""

    def __init__(
        self, schema: LabelSchema, library: Library, wordings: Wordings, triplet: Triplet, rng: _Random
    ) -> None:
        self._rng = rng
        self._wordings = wordings
        self._modality = library.modalities[triplet.modality]
        self._anatomy = library.anatomies[triplet.anatomy]
        self._details = details(schema, triplet)
        many = " and " in self._anatomy.name
        self._part = {"part": self._anatomy.name, "part_is": "are" if many else "is", "part_s": "" if many else "s"}
        self._eye = "eye" in (triplet.anatomy, *self._anatomy.within)
        every_view = views(self._modality, self._anatomy)
        self._views = tuple(v for v in every_view if v.anatomy)
        self._bare_views = tuple(v for v in every_view if not v.anatomy) or self._views

        classes = [schema[code] for code in triplet.findings]
        self._normals = [c for c in classes if c.kind == "normal"]
        self._organs = [c for c in classes if c.kind == "organ"]
        positives = [c for c in classes if c.kind in ("finding", "grade", "device", "tissue")]
        if positives:
            positives += self._organs
        self._kinds = {c.kind for c in positives}
        self._positives = self._folded(positives)
        self._structures = wordings.structures(positives[0]) if len(positives) == 1 else ()
        said = {p.text for phrases in self._positives for p in phrases}
        self._absences = [wordings.denied(c, said) for c in classes if c.kind == "absence"]
        self._negatives = [
            wordings.denial(schema[code], said) for code in triplet.negatives if self._deniable(schema[code], classes)
        ]
        self._negatives = [n for n in self._negatives if n]

        self._healthy = [wordings.positive(c) for c in self._normals]
        main = frames.SHOWN if self._kinds == {"tissue"} else frames.POSITIVE
        if not positives:
            main = frames.NORMAL if self._normals else frames.ABSENT if self._absences else frames.ORGAN
        self._deck = rng.deck(main)
        self._abnormal_deck = rng.deck(frames.ABNORMAL)
        self._shown_deck = rng.deck(frames.SHOWN)

    def _folded(self, classes: Sequence[LabelClass]) -> list[tuple[NounPhrase, ...]]:
        """Return the phrases of each class; one that a phrase of its child holds needs none of its own.

        "Mild diabetic retinopathy" asserts diabetic retinopathy: naming both would read as two things.
        """
        phrases = {c.code: self._wordings.positive(c) for c in classes}
        for parent in classes:
            for child in classes:
                if child.code in phrases and self._wordings.implies(child, parent):
                    holding = tuple(p for p in phrases[child.code] if any(_holds(p, q) for q in phrases[parent.code]))
                    if holding:
                        phrases[child.code] = holding
                        del phrases[parent.code]
                        break
        return list(phrases.values())

    def _deniable(self, denied: LabelClass, classes: Sequence[LabelClass]) -> bool:
        """Say whether a denied class is worth a word and cannot contradict what is there."""
        groups = {c.group for c in classes if c.group}
        near = {s for c in classes for s in (*c.supports, *c.signs)}
        return (
            denied.kind in ("finding", "device")
            and denied.group not in groups
            and not {denied.code, denied.concept} & near
            and not any(self._wordings.implies(c, denied) for c in classes)
        )

    def caption(self) -> str:
        """Return a caption; the next call returns another, most of the time."""
        if self._positives:
            return self._positive()
        if self._normals:
            return self._normal()
        if self._absences:
            return self._absent()
        return self._organ()

    # --- what a caption is about --------------------------------------------------------------------------------------

    def _positive(self) -> str:
        if self._structures and self._rng.chance(0.25):
            structure = self._rng.pick(self._structures)
            frame = next(self._abnormal_deck)
            has = "have" if structure.number == "plural" else "has"
            text = self._fill(frame, [structure.text], o=structure.text, o_is=_is(structure), o_has=has)
            return self._deny(frame, text)
        items = self._rng.shuffled([self._choose(phrases) for phrases in self._positives])
        split = (
            len(items)
            if self._rng.chance({1: 1.0, 2: 0.9, 3: 0.7, 4: 0.6}.get(len(items), 0.4))
            else (len(items) + 1) // 2
        )
        first, rest = items[:split], items[split:]
        frame = next(f for f in self._deck if self._fits(f, items, whole=not rest))
        text = self._fill(
            frame,
            [i.text for i in items],
            **(_slots(first) | {"f": self._list(first, frame.text)}),
        )
        if rest:
            also = self._rng.pick(
                [a for a in frames.ALSO if not a.startswith("it ") or frame.text.startswith(("this {v}", "the {v}"))]
            )
            return self._deny(
                Frame("", tail=False),
                f"{text}. " + also.format(f=self._list(rest, also), is_=_are(rest), there_is=_is(rest[0])),
            )
        return self._deny(frame, text, inline=frame.text.endswith(("{f}", "{bare_f}")), lone=len(first) == 1)

    def _absent(self) -> str:
        denied = self._rng.shuffled([self._choose(phrases) for phrases in self._absences])
        denied += self._some_negatives()
        frame = next(f for f in self._deck if self._fits(f, denied))
        return sentence(
            self._fill(
                frame,
                [d.text for d in denied],
                **_denial(denied),
                **self._part,
            )
        )

    def _normal(self) -> str:
        plain = all(c.name.startswith(("normal", "no ")) for c in self._normals)
        if all(self._healthy) and not (plain and self._rng.chance(0.7)):
            items = [self._choose(phrases) for phrases in self._healthy]
            frame = next(f for f in self._shown_deck if self._fits(f, items))
            text = self._fill(frame, [i.text for i in items], **_slots(items))
            return self._deny(frame, text, inline=frame.text.endswith(("{f}", "{bare_f}")), lone=True)
        frame = next(f for f in self._deck if self._fits(f, ()))
        text = self._fill(frame, [], **self._part)
        return self._deny(frame, text, inline=not re.search(r"\b(?:no|without)\b", frame.text))

    def _organ(self) -> str:
        shown = [self._choose(self._wordings.positive(c)) for c in self._organs]
        shown = shown or [NounPhrase(self._anatomy.name, "plural" if self._anatomy.plural else "count", definite=True)]
        frame = next(f for f in self._deck if self._fits(f, ()))
        return sentence(
            self._fill(frame, [], o=join([str(o) for o in shown]), o_is=_are(shown), method=self._modality.name)
        )

    # --- parts --------------------------------------------------------------------------------------------------------

    def _choose(self, phrases: Sequence[NounPhrase]) -> NounPhrase:
        """Pick a wording: the name about half the time, an abbreviation seldom."""
        chosen = phrases[0] if self._rng.chance(0.45) else self._rng.pick(phrases)
        return phrases[0] if is_initialism(chosen.text) and self._rng.chance(0.5) else chosen

    def _list(self, items: Sequence[NounPhrase], frame: str) -> str:
        """Return the findings as one phrase; two of them are joined in several ways, where the sentence bears it."""
        texts = [str(i) for i in items]
        if len(texts) == 2 and "also" not in frame and "{f} {is_}" not in frame and self._rng.chance(0.35):
            return " as well as ".join(texts)
        return join(texts)

    def _some_negatives(self) -> list[NounPhrase]:
        if not self._negatives or self._rng.chance(0.4):
            return []
        chosen = self._rng.shuffled(self._negatives)[: 1 + int(self._rng.pick(range(_MOST_NEGATIVES)))]
        return [n[0] for n in chosen]

    def _deny(self, frame: Frame, text: str, *, inline: bool = False, lone: bool = False) -> str:
        """Return a finished caption, with what the labels deny after the findings."""
        denied = self._rng.shuffled([self._choose(phrases) for phrases in self._absences]) + self._some_negatives()
        if self._normals and self._positives:  # devices in an image that is normal otherwise
            text += ". " + self._rng.pick(frames.OTHERWISE_NORMAL)
            inline = False
        if denied:
            slots = _denial(denied)
            if inline and frame.tail and self._rng.chance(0.5):
                tails = frames.TAIL if lone else frames.TAIL[:-2]
                text += self._rng.pick(tails).format(**slots)
            else:
                usable = [
                    t
                    for t in frames.DENIAL
                    if not t.startswith("it ") or frame.text.startswith(("this {v}", "the {v}"))
                ]
                text += ". " + self._rng.pick(usable).format(**slots)
        return sentence(text)

    def _fits(self, frame: Frame, items: Sequence[NounPhrase], *, whole: bool = True) -> bool:
        needs = frame.needs
        if "{method}" in frame.text and not View(self._modality.name, anatomy=False).article_free():
            return False
        return (
            ("one" not in needs or len(items) == 1)
            and ("singular" not in needs or all(i.number != "plural" for i in items))
            and ("several" not in needs or (len(items) > 1 and whole))
            and ("disease" not in needs or all(i.number == "mass" and i.text.endswith(_DISEASE) for i in items))
            and ("finding" not in needs or self._kinds <= {"finding", "grade"})
            and ("grade" not in needs or self._kinds == {"grade"})
            and ("device" not in needs or self._kinds == {"device"})
            and ("free view" not in needs or (not self._details.person and any(v.article_free() for v in self._views)))
            and not ("v0} of " in frame.text and self._details.person)
            and ("own anatomy" not in needs or all(self._wordings.names_anatomy(i.text) for i in items))
            and not ("with {" in frame.text and any(" with " in i.text for i in items))
            and not ("{part}" in frame.text and any(self._wordings.names_anatomy(i.text) for i in items))
            and ("singular part" not in needs or not self._anatomy.plural)
        )

    def _fill(self, frame: Frame, said: Sequence[str], **slots: str) -> str:
        """Fill a frame's slots, with a view that does not repeat the words of what is said."""
        free = "free view" in frame.needs
        bare = "{v0}" in frame.text or "{a_v0}" in frame.text
        if "the image" in frame.text:
            said = [*said, "image"]
        if bare:
            said = [*said, self._anatomy.name, self._anatomy.adjective or ""]
        plain = "v0} of " in frame.text or "v} with {" in frame.text
        view = self._view(said, bare=bare, free=free, plain=plain)
        text = self._dress(view)
        return frame.text.format(
            v=text,
            v0=text,
            a_v=f"{article(text)} {text}",
            a_v0=f"{article(text)} {text}",
            free_v=text,
            on=view.preposition,
            **slots,
        )

    def _view(self, said: Sequence[str], *, bare: bool, free: bool, plain: bool) -> View:
        choices: Sequence[View] = self._bare_views if bare else self._views
        if plain:
            held = (" with ",) if not bare else (" with ", " of ")
            choices = [v for v in choices if not any(h in v.text for h in held)] or choices
        if free:
            choices = [v for v in choices if v.article_free()]
        quiet = [v for v in choices if not any(jingles(s, v.text) for s in said)]
        if quiet:
            return self._rng.pick(quiet)
        if any(self._wordings.names_anatomy(s) for s in said):
            unplaced = [
                v
                for v in self._bare_views
                if (not free or v.article_free()) and not any(jingles(s, v.text) for s in said)
            ]
            if unplaced:
                return self._rng.pick(unplaced)
        return self._rng.pick(choices)

    def _dress(self, view: View) -> str:
        """Return a view with what the attributes say of projection, side and patient."""
        text, d = view.text, self._details
        if d.projection and d.projection.lower() not in text.lower():
            text = f"{d.projection} {text}"
        if d.side and " of the " in text:
            text = text.replace(" of the ", f" of the {d.side} ")
        elif d.side and self._eye:
            text = f"{text} of the {d.side} eye"
        elif d.side and text.startswith(self._anatomy.name):
            text = f"{d.side} {text}"
        if d.person:
            text = f"{text} {'in' if ' of ' in text else 'of'} {d.person}"
        return text


def _slots(items: Sequence[NounPhrase]) -> dict[str, str]:
    return {
        "f": join([str(i) for i in items]),
        "bare_f": join([i.text for i in items]),
        "is_": _are(items),
        "there_is": _is(items[0]),
    }


def _denial(items: Sequence[NounPhrase]) -> dict[str, str]:
    bare = join([i.text for i in items], "or")
    return {"d": bare, "a_d": str(items[0]) if len(items) == 1 else bare, "d_is": _is(items[0])}


def _is(item: NounPhrase) -> str:
    return "are" if item.number == "plural" else "is"


def _are(items: Sequence[NounPhrase]) -> str:
    return "are" if len(items) > 1 else _is(items[0])


def _holds(phrase: NounPhrase, other: NounPhrase) -> bool:
    return f" {other.text.lower()} " in f" {phrase.text.lower()} "
