"""What a pipeline file says: which schema, prompt, engine and settings make a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import (
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)

from captioner import engines, resources
from captioner.errors import PipelineError, did_you_mean
from captioner.schema import Model, explain, read_yaml
from captioner.shards import Conversion
from captioner.storage import Place, Remote, local, place


def _place(value: Any) -> Place:
    if not isinstance(value, str | Path | Remote):
        raise ValueError("not a path or a URL")  # noqa: TRY004 - pydantic reports these
    return place(value)


def _local(value: Any) -> Any:
    return local(value) if isinstance(value, str) else value


def _images(value: Any) -> Place | Literal["auto", "none"]:
    return value if value in ("auto", "none") else _place(value)


_Place = Annotated[Place, PlainValidator(_place), PlainSerializer(str, return_type=str)]
_Images = Annotated[Place | Literal["auto", "none"], PlainValidator(_images), PlainSerializer(str, return_type=str)]


class DataSettings(Model):
    """Where the dataset is."""

    root: _Place | None = Field(
        default=None, description="the dataset's folder, a path or s3://BUCKET/FOLDER; data/SCHEMA if left out"
    )
    table: _Place | None = Field(default=None, description="the label table, where it is not found below root")
    images: _Images = Field(
        default="auto",
        description="the images' folder; auto: below root, and captions alone if not one is there; none: captions alone",
    )
    missing: Literal["report", "ignore"] = Field(
        default="report", description="report: rows without a usable image make the exit code 1; ignore: they do not"
    )


class TripletSettings(Model):
    """What label information is told apart."""

    per: Literal["triplet", "image"] = Field(
        default="triplet", description="image: by every attribute of the schema too, unless attributes says which"
    )
    attributes: tuple[str, ...] = Field(default=(), description="attributes that prompts may use")
    negatives: bool = Field(default=False, description="also tell the LLM what the table denies")
    all: bool = Field(default=False, description="also ask for label combinations that no present image has")


_Temperature = Annotated[float, Field(ge=0, le=2)]


class SamplingSettings(Model):
    """How answers are drawn."""

    temperature: _Temperature | Annotated[tuple[_Temperature, ...], Field(min_length=1)] | None = Field(
        default=None, description="a list is a schedule: for the first round, the second …; the last for all others"
    )
    n: int = Field(
        default=1, ge=1, le=100, description="answers drawn for a question, each with a part of the captions"
    )
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=2048, gt=0)

    @property
    def schedule(self) -> tuple[float, ...]:
        """The temperatures of the rounds, where they differ."""
        return self.temperature if isinstance(self.temperature, tuple) else ()

    @property
    def first_temperature(self) -> float | None:
        """That of the first round."""
        return self.temperature[0] if isinstance(self.temperature, tuple) else self.temperature


class LoopLimits(Model):
    """How far to go for a support set."""

    repairs: int = Field(default=2, ge=0, le=20)
    regenerations: int = Field(default=1, ge=0, le=20)
    fill: Literal["rules", "none"] = Field(default="rules", description="who completes what the LLM cannot")
    near_duplicate: float = Field(default=0.9, gt=0, le=1)
    unknown_words: Literal["refuse", "accept"] = Field(
        default="refuse",
        description="captions with a word that the check does not know (a drug, a germ, a device …); a judge decides them instead, "
        "where there is one",
    )


class PriceSettings(Model):
    """What a million tokens cost, in any currency. Where nothing is said, the table of prices is asked."""

    input: float | None = Field(default=None, ge=0)
    cached_input: float | None = Field(default=None, ge=0, description="as input if left out")
    output: float | None = Field(default=None, ge=0)


class JudgeSettings(Model):
    """A language model's second opinion on captions that the rules pass."""

    engine: Mapping[str, Any] = Field(description="name (openai, batch, vllm) and its settings, as for engine")
    of: Literal["warnings", "all"] | tuple[str, ...] = Field(
        default="warnings",
        description="which accepted captions it is shown: those with a warning, all, or those with warnings of these codes "
        "or details",
    )
    price: PriceSettings = Field(default=PriceSettings(), description="of the judge's model")


