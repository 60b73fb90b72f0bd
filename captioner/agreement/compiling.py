"""A label schema, its concepts and the language, compiled into a vocabulary."""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from captioner.agreement import lexicon, triggers
from captioner.agreement.tokens import lemma, phrase, tokenize
from captioner.agreement.vocabulary import (
    ABNORMAL,
    ANATOMY,
    CONCEPT,
    CUE,
    IS,
    MODALITY,
    NORMAL,
    SEVERITY,
    STRUCTURE,
    TRIGGER,
    Meaning,
    Node,
    Scale,
    Term,
    Vocabulary,
    Words,
    insert,
    insert_gap,
    words_of,
)
from captioner.schema import Concept, LabelSchema, Library


def compile_vocabulary(schema: LabelSchema, library: Library) -> Vocabulary:
    """Return the vocabulary of a schema; deterministic, and independent of any caption."""
    return _Builder(schema, library).build()


@functools.lru_cache(maxsize=2)
def _ordinary(text: str) -> frozenset[str]:
    return frozenset(tokenize(text).words)


# Words that name a shape rather than a disease. Alone they say nothing outside the field that defines them.
GENERIC_HEADS = frozenset(
    """mass nodule lesion opacity edema effusion cyst tumor neoplasm calcification inflammation thickening hemorrhage
    infection fluid collection swelling scar scarring infiltrate fracture dilatation atrophy shadow density polyp ulcer
    bleeding hyperplasia stenosis lump growth malignancy cancer carcinoma abscess haziness defect enlargement opacification
    degeneration device change changes tear infarct fibrosis necrosis stone calculus adenocarcinoma metastasis adenoma
    sarcoma hematoma injury foreign dislocation malformation infiltration vessel body fluid gas air tube line clip wire
    screw plate stent lens implant drain lead pump catheter port stain staining dilation occlusion obstruction
    displacement compression hypertrophy spot spots exudate redness erosion plaque crack crypt gland stroma muscle fat
    mucosa mucus debris epithelium tissue background cells cell lymphocyte adipose haze reflux pigmentation
    inflamed hazy blur artifact opacified congestion irregularity pallor cupping hydration cataract tortuosity
    depression elevation narrowing widening hypoplasia cavity aneurysm thrombus embolism thrombosis polyps granuloma
    hyperintensity hypointensity margin border shape orientation pattern echotexture enhancement shadowing vascularity network asymmetry deformity spur rupture ischemia hernia collapse trauma collateral""".split()
)

_MODIFIER_STOP = frozenset(
    "lesion abnormality disease disorder pathology mass finding change process tissue condition ailment".split()
)


_SIGNS = frozenset(".,-:;()/")
"""What words may be set apart by, and no word itself."""


