"""Servers that can less than most, and Azure, which wants to be asked in its own way: what they do, over real HTTP."""

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
