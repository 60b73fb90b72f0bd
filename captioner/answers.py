"""What a model is asked to answer with, and what it answered, whatever surrounds it."""

import json
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import from_json

from captioner.engines import SEPARATOR, Answer

MAX_CAPTION = 600
"""Characters in a caption. CLIP-style text encoders read 77 tokens, roughly 300 characters; nothing longer is of use."""

_HALF = re.compile(r"[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\ufffd]")


class CaptionsAnswer(BaseModel):
    """What a model is asked to answer with."""

    model_config = ConfigDict(extra="ignore", strict=True)

    captions: list[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CAPTION)]] = (
        Field(min_length=1)
    )


def answer_schema(count: int) -> dict[str, Any]:
    """Return the JSON Schema of an answer with ``count`` captions.

    Every string has a bound, and a pattern that leaves control characters out: without, constrained decoding of some
    servers runs on until the token limit, or emits raw control characters (xgrammar issues 286 and 800).
    """
    caption = {"type": "string", "minLength": 10, "maxLength": MAX_CAPTION}
    return {
        "type": "object",
        "properties": {"captions": {"type": "array", "items": caption, "minItems": count, "maxItems": count}},
        "required": ["captions"],
        "additionalProperties": False,
    }


def encodable(answer: Answer) -> Answer:
    """Return an answer that can be written as UTF-8.

    JSON may hold halves of surrogate pairs, such as of an emoji at which an answer was cut; each becomes U+FFFD.
    """
    text, error = answer.text or "", answer.error or ""
    try:
        (text + error).encode()
    except UnicodeEncodeError:
        whole = (_HALF.sub("\ufffd", said) or None for said in (text, error))
        return answer._replace(text=next(whole), error=next(whole))
    return answer


def parse_answer(answer: Answer) -> tuple[list[str], list[str]]:
    """Return the captions of an answer, and what is wrong with it as a whole.

    What surrounds the JSON (a fence, a thought, "Here are …") does no harm. An answer that was cut off, or holds no JSON,
    or control characters, gives no captions: a part of it may look whole and not be. Of several answers to one question, all
    captions are returned, and what is wrong only if there are none.
    """
    if answer.text is not None and SEPARATOR in answer.text:
        read = [parse_answer(answer._replace(text=text)) for text in answer.text.split(SEPARATOR)]
        captions = [caption for found, _ in read for caption in found]
        return captions, [] if captions else read[0][1]
    data, problem = json_of(answer, '{"captions": ["…"]}')
    if problem is not None:
        return [], [problem]
    if isinstance(data, list):
        data = {"captions": data}
    try:
        captions = CaptionsAnswer.model_validate(data).captions
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "answer"
        return [], [f'the answer is not of the form {{"captions": ["…"]}}: {place}: {first["msg"]}']
    text = "".join(captions)
    if not (text.isascii() and text.isprintable()) and _CONTROL.search(text):
        return [], ["the answer holds control characters"]
    return captions, []


def json_of(answer: Answer, form: str) -> tuple[Any, str | None]:
    """Return the first JSON value of an answer, and what is wrong if there is none to be had.

    A fence, a thought or "Here are …" around it does no harm. An answer that was cut off gives nothing: a part of it may
    look whole and not be.

    Args:
        answer: as it came.
        form: what was asked for, for the message.

    Returns:
        The value (None where the text holds no JSON) and no problem, or None and a problem in a sentence.
    """
    if answer.finish_reason == "length":
        return None, "the answer was cut off because it was too long (finish_reason 'length')"
    if answer.finish_reason == "content_filter":
        return None, "the answer was held back by the server's content filter"
    text = (answer.text or "").rpartition("</think>")[2]
    if text.startswith(("{", "[")):
        try:
            return from_json(text), None  # several times as fast as the standard library, where nothing else is there
        except ValueError:
            pass
    start = min((i for i in (text.find("{"), text.find("[")) if i >= 0), default=-1)
    try:
        return (_DECODER.raw_decode(text, start)[0] if start >= 0 else None), None
    except json.JSONDecodeError as e:
        return None, f"the answer is not JSON of the form {form}: {e.msg}"
    except RecursionError:
        return None, "the answer is nested too deeply"


_DECODER = json.JSONDecoder()