class _Builder:
    def __init__(self, schema: LabelSchema, library: Library) -> None:
        self.schema = schema
        self.library = library
        self.trie = Node()
        self.meanings: list[Meaning] = []
        self.terms: dict[tuple[Words, ...], dict[str, Any]] = {}
        self.structures: dict[Words, dict[int, frozenset[Words] | None]] = {}
        self.by_key: dict[str, int] = {}
        self.concept_owner: dict[str, list[int]] = {}
        self.fields = set(schema.fields)
        self.weak: set[tuple[Words, ...]] = set()
        self.place_words = self._place_words()

    # --- meanings -----------------------------------------------------------------------------------------------

    def build(self) -> Vocabulary:
        sources: list[Concept] = []
        for item in self.schema.classes:
            index = len(self.meanings)
            self.meanings.append(
                Meaning(
                    key=f"={item.code}",
                    name=item.name,
                    kind=item.kind,
                    code=item.code,
                    concept=item.concept,
                    group=item.group,
                    level=item.level,
                    modality=self.schema.modality_of(item),
                    anatomy=self.schema.anatomy_of(item),
                )
            )
            sources.append(item)
            self.by_key[f"={item.code}"] = index
            if item.concept:
                self.concept_owner.setdefault(item.concept, []).append(index)
        wanted = self._related(sources)
        for key, concept in sorted(self.library.concepts.items()):
            if key in self.concept_owner:
                continue
            foreign = key.partition(".")[0] not in self.fields and key not in wanted
            self.by_key[key] = len(self.meanings)
            self.concept_owner[key] = [len(self.meanings)]
            self.meanings.append(
                Meaning(
                    key=key,
                    name=concept.name,
                    kind=concept.kind,
                    concept=key,
                    group=concept.group,
                    level=concept.level,
                    foreign=foreign,
                )
            )
            sources.append(concept)
        self._relate(sources)
        for index, concept in enumerate(sources):
            if not self.meanings[index].foreign:
                self._add_concept(index, concept)
        for index, concept in enumerate(sources):
            if self.meanings[index].foreign:
                self._add_foreign(index, concept)
        self._derive(sources)
        terms = self._insert_terms()
        structures: list[tuple[tuple[int, frozenset[Words] | None], ...]] = []
        for words, owners in self.structures.items():
            insert(self.trie, words, (STRUCTURE, len(structures), False))
            structures.append(tuple(sorted(owners.items(), key=lambda kv: kv[0])))
        cues = self._insert_cues()
        abnormal = self._insert_states()
        anatomies, places = self._insert_anatomies()
        modalities = self._insert_modalities()
        scales = [s for s in map(self._scale, sorted({m.group for m in self.meanings if m.group and m.code})) if s]
        for i, text in enumerate(lexicon.SEVERITY):
            insert(self.trie, phrase(text), (SEVERITY, i, False))
        triggers.insert_all(self.trie, TRIGGER)
        said, signalled = self._words_of_meanings(terms)
        return Vocabulary(
            trie=self.trie,
            meanings=self.meanings,
            terms=terms,
            structures=structures,
            anatomies=anatomies,
            modalities=modalities,
            scales=scales,
            abnormal=abnormal,
            cues=cues,
            by_code={m.code: i for i, m in enumerate(self.meanings) if m.code is not None},
            steps={
                group: tuple(i for i, m in enumerate(self.meanings) if m.group == group and m.code is not None)
                for group in {m.group for m in self.meanings if m.code is not None and m.group}
            },
            places=places,
            dataset_words=frozenset(self._dataset_words()),
            known=_ordinary(self.library.ordinary) | words_of(self.trie) | _SIGNS,
            said=said,
            signalled=signalled,
            by_concept={
                c: frozenset(i for i in owners if self.meanings[i].concept == c)
                for c, owners in self.concept_owner.items()
            },
            class_anatomies=frozenset(m.anatomy for m in self.meanings if m.code is not None),
        )

    def _related(self, sources: Iterable[Concept]) -> set[str]:
        """Return ids of concepts that classes name, and their ancestors: part of the vocabulary whatever their field."""
        found: set[str] = set()
        queue = list(_ALWAYS_WATCHED)
        queue += [t for s in sources for t in (*s.parents, *s.supports, *s.signs, *((s.denies,) if s.denies else ()))]
        while queue:
            target = queue.pop()
            concept = self.library.concepts.get(target)
            if concept is not None and target not in found:
                found.add(target)
                queue.extend(concept.parents)
        return found

    def _resolve(self, target: str, index: int) -> list[int]:
        """Return the meanings that a class code or a concept id names; those of the same anatomy first."""
        if f"={target}" in self.by_key:
            return [self.by_key[f"={target}"]]
        owners = self.concept_owner.get(target, [])
        anatomy, modality = self.meanings[index].anatomy, self.meanings[index].modality
        same = [o for o in owners if (self.meanings[o].anatomy, self.meanings[o].modality) == (anatomy, modality)]
        return same or owners

    def _relate(self, sources: list[Concept]) -> None:
        parents = [{p for t in s.parents for p in self._resolve(t, i)} for i, s in enumerate(sources)]
        for index, source in enumerate(sources):
            meaning = self.meanings[index]
            implied = {index}
            queue = list(parents[index])
            while queue:
                p = queue.pop()
                if p not in implied:
                    implied.add(p)
                    queue.extend(parents[p])
            meaning.implies = frozenset(implied)
            if source.denies:
                meaning.denies = next(iter(self._resolve(source.denies, index)), None)
        for index, source in enumerate(sources):
            meaning = self.meanings[index]
            allowed: set[int] = set()
            for target in (*source.supports, *source.signs):
                for found in self._resolve(target, index):
                    allowed |= self.meanings[found].implies
            meaning.signs = frozenset(found for target in source.signs for found in self._resolve(target, index))
            if meaning.kind == "absence" and meaning.denies is not None:
                allowed.discard(meaning.denies)
            meaning.allows = frozenset(allowed)

    # --- wordings of concepts -----------------------------------------------------------------------------------

    def _add_concept(self, index: int, concept: Concept) -> None:
        kind = self.meanings[index].kind
        if self.meanings[index].code is None and kind in ("normal", "absence", "organ", "tissue"):
            return
        own = [concept.name, *concept.synonyms]
        if kind != "normal":
            named = [{p for seg in _segments(w) for p in self._places_in(seg)} for w in own]
            counts = Counter(p for found in named for p in found)
            self.meanings[index].places = frozenset(counts)
            enough = max(2, len(own) * (_MOST if named[0] else _FAIR_SHARE))
            self.meanings[index].seats = frozenset(p for p, n in counts.items() if n >= enough or p in named[0])
        if self.meanings[index].code is not None:
            self.meanings[index].grants = triggers.kinds_in([*own, *concept.abbreviations])
        for wording in own:
            self._term(_segments(wording), wording, meaning=index)
        for wording in concept.abbreviations:
            self._term((phrase(wording),), wording, meaning=index, case=_has_capitals(wording))
        for wording in concept.blockers:
            self._term(_segments(wording), wording)
        for wording in concept.denials:
            self._term(_segments(wording), wording, denied=index)
        for wording in concept.signs:
            if wording not in self.library.concepts and wording not in self.schema:
                self._term(_segments(wording), wording, sign=index)
        for wording in concept.structure:
            self.structures.setdefault(phrase(wording), {})[index] = None
        heads = {(h,) for w in own for h in (phrase(w)[-1:] or ("",)) if h in _PAIR_HEADS}
        if heads and kind == "finding" and not concept.structure:
            self._pair(index, own, frozenset(heads))

    def _pair(self, index: int, wordings: list[str], heads: frozenset[Words]) -> None:
        """Let "renal lesion" also be a kidney that contains a lesion."""
        pairs: dict[str, set[Words]] = {}
        for wording in wordings:
            words = phrase(wording)
            if len(words) > 1 and (words[-1],) in heads:
                for anatomy in self.place_words.get(words[:-1], ()):
                    pairs.setdefault(anatomy, set()).add((words[-1],))
        main = self.meanings[index].anatomy
        for anatomy, own in pairs.items():
            if anatomy == main or anatomy not in self.library.anatomies:
                continue
            item = self.library.anatomies[anatomy]
            for name in (item.name, item.adjective, *item.synonyms):
                if name:
                    owners = self.structures.setdefault(phrase(name), {})
                    if index not in owners:
                        owners[index] = frozenset(own)

    def _add_foreign(self, index: int, concept: Concept) -> None:
        """Add the wordings of another field that cannot mean anything else."""
        if self.meanings[index].kind not in ("finding", "grade", "device"):
            return
        for wording in (concept.name, *concept.synonyms):
            segments = _segments(wording)
            if len(segments) > 1 or segments in self.terms:
                continue
            words = segments[0]
            if words[-1] in GENERIC_HEADS and (len(words) == 1 or not self._distinct(words)):
                continue
            if not _has_content(words):
                continue
            self._term(segments, wording, meaning=index)

    def _distinct(self, words: Words) -> bool:
        """Say whether a wording of a general head has a word that places it outside this schema's anatomy."""
        return bool(self._places_in(words)) and not any(w in _DEGREE_WORDS for w in words[:-1])

    def _term(
        self,
        segments: tuple[Words, ...],
        text: str,
        *,
        meaning: int | None = None,
        sign: int | None = None,
        denied: int | None = None,
        case: bool = False,
    ) -> None:
        if not segments or not all(segments):
            return
        term = self.terms.setdefault(
            segments, {"meanings": [], "signs": set(), "denies": [], "case": case, "text": text}
        )
        if meaning is not None and meaning not in term["meanings"]:
            term["meanings"].append(meaning)
        if sign is not None:
            term["signs"].add(sign)
        if denied is not None:
            term["denies"].append(denied)
        term["case"] = term["case"] and case

    def _derive(self, sources: list[Concept]) -> None:
        """Add wordings that follow by rule from the ones given, where nobody else has them."""
        derived: dict[tuple[Words, ...], set[int]] = {}
        self.weak = set()
        texts: dict[tuple[Words, ...], str] = {}
        for index, concept in enumerate(sources):
            meaning = self.meanings[index]
            if (
                meaning.foreign
                or meaning.kind not in ("finding", "grade")
                or (meaning.code is None and not self.fields)
            ):
                continue
            for wording in (concept.name, *concept.synonyms):
                for segments in self._variants(wording, meaning):
                    derived.setdefault(segments, set()).add(index)
                    texts.setdefault(segments, wording)
        for segments, owners in derived.items():
            if segments in self.terms:
                continue
            classes = {o for o in owners if self.meanings[o].code is not None} or owners
            full = phrase(texts[segments])
            weak = len(segments) == 1 and len(full) > len(segments[0]) and segments[0] == full[-len(segments[0]) :]
            concepts = {self.meanings[o].concept or self.meanings[o].key for o in classes}
            if len(concepts) == 1 or weak:
                if weak:
                    self.weak.add(segments)
                for owner in sorted(classes):
                    self._term(segments, texts[segments], meaning=owner)

    def _variants(self, wording: str, meaning: Meaning) -> Iterator[tuple[Words, ...]]:
        if " ... " in wording:
            # "lung ... consolidated" is as well "consolidated area of lung".
            segments = _segments(wording)
            if len(segments) == 2 and len(segments[1]) == 1 and segments[1][0].endswith("ed"):
                yield (segments[1], segments[0])
            if len(segments) == 2 and meaning.code is not None:
                yield from self._states(segments[0], segments[1])
            return
        words = phrase(wording)
        if not words or words[0] in ("no", "without", "non", "not"):
            return
        for cause in _CAUSES:
            at = next((i for i in range(len(words)) if words[i : i + len(cause)] == cause), 0)
            if at:
                yield from (((*words[:at], *other, *words[at + len(cause) :]),) for other in _CAUSES if other != cause)
        if len(words) > 1:
            yield from (((*words[:-1], noun),) for noun in _SAME_NOUN.get(words[-1], ()))
        if 1 < len(words) <= _REORDERED and meaning.code is not None and not lexicon.PREPOSITIONS.intersection(words):
            # "bile duct dilation" is as well "dilation of the bile duct".
            for place in self._nouns(words[:-1]):
                for link in _LINKS:
                    yield ((words[-1], *link, *place),)
        if meaning.code is not None:
            yield from self._states(*_place_and_state(words))
            if len(words) > 1 and len(words[0]) > _SHORT and words[0].endswith(_ADJECTIVAL):
                # "vascular lesion" is as well "the lesion is of vascular type".
                yield (words[1:], (IS,), words[:1])
        adjective = _adjective(words[-1]) if len(words) == 1 else None
        if adjective:
            yield ((adjective,),)
        for cut in (1, 2):
            head, rest = words[:cut], words[cut:]
            if len(rest) == 1 and len(words) == cut + 1 and meaning.code is not None:
                places = self.place_words.get(head, frozenset())
                if meaning.anatomy and (places & self._inside(meaning.anatomy)) and rest[0] not in _MODIFIER_STOP:
                    yield (rest,)
                    adjective = _adjective(rest[0])
                    if adjective:
                        yield ((*head, adjective),)

    def _states(self, place: Words, state: Words) -> Iterator[tuple[Words, ...]]:
        """Yield the other ways to say that a place is in a state: "rib fracture", "a broken rib", "the rib is fractured"."""
        family = _FAMILIES.get(state)
        if family is None or not place or len(place) > _REORDERED or lexicon.PREPOSITIONS.intersection(place):
            return
        nouns, adjectives = family
        for noun_of_place in self._nouns(place):
            if not self._places_in(noun_of_place):
                continue
            for adjective in adjectives:
                yield (noun_of_place, adjective)
                yield ((*adjective, *noun_of_place),)
            for noun in nouns:
                for link in _LINKS[:4]:
                    yield ((*noun, *link, *noun_of_place),)
        for noun in nouns:
            if len(noun) == 1 and self._places_in(place):
                yield ((*place, *noun),)

    def _nouns(self, words: Words) -> set[Words]:
        """Return a modifier as a noun: as it is, unless it is an adjective, and as the place that it names."""
        places = self.place_words.get(words, frozenset())
        nouns = {phrase(self.library.anatomies[p].name) for p in places if p in self.library.anatomies}
        return nouns if words[-1].endswith(_ADJECTIVAL) else nouns | {words}

    def _inside(self, anatomy: str) -> frozenset[str]:
        item = self.library.anatomies.get(anatomy)
        return frozenset({anatomy}) | (
            frozenset(p for p in item.parts if p in self.library.anatomies) if item else frozenset()
        )

    def _insert_terms(self) -> list[Term]:
        terms: list[Term] = []
        starts: dict[Words, list[tuple[int, tuple[Words, ...], bool]]] = {}
        for segments, data in self.terms.items():
            terms.append(
                Term(
                    tuple(data["meanings"]),
                    frozenset(data["signs"]),
                    tuple(data["denies"]),
                    segments in self.weak,
                    data["text"],
                    any(self.meanings[i].code is not None for i in data["meanings"]),
                )
            )
            starts.setdefault(segments[0], []).append((len(terms) - 1, segments[1:], data["case"]))
        for first, items in starts.items():
            for index, rest, case in items:
                if rest:
                    insert_gap(self.trie, first, (index, case, rest))
                else:
                    insert(self.trie, first, (CONCEPT, index, case))
        return terms

    def _words_of_meanings(self, terms: list[Term]) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        """Return the words of each meaning's wordings, and those of its signs and denials."""
        said: list[set[str]] = [set() for _ in self.meanings]
        signalled: list[set[str]] = [set() for _ in self.meanings]
        for term in terms:
            words = phrase(term.text)
            for i in term.meanings:
                said[i].update(words)
            for i in (*term.signs, *term.denies):
                signalled[i].update(words)
        return list(map(frozenset, said)), list(map(frozenset, signalled))

    # --- language -----------------------------------------------------------------------------------------------

    def _insert_cues(self) -> list[int]:
        cues: list[int] = []
        for kind, text in lexicon.CUES.items():
            for wording in text.split("|"):
                insert(self.trie, phrase(wording.strip()), (CUE, len(cues), False))
                cues.append(kind)
        return cues

    def _insert_states(self) -> list[Words]:
        for i, text in enumerate(lexicon.NORMAL_WORDS):
            insert(self.trie, phrase(text), (NORMAL, i, False))
        abnormal: list[Words] = []
        for text in lexicon.ABNORMAL_WORDS:
            insert(self.trie, phrase(text), (ABNORMAL, len(abnormal), False))
            abnormal.append(phrase(text))
        return abnormal

    # --- places and modalities ----------------------------------------------------------------------------------

    def _place_words(self) -> dict[Words, frozenset[str]]:
        """Return words → anatomy ids; a part that is no anatomy of its own stands under its own words."""
        found: dict[Words, set[str]] = {}
        for key, item in self.library.anatomies.items():
            for name in (item.name, item.adjective, *item.synonyms):
                if name:
                    found.setdefault(phrase(name), set()).add(key)
        for item in self.library.anatomies.values():
            for part in item.parts:
                if part not in self.library.anatomies:
                    words = phrase(part)
                    if words not in found:
                        found[words] = {" ".join(words)}
        return {w: frozenset(p) for w, p in found.items()}

    def _places_in(self, words: Words) -> set[str]:
        found: set[str] = set()
        i = 0
        while i < len(words):
            for length in (3, 2, 1):
                places = self.place_words.get(words[i : i + length])
                if places and i + length <= len(words):
                    found |= places
                    i += length - 1
                    break
            i += 1
        return found

    def _insert_anatomies(self) -> tuple[list[frozenset[str]], dict[str, frozenset[str]]]:
        anatomies: list[frozenset[str]] = []
        for words, places in self.place_words.items():
            case = len(words) == 1 and len(words[0]) <= 3 and words[0] in ("ivc", "cbd")
            insert(self.trie, words, (ANATOMY, len(anatomies), case))
            anatomies.append(places)
        containers: dict[str, set[str]] = {}
        for key, item in self.library.anatomies.items():
            mine = containers.setdefault(key, set())
            mine.update(item.within)
            for part in item.parts:
                name = part if part in self.library.anatomies else " ".join(phrase(part))
                containers.setdefault(name, set()).add(key)
                if part not in self.library.anatomies:
                    for p in self.place_words.get(phrase(part), ()):
                        containers.setdefault(p, set()).add(key)
        closed: dict[str, frozenset[str]] = {}
        for name in containers:
            seen: set[str] = set()
            queue = [name]
            while queue:
                n = queue.pop()
                if n not in seen:
                    seen.add(n)
                    queue.extend(containers.get(n, ()))
            closed[name] = frozenset(seen)
        return anatomies, closed

    def _insert_modalities(self) -> list[str]:
        modalities: list[str] = []
        for item in self.library.modalities.values():
            family = item.family or item.name
            for name in (item.name, *item.synonyms):
                words = phrase(name)
                case = len(words) == 1 and name.isupper() and len(name) <= 3
                insert(self.trie, words, (MODALITY, len(modalities), case and name not in ("CT", "MRI")))
                modalities.append(family)
        for family, names in triggers.MODALITY_WORDS.items():
            for name in names:
                insert(self.trie, phrase(name), (MODALITY, len(modalities), name.isupper() and len(name) <= 3))
                modalities.append(family)
        return modalities

    def _dataset_words(self) -> Iterator[Words]:
        for text in (self.schema.id, self.schema.title.partition(",")[0]):
            words = phrase(text.replace("_", " "))
            single = len(words) == 1 and len(words[0]) > 3 and words[0] not in self.trie.after
            if single or (words and any(c.isdigit() for c in text)):
                yield words

    # --- scales -------------------------------------------------------------------------------------------------

    def _scale(self, group: str) -> Scale | None:
        """Return the words of degree of an exclusive group, from what tells its classes' wordings apart."""
        members = [i for i, m in enumerate(self.meanings) if m.group == group and m.code is not None]
        severity = {phrase(s) for s in lexicon.SEVERITY}
        words: dict[str, set[int]] = {}
        heads: list[set[str]] = []
        graded: dict[int, str] = {}
        classes = {c.code: c for c in self.schema.classes}
        for index in members:
            meaning = self.meanings[index]
            if meaning.kind in ("absence", "normal") or meaning.level == 0:
                continue
            item = classes[meaning.code or ""]
            seen: set[str] = set()
            for wording in (item.name, *item.synonyms):
                seen.update(w for w in phrase(wording) if w not in lexicon.PREPOSITIONS)
            heads.append(seen)
            name = phrase(item.name)
            for w in name:
                if (w,) in severity:
                    words.setdefault(w, set()).add(index)
            if "proliferative" in name:
                words.setdefault("proliferative" if "non" not in name else "non proliferative", set()).add(index)
        if not any((w,) in severity for w in words):
            return None
        common = set.intersection(*heads) if heads else set()
        common -= {w for w in common if (w,) in severity}
        parents = {p for i in members for p in self.meanings[i].implies if self.meanings[p].code is None}
        for segments, term in self.terms.items():
            if len(segments) == 1 and set(term["meanings"]) & parents:
                common.add(segments[0][-1])
        common |= {"npdr", "dr"} if "retinopathy" in common else set()
        levels = {m.level: i for i in members if (m := self.meanings[i]).level is not None}
        for index in members:
            if any(w == "proliferative" and index in owners for w, owners in words.items()):
                graded[index] = "proliferative"
        return Scale(
            group=group,
            heads=frozenset(common - {"non", "proliferative", "of", "the", "a"}),
            words={w: frozenset(o) for w, o in words.items()},
            levels={k: v for k, v in levels.items() if k is not None},
            graded=graded,
        )


