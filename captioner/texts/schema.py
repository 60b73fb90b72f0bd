"""What a dataset's own texts are, and in which files: one YAML a dataset in ``text_schemas/``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from captioner import resources
from captioner.errors import SchemaError, did_you_mean
from captioner.schema import Cell, Identifier, Join, Model, Text, check_pattern, explain, hash_of, read_yaml
from captioner.texts.wording import Template

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class TextFile(Model):
    """One file (or, by a glob, several) of a table; several may make up a dataset (training, testing)."""

    match: Text = Field(
        description="name of the file, a path below the folder, or a glob such as 'ecgen-radiology/*.xml'"
    )
    split: Name | None = None
    records: Text | None = Field(
        default=None,
        description="JSON: dotted path of the list (or object) that holds the records; the whole if left out",
    )


class TextTable(Model):
    """One way in which the texts may lie on disk; the first whose files are all there is read."""

    files: tuple[TextFile, ...] = Field(min_length=1)
    header: tuple[Text, ...] | None = Field(default=None, description="column names, for a table that has none")
    delimiter: str | None = None
    keyed: bool = Field(
        default=False, description="JSON: records are objects under a key, which becomes their column 'key'"
    )
    fields: Mapping[Text, Text] = Field(
        default={},
        description="XML: column → where it is, as ElementTree's paths say it; '/@name' at the end for an attribute",
    )
    join: tuple[Join, ...] = ()
    read: Mapping[Text, Text] = Field(
        default={}, description="column → template of the name of a text file whose content it is: 's{study_id}.txt'"
    )
    where: Mapping[Text, tuple[Cell, ...]] = Field(
        default={},
        description="column → its values in records that are used; the others are left out, with that reason",
    )
    image: Text = Field(
        description="template of the image's path or name: '{ID}.jpg'; a list of images is '{images.*}'"
    )
    image_pattern: Text | None = Field(
        default=None, description="regular expression; what it finds in the image's reference is the reference"
    )
    split: Text | None = Field(default=None, description="the column that holds the split")
    texts: Mapping[Name, Text] = Field(
        min_length=1, description="kind of text → template: 'report: {findings?} {impression?}'; see docs/texts.md"
    )

    @field_validator("image_pattern", mode="after")
    @classmethod
    def _pattern_compiles(cls, value: str | None) -> str | None:
        check_pattern("image_pattern", value)
        return value

    @field_validator("image", "texts", "read", mode="after")
    @classmethod
    def _templates_parse(cls, value: Any) -> Any:
        for template in value.values() if isinstance(value, Mapping) else [value]:
            Template(template)
        return value


class TextSchema(Model):
    """A file of ``text_schemas/``: a dataset whose images have texts of their own."""

    id: Identifier
    title: Text
    modality: Text = Field(description="for people")
    anatomy: Text = Field(description="for people")
    dataset: Identifier | None = Field(
        default=None,
        description="the label schema that has the same images, where there is one: both write beside the same image shards",
    )
    images: int | None = Field(default=None, ge=1, description="images of the published dataset")
    terms: Text | None = Field(default=None, description="licence or terms of use")
    verified: Text = Field(default="made table", description="what this file was read against")
    sources: tuple[Text, ...] = Field(min_length=1, description="where the facts are from")
    notes: tuple[Text, ...] = Field(default=(), description="what a person should know before training on these texts")
    use: tuple[Name, ...] = Field(
        min_length=1, description="the kinds of text that become captions unless --set use=… says others"
    )
    tables: tuple[TextTable, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _kinds_exist(self) -> Self:
        for name in self.use:
            if name not in self.kinds:
                raise ValueError(f"use: {name!r} is no kind of text of this dataset.{did_you_mean(name, self.kinds)}")
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of text, in the order of the file."""
        return tuple(dict.fromkeys(kind for table in self.tables for kind in table.texts))

    @property
    def prefix(self) -> str:
        """What samples' keys begin with, and whose output folder it is."""
        return self.dataset or self.id

    @property
    def hash(self) -> str:
        """Sixteen hex digits over what decides which texts belong to which image."""
        tables = [table.model_dump(mode="json", exclude_defaults=True) for table in self.tables]
        return hash_of([self.prefix, tables])


def load_text_schema(name: str) -> TextSchema:
    """Return a text schema by its id or the path of its file.

    Raises:
        UsageError: there is none of that name.
        SchemaError: the file is not valid; says where and what is.
    """
    path: Path = resources.find("text_schemas", name)
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise SchemaError(f"{path}: a text schema is a mapping that has at least id, title, sources and tables")
    try:
        schema = TextSchema.model_validate(data)
    except ValidationError as e:
        raise SchemaError(f"{path}: {explain(e)}") from None
    return schema
