"""What a dataset's labels mean: concepts (clinical facts) and label schemas (a dataset's codes and tables).

A *concept* is one clinical meaning, independent of any dataset: its name, the wordings that assert it, what it implies.
Concepts live in ``label_schemas/concepts/FIELD.yaml`` and are named ``field.id`` (``retina.glaucoma``); the same files
tell the agreement check which diseases exist at all. A *label schema* is one dataset: how its tables are read, and which
concept each of its codes stands for. A class may take its meaning from a concept, spell it out, or change parts of it.
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from captioner import resources
from captioner.errors import SchemaError, did_you_mean

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Cell = Annotated[str, StringConstraints(strip_whitespace=True)]

Kind = Literal["finding", "grade", "normal", "absence", "organ", "tissue", "device"]
"""What a class says of an image.

finding: a disease or sign is there. grade: one step of an exclusive scale. normal: nothing abnormal. absence: one named
thing is not there ("no glaucoma"). organ, tissue: what is shown, with nothing said about disease. device: something
man-made.
"""


class Model(BaseModel):
    """Frozen, and refuses keys that it does not know: a misspelt key in a YAML file is an error, not a comment."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)


class Concept(Model):
    """One clinical meaning. All wordings are lower case unless the word is always capitalised."""

    name: Text = Field(description="the clinical name, as a caption would say it inside a sentence")
    kind: Kind = "finding"
    synonyms: tuple[Text, ...] = Field(
        default=(), description="other wordings that assert it in a caption; ' ... ' stands for up to four other words"
    )
    abbreviations: tuple[Text, ...] = Field(
        default=(), description="short forms that assert it in a caption, where case matters (PDR, ACL tear)"
    )
    structure: tuple[Text, ...] = Field(
        default=(),
        description="for 'X pathology' classes: wordings of X; X with any word of abnormality asserts the class",
    )
    blockers: tuple[Text, ...] = Field(
        default=(), description="wordings that contain one of this concept's but mean something else"
    )
    denials: tuple[Text, ...] = Field(
        default=(), description="wordings that deny it without a word of negation ('normal heart size')"
    )
    signs: tuple[Text, ...] = Field(
        default=(), description="wordings or concept ids that a caption may mention because this concept is present"
    )
    parents: tuple[Text, ...] = Field(
        default=(), description="class codes or concept ids that this one implies: mentioning them is never wrong"
    )
    supports: tuple[Text, ...] = Field(
        default=(), description="class codes or concept ids that may be mentioned with this one, but are not implied"
    )
    group: Identifier | None = Field(default=None, description="exclusive scale or set: at most one of a group is true")
    level: int | None = Field(default=None, description="position on the group's scale, if it is ordered")
    denies: Text | None = Field(default=None, description="for an absence: the class code or concept id that is absent")
    number: Literal["count", "mass", "plural"] | None = Field(
        default=None, description="grammar of the name: 'a nodule', 'edema', 'drusen are'; guessed when left out"
    )
    note: Text | None = None


class Modality(Model):
    """A way of imaging. ``view`` is how a caption names an image of it, with ``{anatomy}`` where the body part goes."""

    name: Text
    view: Text = Field(description="such as '{anatomy} X-ray' or 'MRI of the {anatomy}'")
    views: tuple[Text, ...] = Field(default=(), description="other ways to say the same")
    synonyms: tuple[Text, ...] = Field(default=(), description="wordings that name this modality in a caption")
    family: Identifier | None = Field(default=None, description="modalities of one family do not contradict each other")


class Anatomy(Model):
    """A body region or organ."""

    name: Text
    adjective: Text | None = Field(default=None, description="'thoracic' for thorax; used in wordings, never required")
    synonyms: tuple[Text, ...] = ()
    parts: tuple[Text, ...] = Field(default=(), description="anatomy ids or wordings of what lies inside the region")
    within: tuple[Text, ...] = Field(default=(), description="anatomy ids that contain this one")
    plural: bool = False


