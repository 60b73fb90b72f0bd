"""Servers that can less than most, or want to be asked in their own way, and models that think: what they do, over real HTTP."""

import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from tests.engines.faulty import FaultyServer


class TransformersServe(FaultyServer):
    """``transformers serve``: it counts no tokens, and either refuses or takes in silence what it cannot do.

    Args:
        strict: 422 for the fields of OpenAI's API that it does not heed, as newer versions do; any version refuses others.
        options: of the faulty server.
    """

    UNUSED = frozenset({"logprobs", "max_completion_tokens", "n", "response_format", "top_logprobs"})
    KNOWN = UNUSED | {"messages", "model", "max_tokens", "temperature", "top_p", "seed", "stop"}

    def __init__(self, *, strict: bool, **options: Any) -> None:
        super().__init__(ignores={"n"}, ignores_structure=True, **options)
        self.strict = strict

    def _unsupported(self, body: dict[str, Any]) -> web.Response | None:
        for what, fields in (
            ("Unexpected keys", set(body) - self.KNOWN),
            ("Unsupported fields", (set(body) & self.UNUSED) if self.strict else set()),
        ):
            if fields:
                return web.json_response({"detail": f"{what} in the request: {fields}"}, status=422)
        return None

    def _completion(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
        completion = super()._completion(body, fault)
        del completion["usage"]
        return completion


class LlamaCppPython(FaultyServer):
    """``llama_cpp.server``: one answer whatever ``n`` says, and 500 where a JSON schema is asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(ignores={"n"}, **options)

    def _unsupported(self, body: dict[str, Any]) -> web.Response | None:
        if (body.get("response_format") or {}).get("type") == "json_schema":
            said = (
                "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': \"Input should be 'text' or "
                "'json_object'\", 'input': 'json_schema'}]"
            )
            error = {"message": said, "type": "internal_server_error", "param": None, "code": None}
            return web.json_response({"error": error}, status=500)
        return None


class Thinker(FaultyServer):
    """A model that thinks before it answers, in the forms of several servers; a word is a token.

    Args:
        words: of the thought.
        shown: OpenAI counts it alone (``"counted"``), vLLM's parsers and DeepSeek give it apart (``"apart"``), others leave it
            before the answer (``"before"``), and some say nothing of it (``"hidden"``).
        most_tokens: that may be asked for; more gets a 400.
        refusal: what it then says, of how many were asked for and how many there may be.
        options: of the faulty server.
    """

    def __init__(
        self,
        words: int,
        shown: str,
        *,
        most_tokens: int | None = None,
        refusal: str = "max_tokens is too large: {}. This model supports at most {} completion tokens.",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.words, self.shown, self.most_tokens, self.refusal = words, shown, most_tokens, refusal

    @staticmethod
    def limit(body: dict[str, Any]) -> int | None:
        """Return how many tokens a request leaves for thought and answer."""
        return body.get("max_completion_tokens", body.get("max_tokens"))

    def _unsupported(self, body: dict[str, Any]) -> web.Response | None:
        limit = self.limit(body)
        if self.most_tokens is not None and limit is not None and limit > self.most_tokens:
            said = self.refusal.format(limit, self.most_tokens)
            error = {"message": said, "type": "invalid_request_error", "param": "max_tokens", "code": "invalid_value"}
            return web.json_response({"error": error}, status=400)
        return super()._unsupported(body)

    def _completion(self, body: dict[str, Any], fault: str) -> dict[str, Any]:
        completion = super()._completion(body, fault)
        limit, usage = self.limit(body), completion["usage"]
        message = completion["choices"][0]["message"]
        thought, said = ["hm"] * self.words, (message["content"] or "").split(" ")
        if limit is not None and len(thought) + len(said) > limit:
            thought, said = thought[:limit], said[: max(0, limit - len(thought))]
            completion["choices"][0]["finish_reason"] = "length"
        message["content"] = " ".join(said)
        if self.shown == "counted":
            usage["completion_tokens_details"] = {"reasoning_tokens": len(thought)}
        elif self.shown == "apart":
            message["content"], message["reasoning_content"] = message["content"] or None, " ".join(thought)
        elif self.shown == "before":
            end = "</think>" if len(thought) < (limit or 1_000_000) else ""
            message["content"] = f"<think>{' '.join(thought)}{end}{message['content']}"
        usage["completion_tokens"] = len(thought) + len(said)
        return completion


class Azure(FaultyServer):
    """Azure OpenAI's older form: an address for each deployment, a version in the query, the key in a header."""

    def __init__(self, *, azure_key: str, deployments: Iterable[str] = ("captions",), **options: Any) -> None:
        super().__init__(models=None, **options)
        self.azure_key = azure_key
        self.deployments = set(deployments)

    def address(self, deployment: str = "captions") -> str:
        """Return what a user puts into ``base_url``."""
        root = self.base_url.removesuffix("/v1")
        return f"{root}/openai/deployments/{deployment}?api-version=2024-10-21"

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/openai/deployments/{deployment}/chat/completions", self._deployed)

    async def _deployed(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("api-key") != self.azure_key:
            said = "Access denied due to invalid subscription key or wrong API endpoint."
            return web.json_response({"error": {"code": "401", "message": said}}, status=401)
        if "Authorization" in request.headers:
            return web.json_response({"error": {"code": "401", "message": "The token is not valid."}}, status=401)
        if "api-version" not in request.query:
            return web.json_response({"error": {"code": "404", "message": "Resource not found"}}, status=404)
        if request.match_info["deployment"] not in self.deployments:
            said = "The API deployment for this resource does not exist."
            return web.json_response({"error": {"code": "DeploymentNotFound", "message": said}}, status=404)
        if "forbidden" in json.dumps(await request.json()):
            said = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
            error = {"message": said, "param": "prompt", "code": "content_filter", "status": 400}
            return web.json_response({"error": error}, status=400)
        return await self._chat(request)
