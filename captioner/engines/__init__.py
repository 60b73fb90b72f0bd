"""Whatever turns prompts into text, behind one small protocol.

An engine takes requests and gives answers, in any order; it never raises for a single request, but says in the answer
what went wrong. It knows nothing of labels: only the built-in writer looks at a request's ``triplet``.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from pydantic import BaseModel, ValidationError

from captioner.errors import PipelineError, did_you_mean
from captioner.schema import LabelSchema, explain
from captioner.triplets import Triplet

NAMES = ("openai", "batch", "vllm", "rules")
"""The engines that there are."""


SEPARATOR = "\x1e"
"""Stands between several answers to one question, as in JSON text sequences (RFC 7464); JSON itself cannot hold it."""


class Message(NamedTuple):
    """One message of a chat."""

    role: str
    content: str


class Sampling(NamedTuple):
    """How an answer is drawn. ``None`` leaves a value to the server.

    Attributes:
        temperature, top_p, max_tokens, seed: as OpenAI's API has them; ``max_tokens`` bounds each of several answers.
        n: how many answers are drawn for one question.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    n: int = 1


@dataclass(frozen=True, slots=True)
class Request:
    """One question.

    Attributes:
        key: identifies the question: hash over messages, model, sampling and answer schema.
        messages: what is sent.
        triplet: what the question is about.
        count: how many captions are asked for, in each of several answers.
        sampling: how the answer is drawn.
        answer_schema: JSON Schema that the answer must follow; a server that cannot enforce it is asked in words only.
    """

    key: str
    messages: tuple[Message, ...]
    triplet: Triplet
    count: int
    sampling: Sampling = field(default_factory=Sampling)
    answer_schema: dict[str, Any] | None = None


class Answer(NamedTuple):
    """What came back for one request.

    Attributes:
        key: the request's key.
        text: the raw answer, None when there is none; where ``n`` were drawn, those that are whole, with
            :data:`SEPARATOR` between them.
        finish_reason: ``"stop"``, ``"length"``, ``"content_filter"`` … as the server says it.
        error: what went wrong when there is no text, in one line, without secrets.
        prompt_tokens, completion_tokens: as the server counts them; 0 when it does not.
        cached_tokens: of the prompt's, those that the server had read before.
        refused: there is no text because the question is refused as it is, such as one that is too long: asked once more, it
            would be again.
        seconds: wall time of the request, retries included.
        attempts: how often it was sent.
        model: the model that answered, as the server names it.
    """

    key: str
    text: str | None
    finish_reason: str | None = None
    error: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    attempts: int = 1
    model: str | None = None
    cached_tokens: int = 0
    refused: bool = False


class Engine(Protocol):
    """What an engine is: a name, a model, and a way to answer many requests."""

    name: str
    model: str

    async def check(self) -> None:
        """Make sure that the engine can be used, before the first request.

        Raises:
            EngineError: it cannot: unreachable, wrong key, unknown model. Says what to do.
        """

    def answers(self, requests: Iterable[Request]) -> AsyncIterator[Answer]:
        """Yield one answer for each request as it comes, in any order; requests are taken as capacity allows.

        Raises:
            EngineError: no request can succeed any more (the key was revoked, the server is gone for good).
        """

    async def close(self) -> None:
        """Give back connections and memory."""


@runtime_checkable
class KeepsFiles(Protocol):
    """An engine that keeps files with a run: what it has handed in, and what came back."""

    def keep_in(self, folder: Path) -> None:
        """Keep them in a folder, which may not be there yet; called before the first request."""


@runtime_checkable
class Tells(Protocol):
    """An engine that asks many things at once, and tells of each answer the moment it comes, before it asks anything else.

    What is yielded waits until somebody reads it, and others are asked meanwhile: too late for whoever has to keep every
    answer before the next question leaves.
    """

    def tell(self, came: Callable[[Answer], None]) -> None:
        """Call ``came`` with each answer from now on; all are yielded as well."""


def make(settings: Mapping[str, Any], schema: LabelSchema) -> Engine:
    """Return the engine that a pipeline's ``engine`` section describes.

    Args:
        settings: ``name`` and what that engine takes; without a name, ``openai`` if there is a model, else ``rules``.
        schema: for the built-in writer alone.

    Raises:
        PipelineError: a setting is not valid.
    """
    given = dict(settings)
    name = given.pop("name", None) or ("openai" if given else "rules")
    if name == "rules":
        from captioner.engines.rules import RulesEngine

        if given:
            raise PipelineError(f"engine.{next(iter(given))}: the built-in writer (engine.name=rules) has no settings")
        return RulesEngine(schema)
    if name not in NAMES:
        raise PipelineError(f"engine.name {name!r} is not one of {', '.join(NAMES)}.{did_you_mean(str(name), NAMES)}")
    kind, settings_kind = _kind(name)
    try:
        return kind(settings_kind.model_validate(given))
    except ValidationError as e:
        known = settings_kind.model_fields
        unknown = next((str(i["loc"][0]) for i in e.errors() if i["type"] == "extra_forbidden"), None)
        hint = did_you_mean(unknown, known) or f" There are: {', '.join(known)}." if unknown else ""
        raise PipelineError(f"engine: {explain(e)}.{hint}") from None


def _kind(name: str) -> tuple[Callable[[Any], Engine], type[BaseModel]]:
    """Import an engine when it is asked for: their libraries are heavy."""
    if name == "vllm":
        from captioner.engines.vllm import VLLMEngine, VLLMSettings

        return VLLMEngine, VLLMSettings
    if name == "batch":
        from captioner.engines.batch import BatchEngine, BatchSettings

        return BatchEngine, BatchSettings
    from captioner.engines.openai import OpenAIEngine, OpenAISettings

    return OpenAIEngine, OpenAISettings