class LabelClass(Concept):
    """One class of a dataset: its code, and what it means."""

    code: Cell = Field(min_length=1, description="the label exactly as the table or the folder has it")
    concept: str | None = Field(default=None, description="the concept that gives whatever is not spelt out here")
    aliases: tuple[Cell, ...] = Field(
        default=(), description="other ways in which tables or people write this label (not wordings for captions)"
    )
    modality: Identifier | None = Field(default=None, description="where it differs from the schema's")
    anatomy: Identifier | None = Field(default=None, description="where it differs from the schema's")

    @property
    def wordings(self) -> tuple[str, ...]:
        """The name, synonyms and abbreviations: every literal wording that asserts the class."""
        return (self.name, *self.synonyms, *self.abbreviations)


class TableFile(Model):
    """One file of a label table; several may make up a dataset (training, testing)."""

    match: Text = Field(
        description="glob on the file's name, such as 'Data_Entry_2017*.csv*'; with a / in it, on the end of its path"
    )
    split: Identifier | None = None
    folder: Text | None = Field(
        default=None, description="the folder that the images of this file are in; needed where files share image names"
    )
    image: Text | None = Field(
        default=None, description="in place of the layout's, where files name images differently"
    )
    labels: Mapping[Cell, Cell] = Field(
        default={}, description="labels that mean another one in this file: a 'normal' that is only 'no glaucoma'"
    )


class Attribute(Model):
    """A column that says something of the image beside its labels (view, age, sex)."""

    column: Text
    aliases: tuple[Text, ...] = Field(default=(), description="the column's names in other releases of the table")
    name: Text | None = Field(default=None, description="how a prompt names it; the attribute's own name if left out")
    values: Mapping[Cell, str] = Field(default={}, description="what the column's values mean; others stay as they are")
    details: tuple[Text, ...] = Field(
        default=(), description="kinds of detail that a caption may state because of it, such as 'age' or 'laterality'"
    )


class Join(Model):
    """Another file beside a table, that says more of its rows: the images of a study, the split of an image.

    Instead of a file it may be the images themselves, where a row stands for several whose names hold its key.
    """

    match: Text | None = Field(
        default=None, description="glob on the file's name, such as 'mimic-cxr-2.0.0-metadata.csv*'"
    )
    images: Text | None = Field(
        default=None,
        description="in place of a file: regular expression on the paths of images below the folder, whose named groups "
        "are columns; column 'image' is the path",
    )
    by: tuple[Text, ...] = Field(
        min_length=1, description="columns that both have; a row that finds several there becomes several rows"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.match is None) == (self.images is None):
            raise ValueError("a join has either 'match' or 'images'")
        for name in self.by if self.images else ():
            check_pattern("images", self.images, group=name)
        return self


class Merge(Model):
    """How the rows of one image become one: a row may be a box, a finding, or what one reader says."""

    reader: Text | None = Field(
        default=None, description="the column that says who read the image; where a file has none, one reader did"
    )
    agree: Literal["majority", "any", "all"] = Field(
        default="majority",
        description="how many readers must name a class; one that fewer name is left open, and so never said",
    )
    copies: Text | None = Field(
        default=None,
        description="regular expression on an image's reference, for an image that is there once for each of its labels: "
        "references in which it finds the same are copies of one image, of which the first is used",
    )


class _Table(Model):
    """What every layout has."""

    files: tuple[TableFile, ...] = Field(default=(), description="the files of this table, in reading order")
    header: tuple[Text, ...] | None = Field(
        default=None, description="column names, for a file that has no header of its own"
    )
    delimiter: str | None = Field(default=None, description="by the file's ending if left out")
    encoding: str = "utf-8-sig"
    sheet: str | int = Field(default=0, description="for workbooks")
    skip_rows: int = Field(default=0, ge=0, description="lines of the file above its header")
    renamed: Mapping[Text, tuple[Text, ...]] = Field(
        default={}, description="column → its names in other files or releases; a column without a name is 'Unnamed: 0'"
    )
    image: Text | None = Field(
        default=None, description="how a row names its image: a column, or a pattern such as '{id_code}.png'"
    )
    image_pattern: Text | None = Field(
        default=None,
        description="regular expression; what it finds in the image's reference is the reference, or what its groups find, "
        "joined",
    )
    split: Text | None = Field(default=None, description="the column that holds the split")
    group: Text | None = Field(default=None, description="the column that holds the patient or study")
    group_pattern: Text | None = Field(
        default=None, description="regular expression; what it finds in the group's column is the group"
    )
    where: Mapping[Text, tuple[Cell, ...]] = Field(
        default={}, description="column → its values in rows that are used; other rows are rejects, with that reason"
    )
    join: tuple[Join, ...] = Field(default=(), description="files that say more of the rows, joined in this order")
    merge: Merge | None = Field(default=None, description="for tables that have several rows for one image")

    @property
    def columns_needed(self) -> tuple[str, ...]:
        """Columns that hold labels: a file without them is not this table."""
        return ()


