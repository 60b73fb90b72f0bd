"""Label cells → labels: what a table's strings say of an image in the schema's codes, and which of it cannot be true."""

import ast
import functools
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import or_

from captioner.errors import did_you_mean
from captioner.schema import (
    CodesTable,
    LabelClass,
    LabelSchema,
    MarksTable,
    OneHotTable,
    fold_label,
    load_library,
)


@dataclass(frozen=True, slots=True)
class Labels:
    """What a table says of one image, as class codes in the schema's order."""

    positive: tuple[str, ...]
    negative: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why cells give no labels that captions could rest on."""

    code: str
    column: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Statement:
    """What one cell says, or several together, before it is judged.

    A set of classes is a number here, whose bit i stands for the schema's i-th class: a table may have tens of thousands
    of combinations of labels.

    Attributes:
        positive, negative, uncertain: sets of classes.
        dropped: label strings that say nothing that a caption may use.
        problem: why the row cannot be used; the first one of several.
        blank: some cell says nothing of the class that its column is about.
    """

    positive: int = 0
    negative: int = 0
    uncertain: int = 0
    dropped: tuple[str, ...] = ()
    problem: Refusal | None = None
    blank: bool = False


_NOTHING = Statement()
_BLANK = Statement(blank=True)


def together(cells: Sequence[Statement]) -> Statement:
    """Return what some cells of one row say together."""
    if len(cells) == 1:
        return cells[0]
    positive = negative = uncertain = 0
    dropped: tuple[str, ...] = ()
    problem: Refusal | None = None
    blank = False
    for cell in cells:
        if cell is _BLANK:
            blank = True
            continue
        positive |= cell.positive
        negative |= cell.negative
        uncertain |= cell.uncertain
        if cell.dropped or cell.problem:
            dropped += cell.dropped
            problem = problem or cell.problem
    return Statement(positive, negative, uncertain, dropped, problem, blank)


def members(classes: int) -> Iterator[int]:
    """Yield the positions in the schema of a set's classes, in order."""
    while classes:
        lowest = classes & -classes
        yield lowest.bit_length() - 1
        classes ^= lowest


