"""Label cells → labels: what a table's strings say of an image in the schema's codes, and which of it cannot be true."""

import ast
import functools
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from captioner.errors import did_you_mean
from captioner.schema import (
    CodesTable,
    LabelClass,
    LabelSchema,
    LiteralsTable,
    MarksTable,
    OneHotTable,
    fold_label,
    load_library,
)

Sign = Literal["positive", "negative", "uncertain"]


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


@dataclass(slots=True)
class Statement:
    """What the cells of one row say, before it is judged."""

    positive: set[str] = field(default_factory=set)
    negative: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)
    dropped: list[str] = field(default_factory=list)
    problem: Refusal | None = None

    def say(self, code: str, sign: Sign) -> None:
        getattr(self, sign).add(code)

    def refuse(self, code: str, column: str, value: str, reason: str) -> None:
        self.problem = self.problem or Refusal(code, column, value, reason)


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What one label string says."""

    kind: Literal["positive", "uncertain", "dropped", "refused", "unknown"]
    codes: tuple[str, ...]
    label: str


class Reader:
    """Reads label cells as a schema says, and refuses what contradicts itself.

    Args:
        schema: the dataset's schema.
        here: labels that mean another one in the file at hand (:attr:`captioner.schema.TableFile.labels`).
    """

    def __init__(self, schema: LabelSchema, here: Mapping[str, str] | None = None) -> None:
        self.schema = schema
        self._here = {fold_label(k): v for k, v in (here or {}).items()}
        self._meanings: dict[str, _Meaning] = {}
        self._compound: dict[str, bool] = {}
        self._order = {code: i for i, code in enumerate(schema.codes)}
        rules = schema.labels
        self._map = {fold_label(k): v for k, v in rules.map.items()}
        self._drop = {fold_label(k): v for k, v in rules.drop.items()}
        self._uncertain = {fold_label(k): v for k, v in rules.uncertain.items()}
        self._refuse = {fold_label(k): v for k, v in rules.refuse.items()}
        self._place = {c.code: (schema.modality_of(c), schema.anatomy_of(c)) for c in schema.classes}
        self._several_places = len(set(self._place.values())) > 1
        self._implied = {code: _closure(schema, code) for code in schema.codes}
        self._covers = {
            code: frozenset(c.code for c in schema.classes if c.code in above or c.concept in above)
            for code, above in self._implied.items()
        }
        self._exclusive = frozenset(c.code for c in schema.classes if c.kind in ("normal", "absence") or c.group)
        self._deniable = frozenset(c.code for c in schema.classes if c.kind not in ("normal", "absence"))
        self._signs: dict[int, dict[str, Sign | None]] = {}

    # ---- cells → statements, one method a layout

    def joined(self, cell: str, separator: str | None, column: str) -> Statement:
        """Read labels joined by a separator; without one, the cell is one label."""
        said = Statement()
        self._joined(said, cell, separator, column)
        return said

    def literals(self, table: LiteralsTable, cell: str) -> Statement:
        """Read a list as Python or JSON writes it."""
        said = Statement()
        labels = parse_list(cell)
        if labels is None:
            said.refuse("unknown_label", table.column, cell, "the cell is not a list such as ['a', 'b']")
        for label in labels or ():
            self._label(said, label, table.column)
        return said

    def differential(self, cell: str, column: str) -> Statement:
        """Read diagnoses with their weights: one alone is the label, several are left open."""
        said = Statement()
        weights = _parse_weights(cell)
        if weights is None:
            said.refuse("unknown_label", column, cell, "the cell is no list of weights such as {'a': 0.6, 'b': 0.4}")
        elif len(weights) == 1:
            self._label(said, weights[0], column)
        else:
            for meaning in map(self._meaning, weights or ()):
                said.uncertain.update(meaning.codes)
        return said

    def one_hot(self, table: OneHotTable, targets: Mapping[str, str | None], cells: Mapping[str, str]) -> Statement:
        """Read a column for each class.

        A row is the table's ``all_negative`` class only if every other class is denied in so many words.

        Args:
            table: the layout.
            targets: column → class code; None for a column that is no class of the schema.
            cells: column → value.
        """
        said = Statement()
        # A layout that names its columns has all that there are; otherwise every class must have one.
        complete = bool(table.columns)
        if table.all_negative and not complete:
            complete = {code for code in self.schema.codes if code != table.all_negative} <= set(targets.values())
        signs = self._signs_of(table)
        for column, cell in cells.items():
            value = cell.strip()
            if value in signs:
                sign = signs[value]
            else:
                allowed = ", ".join((*table.positive, *table.negative, *table.uncertain))
                said.refuse("unknown_label", column, value, f"{value!r} is none of: {allowed}")
                continue
            code = targets[column]
            complete &= sign is not None
            if code is not None and sign is not None:
                said.say(code, sign)
            elif code is None and sign in ("positive", "uncertain"):
                said.refuse("unknown_label", column, value, self._unknown(column))
        if table.all_negative and complete and not said.positive and not said.uncertain:
            said.say(table.all_negative, "positive")
        return said

    def _signs_of(self, table: OneHotTable) -> dict[str, Sign | None]:
        """Return what each value of a table's cells says; None: nothing."""
        signs = self._signs.get(id(table))
        if signs is None:
            blank: Sign | None = None if table.blank == "unknown" else table.blank
            signs = {"": blank}
            signs |= dict.fromkeys(table.uncertain, "uncertain")
            signs |= dict.fromkeys(table.negative, "negative")
            signs |= dict.fromkeys(table.positive, "positive")
            self._signs[id(table)] = signs
        return signs

    def coded(self, table: CodesTable, cells: Mapping[str, str]) -> Statement:
        """Read columns of codes, where a code's meaning depends on its column."""
        said = Statement()
        for column, cell in cells.items():
            value = cell.strip()
            meanings = table.codes[column]
            code = meanings.get(value, meanings.get(_plain_number(value)))
            if code is not None:
                if code:
                    said.say(code, "positive")
            elif fold_label(value) in self._drop:
                said.dropped.append(value)
            elif value:
                known = ", ".join(meanings)
                said.refuse("unknown_label", column, value, f"{value!r} is not a code of this column; known: {known}")
        return said

    def marked(self, table: MarksTable, cell: str) -> Statement:
        """Read a cell that holds marks, or says that there are none."""
        said = Statement()
        said.say(table.absent if cell.strip() in table.unmarked else table.present, "positive")
        return said

    def _joined(self, said: Statement, cell: str, separator: str | None, column: str) -> None:
        whole = separator is None or (self._has_labels_with(separator) and self._meaning(cell).kind != "unknown")
        for part in (cell,) if whole else cell.split(separator):
            self._label(said, part, column)

    def _has_labels_with(self, separator: str) -> bool:
        if separator not in self._compound:
            self._compound[separator] = any(separator in label for label in self._known_labels)
        return self._compound[separator]

    def _label(self, said: Statement, label: str, column: str) -> None:
        meaning = self._meaning(label)
        if meaning.kind == "dropped":
            said.dropped.append(meaning.label)
        elif meaning.kind == "refused":
            said.refuse("refused_label", column, meaning.label, self._refuse[fold_label(meaning.label)])
        elif meaning.kind != "unknown":
            for code in meaning.codes:
                said.say(code, meaning.kind)
        elif label.strip():
            said.refuse("unknown_label", column, label.strip(), self._unknown(label.strip()))

    def _meaning(self, label: str) -> _Meaning:
        known = self._meanings.get(label)
        if known is None:
            known = self._meanings[label] = self._look_up(label)
        return known

    def _look_up(self, label: str) -> _Meaning:
        label = self._here.get(fold_label(label), label).strip()
        folded = fold_label(label)
        found = self.schema.find(label)
        if found is not None:
            return _Meaning("positive", (found.code,), label)
        if folded in self._map:
            return _Meaning("positive", self._map[folded], label)
        if folded in self._uncertain:
            return _Meaning("uncertain", (self._uncertain[folded],), label)
        if folded in self._refuse:
            return _Meaning("refused", (), label)
        return _Meaning("dropped" if folded in self._drop else "unknown", (), label)

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
        uncertain = said.uncertain - positive - negative
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
        exclusive = not positive.isdisjoint(self._exclusive)
        if exclusive and (reason := self._contradiction(positive, uncertain)):
            return Refusal("contradiction", column, value, reason)
        if self.schema.negatives == "closed_world":
            negative = negative | self._unlabelled(positive, uncertain)
        # That an image is not normal, or not free of something, is no statement that a caption could make.
        negative, uncertain = negative & self._deniable, uncertain & self._deniable
        if negative or uncertain:
            implied = frozenset().union(*(self._covers[code] for code in positive))
            negative, uncertain = negative - implied, uncertain - implied
        return Labels(self._sorted(positive), self._sorted(negative), self._sorted(uncertain))

    def _sorted(self, codes: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted(codes, key=self._order.__getitem__))

    def _list(self, codes: Iterable[str]) -> str:
        return " and ".join(repr(c) for c in self._sorted(codes))

    def _why_none(self, said: Statement, uncertain: set[str]) -> str:
        if uncertain:
            return f"nothing is certain: {self._list(uncertain)} is left open"
        if said.dropped:
            whys = {f"{label!r}: {self._drop[fold_label(label)]}" for label in said.dropped}
            return "; ".join(sorted(whys))
        if said.negative:
            return "every class is denied or blank, and the schema names no class for that"
        return "the row has no label"

    def _several_regions(self, positive: set[str]) -> str | None:
        if len({self._place[code] for code in positive}) == 1:
            return None
        places: dict[tuple[str, str], list[str]] = {}
        for code in self._sorted(positive):
            places.setdefault(self._place[code], []).append(code)
        parts = (f"{self._list(codes)} is {modality} of {anatomy}" for (modality, anatomy), codes in places.items())
        return "labels of different images: " + ", ".join(parts)

    def _contradiction(self, positive: set[str], uncertain: set[str]) -> str | None:
        items = [self.schema[c] for c in self._sorted(positive)]
        open_items = [self.schema[c] for c in self._sorted(uncertain)]
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

    def _unlabelled(self, positive: set[str], uncertain: set[str]) -> set[str]:
        """Return the classes that a table with a complete list of findings denies by leaving them out."""
        where = self._place[next(iter(positive))]
        return {
            item.code
            for item in self.schema.classes
            if item.kind in ("finding", "device")
            and item.code not in positive
            and not uncertain & (self._implied[item.code] | {item.code})
            and self._place[item.code] == where
        }


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