class NamesTable(_Table):
    """A column holds label names joined by a separator."""

    layout: Literal["names"]
    column: Text
    separator: str | None = Field(default=None, description="none: the cell is one label")

    @property
    def columns_needed(self) -> tuple[str, ...]:
        return (self.column,)


class LiteralsTable(_Table):
    """A column holds a list as Python or JSON writes it: ``['a', 'b']``."""

    layout: Literal["literals"]
    column: Text

    @property
    def columns_needed(self) -> tuple[str, ...]:
        return (self.column,)


class OneHotTable(_Table):
    """A column for each class holds 1, 0, and sometimes -1 or nothing."""

    layout: Literal["one_hot"]
    columns: Mapping[Text, Cell] = Field(default={}, description="column → class code; if left out, columns are codes")
    ignore: tuple[Text, ...] = Field(default=(), description="columns of 0 and 1 that are no class")
    positive: tuple[Cell, ...] = ("1", "1.0", "True", "true", "YES", "yes")
    negative: tuple[Cell, ...] = ("0", "0.0", "False", "false", "NO", "no")
    uncertain: tuple[Cell, ...] = ("-1", "-1.0")
    blank: Literal["unknown", "negative", "positive"] = "unknown"
    all_negative: Cell | None = Field(
        default=None, description="the class code of a row in which every column is negative (a normal), if it has one"
    )

    @property
    def columns_needed(self) -> tuple[str, ...]:
        return tuple(self.columns)


class CodesTable(_Table):
    """One or more columns each hold a code, and the code's meaning depends on the column."""

    layout: Literal["codes"]
    codes: Mapping[Text, Mapping[Cell, Cell]] = Field(
        description="column → value → class code, or '' where it says nothing"
    )

    @property
    def columns_needed(self) -> tuple[str, ...]:
        return tuple(self.codes)


class MarksTable(_Table):
    """A column holds marks (a mask, shapes, boxes) where something is there, and nothing where it is not."""

    layout: Literal["marks"]
    column: Text
    unmarked: tuple[Cell, ...] = Field(default=("",), description="what the column holds where nothing is marked")
    present: Cell = Field(description="the class code of a row with a mark")
    absent: Cell = Field(description="the class code of a row without one")

    @property
    def columns_needed(self) -> tuple[str, ...]:
        return (self.column,)


class FoldersTable(_Table):
    """No file at all: the folder of an image, below the root, is its label; or a part of its path is."""

    layout: Literal["folders"]
    pattern: Text | None = Field(
        default=None,
        description="regular expression on an image's path below the root: its group 'label' is the label, its group "
        "'split' (if it has one) the split; if left out, the folder is the label",
    )
    exclude: tuple[Text, ...] = Field(
        default=(), description="globs of file names, or of paths, that are no images of the dataset"
    )


class ViewsTable(_Table):
    """One row for several images, each with a label column of its own (left and right eye)."""

    layout: Literal["views"]
    views: Mapping[Text, Text] = Field(description="image column → label column")
    separator: str | None = None
    differential: bool = Field(
        default=False,
        description="a label column holds {'a': 0.6, 'b': 0.4}, diagnoses and their weights: one alone is the label, "
        "several are left open",
    )

    @property
    def columns_needed(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.views.values()))


Table = Annotated[
    NamesTable | LiteralsTable | OneHotTable | CodesTable | MarksTable | FoldersTable | ViewsTable,
    Field(discriminator="layout"),
]