class Reader:
    """Reads label cells as a schema says, and refuses what contradicts itself.

    Args:
        schema: the dataset's schema.
        here: labels that mean another one in the file at hand (:attr:`captioner.schema.TableFile.labels`).
    """

    def __init__(self, schema: LabelSchema, here: Mapping[str, str] | None = None) -> None:
        self.schema = schema
        self._here = {fold_label(k): v for k, v in (here or {}).items()}
        rules = schema.labels
        self._map = {fold_label(k): v for k, v in rules.map.items()}
        self._drop = {fold_label(k): v for k, v in rules.drop.items()}
        self._uncertain = {fold_label(k): v for k, v in rules.uncertain.items()}
        self._refuse = {fold_label(k): v for k, v in rules.refuse.items()}
        self._meaning = functools.cache(self._look_up)
        self._compound: dict[str, bool] = {}
        self._position = {code: i for i, code in enumerate(schema.codes)}
        self._codes: dict[int, tuple[str, ...]] = {}
        self._place = {c.code: (schema.modality_of(c), schema.anatomy_of(c)) for c in schema.classes}
        self._several_places = len(set(self._place.values())) > 1
        self._implied = {code: _closure(schema, code) for code in schema.codes}
        self._covered = [
            self.set_of(c.code for c in schema.classes if c.code in above or c.concept in above)
            for above in self._implied.values()
        ]
        self._covers: dict[int, int] = {}
        self._exclusive = self.set_of(c.code for c in schema.classes if c.kind in ("normal", "absence") or c.group)
        self._deniable = self.set_of(c.code for c in schema.classes if c.kind not in ("normal", "absence"))

    def set_of(self, codes: Iterable[str]) -> int:
        """Return the set of the classes of some codes."""
        return sum({1 << self._position[code] for code in codes})

    def codes_of(self, classes: int) -> tuple[str, ...]:
        """Return the codes of a set's classes, in the schema's order."""
        codes = self._codes.get(classes)
        if codes is None:
            codes = self._codes[classes] = tuple([self.schema.classes[i].code for i in members(classes)])
        return codes

    # ---- cells → statements, one method a layout

    def joined(self, cell: str, separator: str | None, column: str) -> Statement:
        """Read labels joined by a separator; without one, the cell is one label."""
        whole = separator is None or (self._has_labels_with(separator) and self._meaning(cell, column) is not None)
        return together([self._label(part, column) for part in ((cell,) if whole else cell.split(separator))])

    def literals(self, cell: str, column: str) -> Statement:
        """Read a list as Python or JSON writes it."""
        labels = parse_list(cell)
        if labels is None:
            return _refused("unknown_label", column, cell, "the cell is not a list such as ['a', 'b']")
        return together([self._label(label, column) for label in labels])

    def differential(self, cell: str, column: str) -> Statement:
        """Read diagnoses with their weights: one alone is the label, several are left open."""
        weights = _parse_weights(cell)
        if weights is None:
            what = "the cell is no list of weights such as {'a': 0.6, 'b': 0.4}"
            return _refused("unknown_label", column, cell, what)
        if len(weights) == 1:
            return self._label(weights[0], column)
        said = together([self._meaning(label, column) or _NOTHING for label in weights])
        return Statement(uncertain=said.positive | said.uncertain)

    def one_hot(self, cell: str, table: OneHotTable, column: str, code: str | None) -> Statement:
        """Read a cell of the column of one class; code None: of a column that is no class of the schema."""
        value = cell.strip()
        signs = (sign for sign in ("positive", "negative", "uncertain") if value in getattr(table, sign))
        sign = next(signs, None if value else table.blank)
        if sign is None:
            allowed = ", ".join((*table.positive, *table.negative, *table.uncertain))
            return _refused("unknown_label", column, value, f"{value!r} is none of: {allowed}")
        if sign == "unknown":
            return _BLANK
        if code is None:
            return _NOTHING if sign == "negative" else _refused("unknown_label", column, value, self._unknown(column))
        own = self.set_of([code])
        return {"positive": Statement(own), "negative": Statement(0, own), "uncertain": Statement(0, 0, own)}[sign]

    def coded(self, cell: str, table: CodesTable, column: str) -> Statement:
        """Read a cell of a column whose codes mean what they mean only there."""
        value = cell.strip()
        meanings = table.codes[column]
        code = meanings.get(value, meanings.get(_plain_number(value)))
        if code is not None:
            return Statement(positive=self.set_of([code] if code else []))
        if fold_label(value) in self._drop:
            return Statement(dropped=(value,))
        if not value:
            return _NOTHING
        known = ", ".join(meanings)
        return _refused("unknown_label", column, value, f"{value!r} is not a code of this column; known: {known}")

    def marked(self, cell: str, table: MarksTable) -> Statement:
        """Read a cell that holds marks, or says that there are none."""
        return Statement(positive=self.set_of([table.absent if cell.strip() in table.unmarked else table.present]))

    def row(self, cells: Sequence[Statement], all_negative: str | None = None) -> Statement:
        """Return what the cells of a row say together.

        Args:
            cells: what each of them says.
            all_negative: the class of a row whose cells deny every other class in so many words.
        """
        said = together(cells)
        if all_negative and not (said.positive or said.uncertain or said.blank):
            return replace(said, positive=self.set_of([all_negative]))
        return said

    def _has_labels_with(self, separator: str) -> bool:
        if separator not in self._compound:
            self._compound[separator] = any(separator in label for label in self._known_labels)
        return self._compound[separator]

    def _label(self, label: str, column: str) -> Statement:
        said = self._meaning(label, column)
        if said is not None:
            return said
        label = label.strip()
        return _refused("unknown_label", column, label, self._unknown(label)) if label else _NOTHING

    def _look_up(self, label: str, column: str) -> Statement | None:
        """Return what one label string says; None: the schema does not know it."""
        label = self._here.get(fold_label(label), label).strip()
        folded = fold_label(label)
        found = self.schema.find(label)
        if found is not None:
            return Statement(positive=self.set_of([found.code]))
        if folded in self._map:
            return Statement(positive=self.set_of(self._map[folded]))
        if folded in self._uncertain:
            return Statement(uncertain=self.set_of([self._uncertain[folded]]))
        if folded in self._refuse:
            return _refused("refused_label", column, label, self._refuse[folded])
        return Statement(dropped=(label,)) if folded in self._drop else None

    def _unknown(self, label: str) -> str:
        return f"label {label!r} is not in schema {self.schema.id!r}.{did_you_mean(label, self._known_labels)}"

    @functools.cached_property
    def _known_labels(self) -> tuple[str, ...]:
        rules = self.schema.labels
        # Of spellings that differ only in case, the last is suggested: the code.
        own = (word for c in self.schema.classes for word in (c.name, *c.aliases, c.code))
        return (*rules.strings, *self._here, *own)

    # ---- statements → labels

    def judge(self, said: Statement, column: str, value: str) -> Labels | Refusal:
        """Return the labels of a statement, or why there are none.

        Args:
            said: what the cells say.
            column: where they stand, for a refusal.
            value: what stands there, for a refusal.
        """
        if said.problem:
            return said.problem
        positive, negative = said.positive, said.negative
        uncertain = said.uncertain & ~(positive | negative)
        both = positive & negative
        if both:
            return Refusal("contradiction", column, value, f"{self._list(both)} is both asserted and denied")
        if uncertain and self.schema.uncertain == "reject":
            left_open = f"{self._list(uncertain)} is uncertain, and the schema refuses such rows"
            return Refusal("uncertain_label", column, value, left_open)
        if not positive:
            return Refusal("no_label", column, value, self._why_none(said, uncertain))
        if self._several_places and (reason := self._several_regions(positive)):
            return Refusal("several_regions", column, value, reason)
        # Only a normal, an absence or a step of a scale excludes anything.
        if positive & self._exclusive and (reason := self._contradiction(positive, uncertain)):
            return Refusal("contradiction", column, value, reason)
        if self.schema.negatives == "closed_world":
            negative |= self._unlabelled(positive, uncertain)
        # That an image is not normal, or not free of something, is no statement that a caption could make.
        sayable = self._deniable & ~self._implied_by(positive)
        return Labels(self.codes_of(positive), self.codes_of(negative & sayable), self.codes_of(uncertain & sayable))

    def _implied_by(self, positive: int) -> int:
        """Return the classes that are true because some are."""
        covers = self._covers.get(positive)
        if covers is None:
            covers = self._covers[positive] = functools.reduce(or_, (self._covered[i] for i in members(positive)))
        return covers

    def _list(self, classes: int) -> str:
        return " and ".join(map(repr, self.codes_of(classes)))

    def _classes(self, classes: int) -> list[LabelClass]:
        return [self.schema.classes[i] for i in members(classes)]

    def _why_none(self, said: Statement, uncertain: int) -> str:
        if uncertain:
            return f"nothing is certain: {self._list(uncertain)} is left open"
        if said.dropped:
            whys = {f"{label!r}: {self._drop[fold_label(label)]}" for label in said.dropped}
            return "; ".join(sorted(whys))
        if said.negative:
            return "every class is denied or blank, and the schema names no class for that"
        return "the row has no label"

    def _several_regions(self, positive: int) -> str | None:
        places: dict[tuple[str, str], list[str]] = {}
        for code in self.codes_of(positive):
            places.setdefault(self._place[code], []).append(repr(code))
        if len(places) == 1:
            return None
        parts = (f"{' and '.join(codes)} is {modality} of {anatomy}" for (modality, anatomy), codes in places.items())
        return "labels of different images: " + ", ".join(parts)

    def _contradiction(self, positive: int, uncertain: int) -> str | None:
        items, open_items = self._classes(positive), self._classes(uncertain)
        normal = next((i for i in items if i.kind == "normal"), None)
        if normal:
            abnormal = next((i for i in (*items, *open_items) if self._is_abnormal(i)), None)
            if abnormal:
                return f"{normal.code!r} cannot stand with {abnormal.code!r}"
        for i, one in enumerate(items):
            for other in items[i + 1 :]:
                if one.group and one.group == other.group and not self._related(one, other):
                    return f"{one.code!r} and {other.code!r} exclude each other (both are {one.group!r})"
        for absence in items:
            if absence.kind != "absence" or absence.denies is None:
                continue
            denied = {absence.denies}
            if absence.denies in self.schema and (concept := self.schema[absence.denies].concept):
                denied.add(concept)
            for item in (*items, *open_items):
                if item.kind != "absence" and denied & self._implied[item.code]:
                    return f"{absence.code!r} cannot stand with {item.code!r}"
        return None

    def _is_abnormal(self, item: LabelClass) -> bool:
        """Say whether a class says that something is wrong; the lowest step of a scale does not."""
        if item.kind != "grade":
            return item.kind == "finding"
        steps = [c.level for c in self.schema.classes if c.group == item.group and c.level is not None]
        return item.level is None or item.level > min(steps)

    def _related(self, one: LabelClass, other: LabelClass) -> bool:
        """Say whether one class implies the other: 'proliferative retinopathy' and 'retinopathy'."""
        return not {other.code, other.concept}.isdisjoint(self._implied[one.code]) or not {
            one.code,
            one.concept,
        }.isdisjoint(self._implied[other.code])

    def _unlabelled(self, positive: int, uncertain: int) -> int:
        """Return the classes that a table with a complete list of findings denies by leaving them out."""
        said = self.codes_of(positive)
        left_open = self.codes_of(uncertain)
        return self.set_of(
            item.code
            for item in self.schema.classes
            if item.kind in ("finding", "device")
            and item.code not in said
            and self._implied[item.code].isdisjoint(left_open)
            and self._place[item.code] == self._place[said[0]]
        )