_PAIR_HEADS = frozenset(
    """lesion abnormality pathology mass nodule tumor cyst edema infarct infarction tear injury fracture inflammation
    stone calculus effusion disease thickening""".split()
)
_CAUSES = tuple(
    tuple(c.split())
    for c in (
        "due to",
        "caused by",
        "secondary to",
        "related to",
        "resulting from",
        "because of",
        "owing to",
        "from",
        "attributable to",
    )
)
"""Ways to say the same: "retinopathy due to diabetes", "retinopathy caused by diabetes"."""
_FAMILIES: dict[Words, tuple[tuple[Words, ...], tuple[Words, ...]]] = {}
for _nouns_text, _adjectives_text in lexicon.STATES:
    _family = tuple(tuple(phrase(w.strip()) for w in text.split("|")) for text in (_nouns_text, _adjectives_text))
    _FAMILIES |= dict.fromkeys((*_family[0], *_family[1]), (_family[0], _family[1]))


STATE_WORDS = frozenset(_FAMILIES)
"""Every word, or words, for a state that a structure may be in."""


def _place_and_state(words: Words) -> tuple[Words, Words]:
    """Return what of a wording is the place and what its state; two empty ones where it has no such form."""
    for size in (1, 2, 3, 4):
        if size >= len(words):
            break
        if words[-size:] in _FAMILIES:
            return words[:-size], words[-size:]
        if words[:size] in _FAMILIES:
            rest = words[size:]
            if rest[0] == "of":
                rest = rest[2:] if rest[1:2] in (("the",), ("a",), ("an",)) else rest[1:]
            return rest, words[:size]
    return (), ()