class LabelRules(Model):
    """What becomes of label strings that are no class by themselves."""

    map: Mapping[Cell, tuple[Cell, ...]] = Field(default={}, description="one string that means several classes")
    drop: Mapping[Cell, Text] = Field(default={}, description="string → why it says nothing that a caption may use")
    uncertain: Mapping[Cell, Cell] = Field(default={}, description="'suspected glaucoma' → the class it leaves open")
    refuse: Mapping[Cell, Text] = Field(default={}, description="string → why no row that has it can be used")

    @property
    def strings(self) -> tuple[str, ...]:
        """Every string that a rule speaks of."""
        return (*self.map, *self.drop, *self.uncertain, *self.refuse)


_FOR_PEOPLE = {"description", "homepage", "terms", "cite", "sources", "images", "verified"}
"""Keys of a label schema that decide nothing: a better description makes no new run."""


class LabelSchema(Model):
    """One dataset: its tables, its classes, and what they mean."""

    id: Identifier
    title: Text
    description: Text | None = None
    homepage: Text | None = None
    terms: Text | None = Field(default=None, description="licence or terms of use")
    cite: Text | None = None
    sources: tuple[Text, ...] = Field(default=(), description="where the facts of this file come from")
    images: int | None = Field(default=None, ge=1, description="images of the published dataset")
    verified: Text | None = Field(
        default=None, description="what this file was read against: 'real table', 'made table' (made for the tests) …"
    )
    modality: Identifier | None = Field(default=None, description="unless every class has its own")
    anatomy: Identifier | None = Field(default=None, description="unless every class has its own")
    fields: tuple[Identifier, ...] = Field(
        default=(), description="concept fields whose diseases a caption of this dataset could wrongly name"
    )
    tables: tuple[Table, ...] = Field(min_length=1, description="known layouts; the one that fits a file is used")
    attributes: Mapping[Identifier, Attribute] = {}
    labels: LabelRules = LabelRules()
    uncertain: Literal["ignore", "reject"] = Field(
        default="ignore", description="an uncertain label is left unsaid, or its whole row is refused"
    )
    negatives: Literal["open_world", "closed_world"] = Field(
        default="open_world", description="closed world: a class that is not labelled is known to be absent"
    )
    levels: Mapping[str, Literal["error", "warning", "info", "off"]] = Field(
        default={}, description="level of an agreement code or of 'invented_detail.KIND', where it is not the default"
    )
    classes: tuple[LabelClass, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        labels = self._by_label  # raises on a label owned twice
        for table in self.tables:
            check_pattern("image_pattern", table.image_pattern)
            check_pattern("group_pattern", table.group_pattern)
            check_pattern("copies", table.merge.copies if table.merge else None)
            if isinstance(table, FoldersTable):
                check_pattern("pattern", table.pattern, group="label")
            targets: list[str] = []
            if isinstance(table, OneHotTable):
                targets = [*table.columns.values(), *([table.all_negative] if table.all_negative else [])]
            elif isinstance(table, CodesTable):
                targets = [code for values in table.codes.values() for code in values.values() if code]
            elif isinstance(table, MarksTable):
                targets = [table.present, table.absent]
            for target in targets:
                if target not in self._by_code:
                    raise ValueError(f"a table names class {target!r}, which is not in classes")
        for source, targets_of in (
            *((s, t) for s, t in self.labels.map.items()),
            *((s, (t,)) for s, t in self.labels.uncertain.items()),
        ):
            for target in targets_of:
                if target not in self._by_code:
                    raise ValueError(
                        f"labels: {source!r} stands for {target!r}, which is not a class{did_you_mean(target, self._by_code)}"
                    )
        for source in self.labels.strings:
            if fold_label(source) in labels:
                raise ValueError(f"labels: {source!r} is also a class or an alias of one")
        rules = {fold_label(s) for s in self.labels.strings}
        for table in self.tables:
            for file in table.files:
                for target in file.labels.values():
                    if fold_label(target) not in rules and self.find(target) is None:
                        raise ValueError(
                            f"file {file.match!r} names label {target!r}, which is no class and in no rule"
                        )
        for item in self.classes:
            for what in ("modality", "anatomy"):
                if getattr(item, what) is None and getattr(self, what) is None:
                    raise ValueError(f"class {item.code!r} has no {what}, and neither has the schema")
            if item.kind == "absence" and item.denies is None:
                raise ValueError(f"class {item.code!r} is an absence: 'denies' must say of what")
        return self

    @functools.cached_property
    def _by_code(self) -> dict[str, LabelClass]:
        return {c.code: c for c in self.classes}

    @functools.cached_property
    def _by_label(self) -> dict[str, LabelClass]:
        """Every way to write a label, folded → class. Codes win over names, names over aliases."""
        found: dict[str, LabelClass] = {}
        if len(self._by_code) != len(self.classes):
            twice = next(c.code for i, c in enumerate(self.classes) if c.code in {d.code for d in self.classes[:i]})
            raise ValueError(f"class code {twice!r} stands twice")
        for item in self.classes:
            for label in (item.code, *item.aliases):
                owner = found.setdefault(fold_label(label), item)
                if owner is not item:
                    raise ValueError(f"label {label!r} is claimed by {owner.code!r} and by {item.code!r}")
        names: dict[str, list[LabelClass]] = {}
        for item in self.classes:
            for word in item.wordings:
                owners = names.setdefault(fold_label(word), [])
                if item not in owners:
                    owners.append(item)
        for label, owners in names.items():
            if len(owners) == 1:
                found.setdefault(label, owners[0])
        return found

    def __getitem__(self, code: str) -> LabelClass:
        """Return the class of a code.

        Raises:
            KeyError: no class has this code.
        """
        return self._by_code[code]

    def __contains__(self, code: str) -> bool:
        """Say whether a class has this code."""
        return code in self._by_code

    @property
    def codes(self) -> tuple[str, ...]:
        """All class codes in the schema's order."""
        return tuple(self._by_code)

    def find(self, label: str) -> LabelClass | None:
        """Return the class that a label names by code, alias or (if only one class has it) wording, in any case."""
        return self._by_label.get(fold_label(label))

    def resolve(self, label: str) -> LabelClass:
        """Return the class that a label names, in any case.

        Raises:
            SchemaError: no class has this label; suggests the nearest.
        """
        item = self.find(label)
        if item is None:
            known = [w for c in self.classes for w in (c.code, *c.aliases, c.name)]
            raise SchemaError(
                f"label {label!r} is not in schema {self.id!r}.{did_you_mean(label, known)} "
                f"See: captioner schema show {self.id}"
            )
        return item

    def with_levels(self, levels: Mapping[str, str]) -> "LabelSchema":
        """Return the same schema with other levels where it sets none of its own."""
        return LabelSchema.model_validate(self.model_dump() | {"levels": {**levels, **self.levels}})

    def modality_of(self, item: LabelClass) -> str:
        """Return the modality id of a class."""
        return item.modality or self.modality or ""

    def anatomy_of(self, item: LabelClass) -> str:
        """Return the anatomy id of a class."""
        return item.anatomy or self.anatomy or ""

    @functools.cached_property
    def hash(self) -> str:
        """Sixteen hex digits over everything in the schema but what it tells people, concepts merged in."""
        return hash_of(self.model_dump(mode="json", exclude_defaults=True, exclude=_FOR_PEOPLE))


class Library:
    """The concepts, modalities and anatomies that schemas refer to.

    Args:
        concepts: ``field.id`` → concept.
        modalities: id → modality.
        anatomies: id → anatomy.
        ordinary: words that a caption may have beside its findings, in one text.
    """

    def __init__(
        self,
        concepts: Mapping[str, Concept],
        modalities: Mapping[str, Modality],
        anatomies: Mapping[str, Anatomy],
        ordinary: str = "",
    ) -> None:
        self.concepts = dict(concepts)
        self.modalities = dict(modalities)
        self.anatomies = dict(anatomies)
        self.ordinary = ordinary

    def field(self, name: str) -> Iterator[tuple[str, Concept]]:
        """Yield the concepts of one field with their full ids."""
        prefix = f"{name}."
        return ((k, c) for k, c in self.concepts.items() if k.startswith(prefix))

    @functools.cached_property
    def hash(self) -> str:
        """Sixteen hex digits over all of it."""
        parts = (self.concepts, self.modalities, self.anatomies)
        tables = [{k: v.model_dump(mode="json", exclude_defaults=True) for k, v in p.items()} for p in parts]
        return hash_of([*tables, self.ordinary])


def check_pattern(name: str, pattern: str | None, *, group: str | None = None) -> None:
    """Refuse what is no regular expression, or lacks a group that is needed.

    Raises:
        ValueError: says which key it is of.
    """
    if pattern is not None:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as e:
            raise ValueError(f"{name} {pattern!r} is not a regular expression: {e}") from None
        if group is not None and group not in groups:
            raise ValueError(f"{name} {pattern!r} has no group (?P<{group}>…)")


def fold_label(label: str) -> str:
    """Return a label in the form in which labels are compared: case and runs of spaces do not count."""
    return " ".join(label.casefold().split())


canonical_json = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
"""The JSON of a value, always the same for equal values."""


def hash_of(value: object) -> str:
    """Return sixteen hex digits of the SHA-256 of a value's canonical JSON."""
    return hash_of_text(canonical_json(value))


def hash_of_text(text: str) -> str:
    """Return sixteen hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_yaml(path: Path, error: type[Exception] = SchemaError) -> Any:
    """Return the content of a YAML file, safe-loaded; a key that stands twice is an error.

    Raises:
        error: the file is no YAML; says the line and column.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506, _Loader is a safe loader
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise error(f"{where}: not valid YAML: {e.problem or e.context}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise error(f"{path}: not valid YAML: {e}") from None


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe, as fast as the machine allows, and strict about what YAML would let pass."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def _strings(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    return str(loader.construct_scalar(node))  # type: ignore[arg-type]


# Labels such as no, yes, 2019-01-01 and 1e5 are text in every dataset; only true, false and plain numbers are not.
for _tag in ("timestamp", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _strings)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not (tag.endswith(":bool") and first in "yYnNoO")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


@functools.cache
def load_library() -> Library:
    """Return the concepts that ship, with those of the user's ``label_schemas/concepts`` on top.

    Raises:
        SchemaError: a file is not valid; says where.
    """
    concepts: dict[str, Concept] = {}
    modalities: dict[str, Modality] = {}
    anatomies: dict[str, Anatomy] = {}
    ordinary: list[str] = []
    for folder in reversed(resources.folders("label_schemas")):
        words = folder / "concepts" / "ordinary_words.txt"
        if words.is_file():
            lines = words.read_text(encoding="utf-8").splitlines()
            ordinary += [line for line in lines if not line.startswith("#")]
        for path in sorted((folder / "concepts").glob("*.yaml")):
            field = path.stem
            for key, value in (read_yaml(path) or {}).items():
                try:
                    if field == "modalities":
                        modalities[key] = Modality.model_validate(value)
                    elif field == "anatomies":
                        anatomies[key] = Anatomy.model_validate(value)
                    else:
                        concepts[f"{field}.{key}"] = _qualify(Concept.model_validate(value), field)
                except ValidationError as e:
                    raise SchemaError(f"{path}: {key}: {explain(e)}") from None
    return Library(concepts, modalities, anatomies, "\n".join(ordinary))


def _qualify(concept: Concept, field: str) -> Concept:
    """Write relations to concepts of the same file in full: ``glaucoma`` → ``retina.glaucoma``."""

    def full(target: str) -> str:
        return target if "." in target or " " in target or not target.islower() else f"{field}.{target}"

    changes: dict[str, Any] = {r: tuple(map(full, getattr(concept, r))) for r in ("parents", "supports")}
    if concept.denies:
        changes["denies"] = full(concept.denies)
    return concept.model_copy(update={k: v for k, v in changes.items() if v})


def load_schema(name: str) -> LabelSchema:
    """Return a label schema by its id (one that ships or the user's) or by the path of its YAML file.

    Raises:
        UsageError: there is none of this name.
        SchemaError: it is not valid; says the file, the place in it and what is wrong.
    """
    path = resources.find("label_schemas", name)
    return parse_schema(read_yaml(path), where=str(path))


def parse_schema(data: Any, *, where: str = "schema") -> LabelSchema:
    """Return the schema that a parsed YAML document describes, with each class's concept merged in.

    Raises:
        SchemaError: it is not valid; says the place and what is wrong.
    """
    if not isinstance(data, Mapping):
        raise SchemaError(f"{where}: a schema is a mapping with 'id', 'title', 'tables' and 'classes'")
    library = load_library()
    data = dict(data)
    data["classes"] = [_merge(c, library, where) for c in data.get("classes") or ()]
    try:
        schema = LabelSchema.model_validate(data)
    except ValidationError as e:
        raise SchemaError(f"{where}: {explain(e)}") from None
    for item in schema.classes:
        for what, known in (("modality", library.modalities), ("anatomy", library.anatomies)):
            value = getattr(schema, f"{what}_of")(item)
            if value not in known:
                raise SchemaError(
                    f"{where}: class {item.code!r}: {what} {value!r} is not in concepts/"
                    f"{'modalities' if what == 'modality' else 'anatomies'}.yaml.{did_you_mean(value, known)}"
                )
        for relation in ("parents", "supports"):
            for target in getattr(item, relation):
                _check_target(target, schema, library, f"{where}: class {item.code!r}: {relation}")
        if item.denies:
            _check_target(item.denies, schema, library, f"{where}: class {item.code!r}: denies")
    return schema


def _check_target(target: str, schema: LabelSchema, library: Library, where: str) -> None:
    if target not in schema and target not in library.concepts:
        raise SchemaError(
            f"{where}: {target!r} is neither a class code nor a concept.{did_you_mean(target, [*schema.codes, *library.concepts])}"
        )


def _merge(entry: Any, library: Library, where: str) -> Any:
    """Fill a class entry from its concept; lists that a class gives are added to the concept's, not put in their place."""
    if not isinstance(entry, Mapping) or "concept" not in entry:
        return entry
    concept_id = str(entry["concept"])
    concept = library.concepts.get(concept_id)
    if concept is None:
        raise SchemaError(
            f"{where}: class {entry.get('code')!r}: no concept {concept_id!r}.{did_you_mean(concept_id, library.concepts)}"
        )
    merged = concept.model_dump(exclude_defaults=True) | dict(entry)
    for key, inherited in concept.model_dump(exclude_defaults=True).items():
        if isinstance(inherited, tuple) and key in entry:
            merged[key] = tuple(dict.fromkeys([*inherited, *(entry[key] or ())]))
    if "name" in entry and entry["name"] != concept.name:
        merged["synonyms"] = tuple(dict.fromkeys([concept.name, *merged.get("synonyms", ())]))
    return merged


_PLAIN = {
    "extra_forbidden": "unknown key",
    "dict_type": "takes keys and values, not a single value",
    "model_type": "takes keys and values, not a single value",
    "model_attributes_type": "takes keys and values, not a single value",
    "tuple_type": "takes a list, such as [a, b]",
    "list_type": "takes a list, such as [a, b]",
    "missing": "is missing",
}
"""What pydantic's types of error mean to somebody who writes YAML."""


def explain(error: ValidationError) -> str:
    """Return a pydantic error in one line: the place and what is wrong with it, for the first few errors."""
    parts = []
    for e in error.errors(include_url=False)[:3]:
        place = ".".join(str(p) for p in e["loc"])
        message = e["msg"].removeprefix("Value error, ")
        message = _PLAIN.get(e["type"], message)
        parts.append(f"{place}: {message}" if place else message)
    more = error.error_count() - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a label schema file, for editors."""
    schema = LabelSchema.model_json_schema()
    # A class with a concept takes its name from there.
    label_class = schema["$defs"]["LabelClass"]
    label_class["required"] = ["code"]
    label_class["anyOf"] = [{"required": ["name"]}, {"required": ["concept"]}]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema
