"""A first draft of a label schema, from a label table that nobody has described: what a person then puts right."""

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from captioner.agreement.tokens import phrase
from captioner.errors import SchemaError, TableError, did_you_mean
from captioner.labels import parse_list
from captioner.references import without_extension
from captioner.schema import Library, fold_label, load_library
from captioner.sheets import Sheet

IMAGE_NAMES = (
    "image",
    "filename",
    "file",
    "path",
    "filepath",
    "image index",
    "image id",
    "image name",
    "img",
    "id",
    "key",
)
LABEL_NAMES = (
    "label",
    "labels",
    "finding labels",
    "class",
    "class name",
    "category",
    "categories",
    "diagnosis",
    "dx",
    "target",
)
MOST_CLASSES = 400
SEPARATORS = ("|", ";", ",")


def draft(
    table: Path,
    *,
    schema_id: str,
    modality: str,
    anatomy: str,
    column: str | None = None,
    library: Library | None = None,
) -> str:
    """Return the YAML of a schema for a table, or for a folder whose subfolders are the classes.

    The names of classes are looked up among the concepts; those that are found take their wordings from there, the others
    get the label itself as a name and a comment that asks for a look.

    Args:
        table: a label table or a folder of folders of images.
        schema_id: the schema's id.
        modality: id of the modality.
        anatomy: id of the anatomy.
        column: the column of labels; guessed if None.
        library: the concepts; those that are installed if None.

    Raises:
        TableError: the file cannot be read, or no column looks like labels.
        SchemaError: the modality or the anatomy is not known.
    """
    library = library or load_library()
    for what, value, known in (("modality", modality, library.modalities), ("anatomy", anatomy, library.anatomies)):
        if value not in known:
            raise SchemaError(
                f"no {what} {value!r}.{did_you_mean(value, known)} There are: {', '.join(sorted(known))}."
            )
    layout, labels = _folders(table) if table.is_dir() else _columns(Sheet(table), table.name, column)
    if len(labels) > MOST_CLASSES:
        raise TableError(f"{table}: {len(labels):,} different labels: this does not look like a column of classes")
    known_fields = {name.partition(".")[0] for name in library.concepts}
    near = (anatomy, modality, *library.anatomies[anatomy].within, "general")
    fields = [f for f in dict.fromkeys(near) if f in known_fields]
    head = {"id": schema_id, "title": schema_id, "modality": modality, "anatomy": anatomy, "fields": fields}
    lines = [
        f"# A draft from {table.name}. Look at every class:",
        "# - is its name what a specialist would write, with no abbreviation?",
        "# - does it show another body region, or is it made by other means? Then give it 'anatomy: …' or 'modality: …'.",
        "# - its kind is finding, unless it says grade, normal, absence (with 'denies: …'), organ, tissue or device.",
        "# fields: files of concepts/ whose diseases a caption could wrongly name.",
        "# Then: captioner schema lint THIS_FILE. What each key means: docs/schema-files.md.",
        *_yaml(head | {"tables": [layout]}),
        "classes:",
    ]
    names = _Names(fields, library)
    for label in labels:
        lines += _entry(label, names)
    return "\n".join(lines) + "\n"


def _yaml(value: object) -> list[str]:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110).rstrip("\n").split("\n")


class _Names:
    """The concepts by their wordings, in a form in which spelling, number and order of words do not count."""

    def __init__(self, fields: Sequence[str], library: Library) -> None:
        self._named: dict[frozenset[str], list[str]] = {}
        self._worded: dict[frozenset[str], list[str]] = {}
        self._own: dict[str, list[frozenset[str]]] = {}
        for name, concept in library.concepts.items():
            known = [_words(w) for w in (concept.name, *concept.synonyms, *concept.abbreviations) if " ... " not in w]
            self._named.setdefault(known[0], []).append(name)
            for words in dict.fromkeys(known):
                self._worded.setdefault(words, []).append(name)
            if name.partition(".")[0] in fields:
                self._own[name] = known
        self._vocabulary = sorted({word for all_words in self._own.values() for words in all_words for word in words})
        self._fields = fields

    def known(self, label: str) -> str | None:
        """Return the one concept of the dataset's own fields that has the label for its name, or among its wordings."""
        normal = f"{self._fields[0]}.normal"
        if label.casefold() in _NORMAL and normal in self._own:
            return normal
        for owners in (self._named, self._worded):
            own = [c for c in owners.get(_words(label), []) if c.partition(".")[0] in self._fields]
            if own:
                return own[0] if len(own) == 1 else None
        return None

    def near(self, label: str) -> list[str]:
        """Return up to four concepts that it could be: of the same words, of some of them, of words spelt alike."""
        words = set(_words(label))
        for word in words - set(self._vocabulary):
            if alike := difflib.get_close_matches(word, self._vocabulary, n=1, cutoff=0.8):
                words = words - {word} | {alike[0]}
        shared = {
            name: max(len(words & w) / len(words | w) for w in known) for name, known in self._own.items() if known
        }
        likely = sorted((-share, name) for name, share in shared.items() if share >= _ALIKE)
        return list(dict.fromkeys([*self._worded.get(frozenset(words), []), *(name for _, name in likely)]))[:4]