class ShardSettings(Model):
    """How shards are cut, and what may be changed in images on the way into them."""

    size: int = Field(default=1000, ge=1, le=100_000, description="samples in a shard")
    types: bool = Field(default=False, description="convert TIFF, DICOM, WebP and others to PNG")
    window: tuple[float, float] | Literal["file", "range"] | None = Field(
        default=None, description="how pixels of more than 8 bits become 8: LOW,HIGH, file or range"
    )
    max_side: int | None = Field(default=None, ge=1, description="scale larger images down to this many pixels")
    orient: bool = Field(default=False, description="turn images as their EXIF orientation says")
    type: Literal["jpg", "png"] | None = Field(default=None, description="store every image as this type")

    @field_validator("window", mode="before")
    @classmethod
    def _two_numbers(cls, value: Any) -> Any:
        if value is None or value in ("file", "range"):
            return value
        try:
            low, high = map(float, value.split(",") if isinstance(value, str) else value)
        except (TypeError, ValueError):
            raise ValueError(f"{value}: give two numbers, such as 0,80, or file or range") from None
        return low, high

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        assert self.conversion
        return self

    @property
    def conversion(self) -> Conversion:
        """What may be changed in images."""
        return Conversion(
            types=self.types, window=self.window, max_side=self.max_side, orient=self.orient, type=self.type
        )


class LimitSettings(Model):
    """When to stop asking."""

    requests: int | None = Field(default=None, ge=0, description="requests in one session")
    cost: float | None = Field(default=None, ge=0, description="cost of the whole run, in the unit of the prices")


class PipelineSpec(Model):
    """A pipeline file."""

    label_schema: str = Field(alias="schema", description="a schema's id, or the path of its file")
    prompt: str = Field(default="template", description="a prompt's name, or the path of its file")
    captions: int = Field(default=10, ge=1, le=100, description="captions in a support set")
    seed: int = 0
    engine: Mapping[str, Any] = Field(
        default={},
        description="name (rules, openai, batch, vllm) and its settings; a model alone means openai; nothing means rules",
    )
    sampling: SamplingSettings = SamplingSettings()
    data: DataSettings = DataSettings()
    triplets: TripletSettings = TripletSettings()
    loop: LoopLimits = LoopLimits()
    judge: JudgeSettings | None = None
    limits: LimitSettings = LimitSettings()
    price: PriceSettings = PriceSettings()
    shards: ShardSettings = ShardSettings()
    out: Annotated[Path, BeforeValidator(_local)] | None = Field(
        default=None, description="output folder; out/SCHEMA if left out"
    )
    name: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="the run's folder, instead of its hash"
    )

    @model_validator(mode="after")
    def _engine_has_a_name(self) -> Self:
        if "name" in self.engine and self.engine["name"] not in engines.NAMES:
            name = str(self.engine["name"])
            raise ValueError(
                f"engine.name {name!r} is not one of {', '.join(engines.NAMES)}.{did_you_mean(name, engines.NAMES)}"
            )
        return self


def load_pipeline(name: str | Mapping[str, Any], overrides: Sequence[str] = ()) -> PipelineSpec:
    """Return a pipeline by its name, the path of its file, or its content, with ``a.b=value`` overrides applied.

    Raises:
        PipelineError: it is not valid; says where and what is.
    """
    if isinstance(name, str):
        path = resources.find("pipelines", name)
        data, where = read_yaml(path, PipelineError), str(path)
        if not isinstance(data, dict):
            raise PipelineError(f"{where}: a pipeline is a mapping that has at least 'schema'")
    else:
        data, where = dict(name), "pipeline"
    return settings_of(PipelineSpec, data, overrides, where=where)


Settings = TypeVar("Settings", bound=Model)


def settings_of(model: type[Settings], data: dict[str, Any], overrides: Sequence[str], *, where: str) -> Settings:
    """Return settings with ``a.b=value`` overrides applied to them.

    Args:
        model: what settings there are.
        data: the settings; changed in place.
        overrides: what ``--set`` says.
        where: the file that they are from, for error messages.

    Raises:
        PipelineError: they are not valid; says where and what is.
    """
    for override in overrides:
        _override(data, override)
    try:
        return model.model_validate(data)
    except ValidationError as e:
        known = setting_names(model)
        unknown = [".".join(map(str, i["loc"])) for i in e.errors() if i["type"] == "extra_forbidden"]
        hint = did_you_mean(unknown[0], known) if unknown else ""
        wrong = explain(e)
        wrong += "" if wrong.endswith("?") else "."
        raise PipelineError(f"{where}{' with --set' if overrides else ''}: {wrong}{hint}") from None


def _override(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise PipelineError(f"--set {override!r}: write it as --set section.key=value")
    *sections, last = path.strip().split(".")
    for section in sections:
        inner = data.get(section)
        data[section] = dict(inner) if isinstance(inner, Mapping) else {}
        data = data[section]
    try:
        data[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        data[last] = text


def setting_names(model: type[Model], prefix: str = "") -> list[str]:
    """Return the dotted names of all settings."""
    names = []
    for name, info in model.model_fields.items():
        names.append(prefix + (info.alias or name))
        for kind in (info.annotation, *get_args(info.annotation)):  # a section may be left out altogether
            if isinstance(kind, type) and issubclass(kind, Model):
                names += setting_names(kind, f"{prefix}{name}.")
    return names
