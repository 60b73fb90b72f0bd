"""A small server with OpenAI's files and batches, which fail as real ones do: lines, batches and connections."""

import asyncio
import json
import random
import time
from typing import Any

from aiohttp import web

from tests.engines.faulty import FaultyServer, _error


class BatchingServer(FaultyServer):
    """Answers batches after a number of looks at them, in shuffled order.

    Attributes:
        root, endpoint: where files and batches are; what batches and their lines name.

    Args:
        looks: how often a batch is asked for until it is over.
        outcomes: how the first batches end (completed, expired, cancelled, failed, too_much); the others complete.
        lost: share of requests without any line in the results.
        refused: share of requests with an error line.
        trouble: (method and path, what happens) for the first calls of a kind: "error" (500, nothing done), "late" (done,
            then 500), "cut" (half of the body), "html".
        lists: whether batches can be listed.
        delay: seconds before and after each call of files and batches is acted upon.
    """

    root, endpoint = "/v1", "/v1/chat/completions"

    def __init__(
        self,
        *,
        looks: int = 2,
        outcomes: tuple[str, ...] = (),
        lost: float = 0.0,
        refused: float = 0.0,
        trouble: tuple[tuple[str, str], ...] = (),
        lists: bool = True,
        delay: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.looks = looks
        self.outcomes = list(outcomes)
        self.lost = lost
        self.refused = refused
        self.trouble = list(trouble)
        self.lists = lists
        self.delay = delay
        self.heard: list[str] = []
        self.files: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.looked = 0

    @property
    def submitted(self) -> list[str]:
        """The keys of all requests in batches that were really run, as often as they were."""
        return [
            json.loads(line)["custom_id"]
            for batch in self.batches.values()
            if batch["status"] != "failed"
            for line in self.files[batch["input_file_id"]].splitlines()
        ]

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post(f"{self.root}/files", self._wrap("upload", self._upload))
        app.router.add_get(f"{self.root}/files/{{id}}/content", self._wrap("download", self._download))
        app.router.add_post(f"{self.root}/batches", self._wrap("create", self._create))
        app.router.add_get(f"{self.root}/batches", self._wrap("list", self._list_batches))
        app.router.add_get(f"{self.root}/batches/{{id}}", self._wrap("look", self._look))

    def _wrap(self, name: str, handler: Any) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            if refused := self._unauthorized(request):
                return refused
            self.heard.append(name)
            await asyncio.sleep(self.delay)
            what = next((w for n, w in self.trouble if n == name), None)
            if what is not None:
                self.trouble.remove((name, what))
            if what == "error":
                return _error(500, "Internal server error")
            response = await asyncio.shield(handler(request))  # whoever asked may be gone: what was asked is done
            await asyncio.sleep(self.delay)
            if what == "late":
                return _error(500, "Internal server error")
            if what == "html":
                return web.Response(text="<html><title>Hello</title></html>", content_type="text/html")
            if what == "cut":
                half = response.body[: len(response.body) // 2]
                broken = web.StreamResponse(headers={"Content-Length": str(len(response.body))})
                await broken.prepare(request)
                await broken.write(half)
                request.transport.abort()
                return broken
            return response

        return handle

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        identity = f"file-{len(self.files)}"
        self.files[identity] = form["file"].file.read()
        self.names[identity] = form["file"].filename
        return web.json_response(
            {
                "id": identity,
                "object": "file",
                "bytes": len(self.files[identity]),
                "created_at": int(time.time()),
                "filename": self.names[identity],
                "purpose": "batch",
                "status": "processed",
            }
        )

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        lines = map(json.loads, self.files[asked["input_file_id"]].splitlines())
        assert {asked["endpoint"], *(line["url"] for line in lines)} == {self.endpoint}
        identity = f"batch-{len(self.batches)}"
        self.batches[identity] = {
            "id": identity,
            "object": "batch",
            "endpoint": asked["endpoint"],
            "input_file_id": asked["input_file_id"],
            "completion_window": asked["completion_window"],
            "created_at": int(time.time()),
            "status": "validating",
            "looks": 0,
            "outcome": self.outcomes.pop(0) if self.outcomes else "completed",
        }
        return web.json_response(self.batches[identity])

    async def _list_batches(self, request: web.Request) -> web.Response:
        if not self.lists:
            return _error(404, "Not Found")
        data = list(self.batches.values())[::-1]
        return web.json_response({"object": "list", "data": data, "has_more": False})

    async def _look(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return _error(404, f"No batch found with id '{request.match_info['id']}'.")
        self.looked += 1
        batch["looks"] += 1
        if batch["looks"] == 1 and self.looks > 1:
            batch["status"] = "in_progress"
        if batch["looks"] >= self.looks and batch["status"] in {"validating", "in_progress"}:
            self._end(batch)
        return web.json_response(batch)

    def _end(self, batch: dict[str, Any]) -> None:
        outcome = batch["outcome"]
        if outcome in {"failed", "too_much"}:
            code, message = "invalid_json_line", "This line is not parseable as valid JSON."
            if outcome == "too_much":
                code, message = "token_limit_exceeded", "Enqueued token limit reached for tiny."
            batch["status"] = "failed"
            batch["errors"] = {"object": "list", "data": [{"code": code, "message": message, "line": 1, "param": None}]}
            return
        batch["status"] = outcome
        rng = random.Random(f"{self.seed} {batch['id']}")
        good, bad = [], []
        lines = self.files[batch["input_file_id"]].splitlines()
        if outcome != "completed":
            lines = lines[: len(lines) // 2]
        for line in lines:
            asked = json.loads(line)
            self.bodies.append(asked["body"])
            drawn = rng.random()
            if drawn < self.lost:
                continue
            data = {"id": f"batch_req_{asked['custom_id']}", "custom_id": asked["custom_id"], "error": None}
            if drawn < self.lost + self.refused:
                error = {"error": {"message": "The server had an error", "type": "server_error", "code": None}}
                bad.append(data | {"response": {"status_code": 500, "request_id": "x", "body": error}})
                continue
            body = self._completion(asked["body"], self._draw(line.decode()))
            good.append(data | {"response": {"status_code": 200, "request_id": "x", "body": body}})
        for name, answers in (("output_file_id", good), ("error_file_id", bad)):
            rng.shuffle(answers)
            if answers:
                batch[name] = f"file-{len(self.files)}"
                self.files[batch[name]] = "\n".join(json.dumps(a) for a in answers).encode()
        batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}

    async def _download(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["id"]], content_type="application/octet-stream")


class AzureBatches(BatchingServer):
    """Azure OpenAI with a deployment for batches, which answers nothing else.

    Files and batches are under an address of their own, with a version in the query; the key is in a header; a file can be used
    when it has been looked through; a batch does not repeat what it is for, and has a file of errors that may be empty.
    """

    root, endpoint = "/openai", "/chat/completions"

    def __init__(self, *, azure_key: str, **options: Any) -> None:
        super().__init__(models=None, **options)
        self.azure_key = azure_key
        self.looked_through: set[str] = set()

    @property
    def address(self) -> str:
        """Return what a user puts into ``base_url``."""
        return self.base_url.removesuffix("/v1") + "/openai?api-version=2024-10-21"

    def add_routes(self, app: web.Application) -> None:
        super().add_routes(app)
        app.router.add_get("/openai/models", self._wrap("models", self._list))
        app.router.add_get("/openai/files/{id}", self._wrap("file", self._file))

    def _unauthorized(self, request: web.Request) -> web.Response | None:
        if request.headers.get("api-key") != self.azure_key or "Authorization" in request.headers:
            return _error(401, "Access denied due to invalid subscription key or wrong API endpoint.", code="401")
        return None if "api-version" in request.query else _error(404, "Resource not found", code="404")

    async def _upload(self, request: web.Request) -> web.Response:
        return self._with(await super()._upload(request), status="pending")

    async def _file(self, request: web.Request) -> web.Response:
        identity = request.match_info["id"]
        status = "processed" if self.heard.count("file") > 1 else "pending"
        if status == "processed":
            self.looked_through.add(identity)
        return web.json_response({"id": identity, "object": "file", "purpose": "batch", "status": status})

    async def _create(self, request: web.Request) -> web.Response:
        if (await request.json())["input_file_id"] not in self.looked_through:
            return _error(400, "The file is not ready to be used")
        return self._with(await super()._create(request), endpoint=None)

    def _end(self, batch: dict[str, Any]) -> None:
        super()._end(batch)
        batch.setdefault("error_file_id", "file-empty")
        self.files["file-empty"] = b""

    def _with(self, response: web.Response, **changes: Any) -> web.Response:
        return web.json_response(json.loads(response.text or "") | changes)