_NORMAL = ("normal", "healthy", "no finding", "no findings")
"""Labels that say of an image that nothing is abnormal, whatever it shows."""

_ALIKE = 0.3
"""Words shared, of all words of a label and a wording, from which on a concept is worth a look."""


def _words(text: str) -> frozenset[str]:
    return frozenset(word for part in _parts(text) for word in phrase(part))


def _parts(text: str) -> list[str]:
    return re.sub(r"[_\-/]+", " ", text.replace("'s", "")).split()


def _entry(label: str, names: _Names) -> list[str]:
    """Return the lines of a class; only a concept of the dataset's own fields is taken without asking."""
    code = yaml.safe_dump(label, allow_unicode=True, width=1000).split("\n")[0]
    if concept := names.known(label):
        return [f"  - code: {code}", f"    concept: {concept}"]
    near = names.near(label)
    remark = f"  # or, in its place: concept: {' | '.join(near)}" if near else "  # look: name, kind, synonyms"
    name = yaml.safe_dump(_readable(label), allow_unicode=True, width=1000).split("\n")[0]
    kind = ["    kind: normal"] if re.match(r"(?i)(normal|healthy|no[ _-]finding)(?![a-z])", label) else []
    return [f"  - code: {code}", f"    name: {name}{remark}", *kind]


def _readable(label: str) -> str:
    text = " ".join(re.sub(r"[_\-/]+", " ", label).split())
    return text if any(c.isupper() for c in text[1:]) else text.lower()


def _folders(root: Path) -> tuple[dict[str, object], list[str]]:
    labels = set()
    for folder, _, files in os.walk(root):
        if any(_names_image(f) for f in files) and Path(folder) != root:
            labels.add(Path(folder).relative_to(root).as_posix())
    if not labels:
        raise TableError(f"{root}: no folders of images below it")
    return {"layout": "folders"}, sorted(labels)


def _columns(sheet: Sheet, name: str, chosen: str | None) -> tuple[dict[str, object], list[str]]:
    positions = [i for i, column in enumerate(sheet.names) if column]
    read = sheet.read(positions)
    cells = {sheet.names[i]: read.cells[i] for i in positions}
    distinct = {column: [str(v.as_py()).strip() for v in array.unique()] for column, array in cells.items()}
    rows = len(read.rows)
    image = _image_column(distinct, rows)
    base: dict[str, object] = {"files": [{"match": name}], "image": image}
    binary = [
        column
        for column, values in distinct.items()
        if column != image and set(values) <= {"0", "1", "0.0", "1.0", "-1", "-1.0", ""} and len(set(values) - {""}) > 1
    ]
    if len(binary) >= 2 and chosen is None:
        return {"layout": "one_hot"} | base | {"columns": {c: c for c in binary}}, binary
    column = chosen or _label_column(distinct, image, rows)
    if column not in distinct:
        raise TableError(
            f"{sheet.path}: no column {column!r}.{did_you_mean(column, distinct)} There are: {', '.join(distinct)}."
        )
    values = [v for v in distinct[column] if v]
    if lists := [parse_list(v) for v in values if v.startswith("[")]:
        return {"layout": "literals"} | base | {"column": column}, _sorted(x for one in lists for x in one or ())
    for separator in SEPARATORS:
        parts = {p.strip() for v in values for p in v.split(separator) if p.strip()}
        # Commas and semicolons also stand inside labels, bars hardly ever.
        if any(separator in v for v in values) and (separator == "|" or len(parts) < len(values)):
            return {"layout": "names"} | base | {"column": column, "separator": separator}, _sorted(parts)
    return {"layout": "names"} | base | {"column": column}, _sorted(values)


def _image_column(distinct: dict[str, list[str]], rows: int) -> str:
    named = [c for c, values in distinct.items() if sum(map(_names_image, values[:100])) > len(values[:100]) / 2]
    likely = [c for c in distinct if c.casefold().replace("_", " ").replace("-", " ") in IMAGE_NAMES]
    unique = [c for c, values in distinct.items() if len(values) == rows]
    for found in (named, [c for c in likely if c in unique], likely, unique):
        if found:
            return found[0]
    raise TableError(f"no column looks like image names; there are: {', '.join(distinct)}")


def _label_column(distinct: dict[str, list[str]], image: str, rows: int) -> str:
    others = {c: v for c, v in distinct.items() if c != image}
    likely = [c for c in others if c.casefold().replace("_", " ").replace("-", " ") in LABEL_NAMES]
    few = sorted((len(v), c) for c, v in others.items() if 1 < len(v) <= max(2, min(MOST_CLASSES, rows // 2)))
    if likely:
        return likely[0]
    if few:
        return few[0][1]
    raise TableError(f"no column looks like labels; there are: {', '.join(distinct)}")


def _names_image(text: str) -> bool:
    return without_extension(text) != text


def _sorted(labels: Iterable[str]) -> list[str]:
    """Return the labels in order; of those that differ in nothing but case, one."""
    ordered = sorted({x.strip() for x in labels if x.strip()}, key=lambda x: (x.casefold(), x))
    return list({fold_label(x): x for x in reversed(ordered)}.values())[::-1]