_ADJECTIVAL = tuple("al ic ar ous ed ive ary ing ent ant oid ory ate ose able ible ular iform".split())
_ALWAYS_WATCHED = ("general.malignancy",)
"""What a caption of any field may not say unless a label does."""

_REORDERED, _SHORT = 3, 4
_SAME_NOUN = {
    noun: tuple(other for other in nouns if other != noun)
    for nouns in (
        ("disease", "disorder"), ("hemorrhage", "bleed", "bleeding"), ("carcinoma", "cancer"), ("stone", "calculus"),
        ("edema", lemma("swelling")), ("tumor", "neoplasm"), ("infarct", "infarction"), ("scar", "scarring"),
        ("dilatation", "dilation"), ("anomaly", "abnormality"), ("fracture", "break"),
    )
    for noun in nouns
}  # fmt: skip
_LINKS = tuple(
    tuple(link.split())
    for link in (
        "of",
        "of the",
        "of a",
        "of an",
        "in the",
        "within the",
        "involving the",
        "affecting the",
        "affect the",
        "involve the",
    )
)
_FAIR_SHARE, _MOST = 0.15, 0.4
_DEGREE_WORDS = frozenset(
    "small large acute chronic diffuse focal severe mild multiple bilateral early late old".split()
)


def _segments(wording: str) -> tuple[Words, ...]:
    return tuple(phrase(part) for part in re.split(r"\s*(?:\.\.\.|\u2026)\s*", wording.strip()) if part)


def _has_capitals(wording: str) -> bool:
    return any(c.isupper() for c in wording)


def _has_content(words: Words) -> bool:
    return any(len(w) > 3 for w in words)


def _adjective(noun: str) -> str | None:
    """Return the adjective that asserts a disease as its noun does: atelectatic, emphysematous."""
    if noun.endswith("sis") and len(noun) > 6:
        return noun[:-3] + "tic"
    if noun.endswith(("edema", "ysema", "glaucoma")):
        return noun + "tous"
    return None
