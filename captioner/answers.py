"""The JSON in an engine's answer, whatever surrounds it."""

import json
import re
from typing import Any

from captioner.engines import Answer

_THOUGHT = re.compile(r"\A.*</think>", re.DOTALL)


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
    text = _THOUGHT.sub("", answer.text or "")
    start = min((i for i in (text.find("{"), text.find("[")) if i >= 0), default=-1)
    try:
        return (json.JSONDecoder().raw_decode(text, start)[0] if start >= 0 else None), None
    except json.JSONDecodeError as e:
        return None, f"the answer is not JSON of the form {form}: {e.msg}"
    except RecursionError:
        return None, "the answer is nested too deeply"
