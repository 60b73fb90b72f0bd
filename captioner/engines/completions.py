"""Reading chat completions, in the forms that servers really give them."""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from pydantic_core import from_json

from captioner.engines import SEPARATOR
from captioner.engines.failures import Failure, from_response, scrub

_MOST_TOKENS = 10**9
_REASONS = {"stop", "length", "content_filter"}
_LONGEST_NAME, _SECRET = 1000, 8


class Completion(NamedTuple):
    """What the model said.

    Attributes:
        text: None when it said nothing; of several choices, those that are whole, joined.
        finish_reason: as the server says it.
        silence: why there is no text, None when there is.
        prompt_tokens, completion_tokens: 0 when the server does not count.
        cached_tokens: of the prompt's, those that the server had read before.
        model: as the server names it.
        choices: how many answers there were.
        thinks: the model thought before it answered, as far as that can be seen.
        logprobs: the probabilities of its tokens came with it.
    """

    text: str | None
    finish_reason: str | None
    silence: str | None
    prompt_tokens: int
    completion_tokens: int
    model: str | None
    choices: int = 1
    cached_tokens: int = 0
    thinks: bool = False
    logprobs: bool = False

    def charged_with(self, other: "Completion") -> "Completion":
        """Return it with the tokens of another one besides its own."""
        return self._replace(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
        )


def read_completion(content: bytes, headers: Mapping[str, str], secrets: Iterable[str] = ()) -> Completion:
    """Read the body of a response with status 200.

    Raises:
        Failure: it is no chat completion: cut off, HTML, another kind of JSON, or an error in a 200.
    """
    try:
        data = _parse(content)
    except ValueError:  # UnicodeDecodeError is one
        if content.lstrip()[:1] == b"<":
            page = from_response(200, {}, content, secrets).message.removeprefix("HTTP 200: ")
            raise Failure("garbled", f"the answer is {page}", status=200) from None
        raise Failure("garbled", "the answer is not JSON: cut off or damaged", status=200) from None
    choices = data.get("choices") if isinstance(data, dict) else None
    if not (isinstance(choices, list) and choices and all(isinstance(c, dict) for c in choices)):
        error = data.get("error") if isinstance(data, dict) else None
        if isinstance(error, dict):  # gateways that answer for others put their errors into a 200
            code = error.get("code")
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            raise from_response(status, headers, content, secrets)
        raise Failure("garbled", "the answer is JSON, but not a chat completion", status=200)
    text, reason, message = _said(choices[0])
    model = data.get("model")
    if len(choices) > 1:
        whole = [(t, r) for t, r, _ in map(_said, choices) if t and r not in {"length", "content_filter"}]
        if whole:
            text, reason = SEPARATOR.join(t for t, _ in whole), whole[0][1]
    usage = data.get("usage")
    prompt_tokens, completion_tokens, cached_tokens = _tokens(usage)
    return Completion(
        text=text,
        finish_reason=reason if reason in _REASONS else _name(reason, secrets),
        silence=None if text else _why_silent(message.get("refusal"), reason, secrets),
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        model=_name(model, secrets),
        choices=len(choices),
        cached_tokens=cached_tokens,
        thinks=_thinks(message, text, reason, usage),
        logprobs=bool(choices[0].get("logprobs")),
    )


def _parse(content: bytes) -> Any:
    """Read JSON, several times as fast as the standard library does where that is possible.

    Raises:
        ValueError: it is none.
    """
    try:
        return from_json(content)
    except ValueError:
        pass
    try:
        return json.loads(content)  # takes half of a surrogate pair, a byte order mark and UTF-16 too
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _name(said: Any, secrets: Iterable[str]) -> str | None:
    """Return what a server calls a thing, as it can be stored and shown: it may quote what it was sent."""
    return _hidden(said[:_LONGEST_NAME], tuple(secrets)) if isinstance(said, str) else None


@lru_cache(maxsize=256)
def _hidden(said: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        if len(secret) >= _SECRET:  # "test" or "ollama" is none, and may well be in a name
            said = said.replace(secret, "***")
    return said.encode("utf-8", "replace").decode()


def _said(choice: Mapping[str, Any]) -> tuple[str | None, str | None, dict[str, Any]]:
    """Return text, reason of the end, and message of a choice."""
    said = choice.get("message")
    message: dict[str, Any] = said if isinstance(said, dict) else {}
    reason = choice.get("finish_reason")
    return _text(message.get("content")), reason if isinstance(reason, str) else None, message


def _text(content: Any) -> str | None:
    if isinstance(content, list):  # some servers answer in parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) and content else None


def _tokens(usage: Any) -> tuple[int, int, int]:
    if not isinstance(usage, dict):
        return 0, 0, 0
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    known = _count(prompt)
    return known, _count(completion), min(_count(cached), known)


def _count(said: Any) -> int:
    return said if isinstance(said, int) and 0 < said < _MOST_TOKENS else 0


def _thinks(message: Mapping[str, Any], text: str | None, reason: str | None, usage: Any) -> bool:
    """Say whether a model thought before it answered: OpenAI counts it, vLLM and DeepSeek show it, others put it before the answer.

    Of an answer that is cut off and empty nothing else is known that would have taken the tokens.
    """
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    counted = details.get("reasoning_tokens") if isinstance(details, dict) else None
    if (isinstance(counted, int) and counted > 0) or message.get("reasoning_content") or message.get("reasoning"):
        return True
    if text is None:
        return reason == "length"
    thought, ended, _ = text.partition("</think>")
    if ended:
        return bool(thought.removeprefix("<think>").strip())
    return text.startswith("<think>")


def _why_silent(refusal: Any, reason: Any, secrets: Iterable[str]) -> str:
    if isinstance(refusal, str) and refusal:
        return f"the model refused: {scrub(refusal, secrets)}"
    if reason == "length":
        return "all of max_tokens went into thinking: raise it"
    return f"the answer is empty (finish_reason {scrub(str(reason), secrets)})"
