"""What one server can do, found out while asking it and remembered for the rest of the run."""

import json
import logging
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic_core import to_json

from captioner.engines import Request
from captioner.engines.failures import Failure

Structured = Literal["auto", "json_schema", "json_object", "none"]

_LADDER = ("strict", "json_schema", "json_object", "none")
_ALLOWED: dict[Structured, tuple[str, ...]] = {
    "auto": _LADDER,
    "json_schema": ("strict", "json_schema"),
    "json_object": ("json_object",),
    "none": ("none",),
}
_STRUCTURE = re.compile(r"response_format|json_schema|json_object|structured|guided|grammar|schema", re.IGNORECASE)
_REFUSED = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|extra inputs|extra fields|not permitted|not allowed"
    r"|not implemented|only the default",
    re.IGNORECASE,
)
_OPTIONAL = ("seed", "top_p", "temperature")
_N = re.compile(r"""(?<!\w)['"`]?n['"`]?\s*(>|=|must|is not|\()|['"`]n['"`]""")
_LISTENED = 4
_TOKEN_FIELDS = {"max_tokens", "max_completion_tokens"}
_ROOM = 4
_UNFIT = 3

_logger = logging.getLogger(__name__)


class Capabilities:
    """How to put a request so that this server takes it.

    Structure is asked for as strictly as the server allows: ``response_format`` json_schema with ``strict``, without,
    json_object, and in words alone; the last two say in words what the schema demands. Fields that a server refuses
    (``seed``; ``temperature`` of models that reason) are left out, and ``max_tokens`` becomes
    ``max_completion_tokens`` where that is wanted. A server that draws one answer whatever ``n`` says is asked that often.
    A model that thinks before it answers gets several times ``max_tokens``, which bounds both together, as far as the server
    has room for it.

    Attributes:
        thinks: whether the model was seen to think before it answers.
        logprobs: whether probabilities of tokens have come with an answer; only a trial asks for them.
        version: grows with each change; a request that failed under an older version is sent again under the new.
        notes: each change, in a sentence.
    """

    def __init__(self, model: str, structured: Structured, extra_body: Mapping[str, Any], where: str = "") -> None:
        self._model = model
        self._where = where or model
        self._extra = dict(extra_body)
        self._levels = list(_ALLOWED[structured])
        self._token_field = "max_tokens"  # noqa: S105
        self._left_out: set[str] = set()
        self._heard = 0
        self._not_json = 0
        self._schema: tuple[dict[str, Any], str] | None = None
        self._room = 1
        self._fits = False
        self._unfit = 0
        self._refused: dict[str, int] = {}
        self.thinks = False
        self.logprobs = False
        self.version = 0
        self.notes: list[str] = []

    @property
    def structured(self) -> str:
        """The level in use: strict, json_schema, json_object or none."""
        return self._levels[0]

    @property
    def sends_schemas(self) -> bool:
        """Whether a request says what its answer must look like by a JSON Schema, and not in words."""
        return self.structured in {"strict", "json_schema"}

    @property
    def draws_several(self) -> bool:
        """Whether ``n`` answers are drawn at once, as far as is known."""
        return "n" not in self._left_out

    @property
    def unproven(self) -> bool:
        """Whether the level in use has not brought an answer yet."""
        return self._heard == 0 and self.structured != "none"

    def body(self, request: Request) -> bytes:
        """Return the JSON body of a chat completion request."""
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        body: dict[str, Any] = {"model": self._model, "messages": messages}
        sampling, left_out = request.sampling, self._left_out
        for name in _OPTIONAL:
            value = getattr(sampling, name)
            if value is not None and name not in left_out:
                body[name] = value
        if sampling.max_tokens is not None and self._token_field not in left_out:
            body[self._token_field] = sampling.max_tokens * self.room(request)
        if sampling.n > 1 and "n" not in left_out:
            body["n"] = sampling.n
        if request.answer_schema is not None:
            self._ask_for_structure(body, request.answer_schema)
        body.update(self._extra)
        return to_json(body)  # several times as fast as the standard library

    def learn(self, failure: Failure, request: Request, room: int, *, times: int) -> bool:
        """Take a refusal in.

        Args:
            failure: what the server said.
            request: that was refused.
            room: that it had.
            times: how often in a row it failed with a server error; a server that breaks twice on a schema that it has
                never managed is taken not to manage it, whatever it says.

        Returns:
            Whether the request should now be put another way.
        """
        # A request may have had too much room for thoughts. Where the server speaks of tokens, that comes first: a bound that
        # is too high must not be taken for one that is unknown.
        less = room > 1 and failure.kind == "request" and failure.status is not None
        blamed = any(name in f"{failure.param} {failure.message}" for name in _TOKEN_FIELDS)
        if not (less and blamed) and self._learn(failure, structured=request.answer_schema is not None, times=times):
            return True
        if less:
            self._refused[request.key] = room
        return less

    def _learn(self, failure: Failure, *, structured: bool, times: int) -> bool:
        said, param = failure.message, failure.param or ""
        if failure.status is None or failure.kind not in {"request", "server"}:
            return False
        blames_structure = bool(_STRUCTURE.search(param) if param else _STRUCTURE.search(said))
        unproven = failure.kind == "server" and times >= 2 and self._heard == 0
        if structured and self.structured != "none" and (blames_structure or unproven):
            return self._step_down(said)
        if failure.kind != "request":
            return False
        if "n" not in self._left_out and (param == "n" if param else _N.search(said)):
            return self.draws_one()
        another = param == "max_tokens" or "max_completion_tokens" in said
        if self._token_field == "max_tokens" and another and _REFUSED.search(said):  # noqa: S105
            self._token_field = "max_completion_tokens"  # noqa: S105
            return self._changed("the server wants max_completion_tokens instead of max_tokens")
        if _REFUSED.search(said):
            for name in (*_OPTIONAL, self._token_field):
                blamed = param == name if param else re.search(rf"\b{name}\b", said)
                if blamed and name not in self._left_out and name not in self._extra:
                    self._left_out.add(name)
                    return self._changed(f"the server does not take {name}; it is left out")
        return False

    def draws_one(self) -> bool:
        """Take in that the server draws one answer, whatever ``n`` says; return whether that is news."""
        if "n" in self._left_out:
            return False
        self._left_out.add("n")
        return self._changed("the server draws one answer at a time; it is asked for each")

    def room(self, request: Request) -> int:
        """Return how many times ``max_tokens`` a request gets: half of what it was refused with."""
        return min(self._room, self._refused[request.key] // 2) if request.key in self._refused else self._room

    @property
    def settled(self) -> bool:
        """Whether the room that a model gets for its thoughts is known to fit, or none is wanted."""
        return self._room == 1 or self._fits

    def notice_thinking(self, request: Request) -> None:
        """Take in that the model thought before it answered a request."""
        if self.thinks:
            return
        self.thinks = True
        if request.sampling.max_tokens is not None and not self._extra.keys() & _TOKEN_FIELDS:
            self._room, self._fits = _ROOM, False
            self._changed(
                f"the model thinks before it answers; thought and answer together get max_tokens times {_ROOM}"
            )

    def answered(self, request: Request, room: int) -> None:
        """Take in that a request was answered.

        Several that were answered with less room than they were refused with show that the server has less, unless any was
        answered with all of it: then it was their own length that left none.
        """
        if room == self._room:
            self._fits = True
        if self._fits or self._refused.get(request.key, math.inf) > self._room:
            return
        self._unfit += 1
        if self._unfit == _UNFIT:
            self._room //= 2
            self._unfit = 0
            self._changed(
                f"the server has no room for so many tokens; thought and answer get max_tokens times {self._room}"
            )

    def forget(self, request: Request) -> None:
        """Take in that a request is done with."""
        if self._refused:
            self._refused.pop(request.key, None)

    def listen(self, text: str, version: int) -> None:
        """Look at an answer to a structured request: is the structure kept, or was the wish ignored in silence?"""
        if self._heard >= _LISTENED or version != self.version:
            return
        _, ended, said = text.rpartition("</think>")
        if not ended and said.startswith("<think>"):
            return
        self._heard += 1
        self._not_json += not said.lstrip().startswith(("{", "["))
        if self._heard == _LISTENED and self._not_json == _LISTENED and self.structured != "none":
            self._step_down("it is ignored in silence")

    def _step_down(self, why: str) -> bool:
        if len(self._levels) == 1:
            return False
        old = self._levels.pop(0)
        self._heard = self._not_json = 0
        return self._changed(f"the server does not give {old} answers ({why}); asked for {self.structured}")

    def _changed(self, note: str) -> bool:
        self.version += 1
        self.notes.append(note)
        _logger.warning("%s: %s", self._where, note)
        return True

    def _ask_for_structure(self, body: dict[str, Any], schema: dict[str, Any]) -> None:
        level = self.structured
        if self.sends_schemas:
            named = {"name": "answer", "schema": schema, "strict": level == "strict"}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
            return
        if level == "json_object":
            body["response_format"] = {"type": "json_object"}
        if self._schema is None or self._schema[0] != schema:
            self._schema = schema, json.dumps(schema, ensure_ascii=False)
        words = f"Answer with one JSON object and nothing else. It must follow this JSON Schema:\n{self._schema[1]}"
        last = body["messages"][-1]
        last["content"] = f"{last['content']}\n\n{words}"