def _refused(code: str, column: str, value: str, reason: str) -> Statement:
    return Statement(problem=Refusal(code, column, value, reason))


def _closure(schema: LabelSchema, code: str) -> frozenset[str]:
    """Return everything that a class is: its code and concept, and those of all that it implies."""
    concepts = load_library().concepts
    seen: set[str] = set()
    todo = [code]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in schema:
            item = schema[name]
            todo += [*item.parents, *([item.concept] if item.concept else [])]
        elif name in concepts:
            todo += concepts[name].parents
    return frozenset(seen)


def _parse_weights(cell: str) -> list[str] | None:
    """Return the diagnoses of ``{'a': 0.6, 'b': 0.4}``; None if the cell is nothing of the kind."""
    text = cell.strip()
    if not text:
        return []
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return list(value) if isinstance(value, dict) and all(isinstance(k, str) for k in value) else None


_PLAIN_LIST = re.compile(r"\[\s*(?:'[^'\\\n]*'\s*(?:,\s*'[^'\\\n]*'\s*)*)?\]")
_QUOTED = re.compile(r"'([^']*)'")


def parse_list(cell: str) -> list[str] | None:
    """Return the labels of ``['a', 'b']``, ``["a", "b"]`` or ``'a'``; None if the cell is nothing of the kind."""
    text = cell.strip()
    if not text:
        return []
    if _PLAIN_LIST.fullmatch(text):
        return _QUOTED.findall(text)
    value: object = None
    try:
        with warnings.catch_warnings():  # about escapes such as '\d', which stay as they are
            warnings.simplefilter("ignore")
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list | tuple | set):
        return None
    if not all(isinstance(v, str | int) or v is None for v in value):
        return None
    return [str(v) for v in (sorted(value, key=str) if isinstance(value, set) else value) if v is not None]


def _plain_number(value: str) -> str:
    """Return ``3`` for ``3.0``: a spreadsheet or a blank cell elsewhere in the column makes whole numbers so."""
    return re.sub(r"\A(-?\d+)\.0+\Z", r"\1", value)
