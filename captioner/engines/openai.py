"""Any server with OpenAI's chat completions: OpenAI, Azure, ``vllm serve``, llama.cpp, Ollama, gateways.

The official client holds what it knows best (the address, keys, organisation headers, the list of models). The requests
themselves go over one aiohttp session, at a tenth of the CPU time; ``benchmarks/client.py`` measures it.
"""

import asyncio
import json
import os
import ssl
import time
import urllib.request
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import yarl
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from captioner.engines import Answer, Message, Request, Sampling
from captioner.engines.admission import Admission, Outcome, Pace
from captioner.engines.capabilities import Capabilities, Structured
from captioner.engines.failures import Failure, from_exception, from_response, scrub
from captioner.errors import EngineError, did_you_mean
from captioner.triplets import Triplet

if TYPE_CHECKING:
    import openai

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_STORM = 100
_FATAL_STORM = 3
_LONGEST_WAIT = 60.0
_BUSY_REPLIES = 50
_TINY = Request(
    key="check",
    messages=(Message("user", "Answer with the word OK."),),
    triplet=Triplet("check", "none", "none", ()),
    count=1,
    sampling=Sampling(max_tokens=16),
)


class OpenAISettings(BaseModel):
    """How a server is reached and how hard it is driven.

    Keys come from the environment or a file and are never part of the settings. Headers may carry secrets: they are
    shown as stars, and a value such as ``$AZURE_OPENAI_API_KEY`` is read from the environment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    base_url: str | None = Field(default=None, description="such as http://localhost:8000/v1; OpenAI's if left out")
    api_key_env: str = Field(default="OPENAI_API_KEY", description="the environment variable that holds the key")
    api_key_file: Path | None = Field(default=None, description="a file that holds the key; wins over the environment")
    concurrency: int = Field(default=32, ge=1, description="most requests at the server at once")
    timeout: float = Field(default=600.0, gt=0, description="seconds for one request, answer included")
    connect_timeout: float = Field(default=10.0, gt=0, description="seconds for a connection")
    max_retries: int = Field(default=6, ge=0, description="how often a request that failed is sent again")
    retry_wait: float = Field(
        default=0.5, ge=0, description="seconds before the first retry, doubled for each next one"
    )
    structured: Structured = Field(default="auto", description="how JSON is asked for; auto finds out")
    headers: Mapping[str, SecretStr] = Field(default={}, description="sent with each request")
    extra_body: Mapping[str, Any] = Field(default={}, description="fields added to each request as they are")
    ca_file: Path | None = Field(default=None, description="certificates to trust instead of the system's")
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)

    @field_validator("base_url")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} must start with http:// or https://, such as http://localhost:8000/v1")
        url = yarl.URL(value)
        if url.user or url.password:
            raise ValueError("a base_url must hold no user or password; send them with headers")
        path = url.path.rstrip("/")
        if path.endswith("/chat/completions"):
            raise ValueError(f"{value!r} must end before /chat/completions")
        return value


class OpenAIEngine:
    """One server, asked many things at once."""

    name = "openai"

    def __init__(self, settings: OpenAISettings) -> None:
        self.settings = settings
        self.model = settings.model
        self.capabilities = Capabilities(settings.model, settings.structured, settings.extra_body)
        self._admission = Admission(settings.concurrency)
        self._requests_pace = Pace(settings.requests_per_minute)
        self._tokens_pace = Pace(settings.tokens_per_minute)
        self._expected_completion = 256.0
        self._client: openai.AsyncOpenAI | None = None
        self._session: aiohttp.ClientSession | None = None
        self._url = yarl.URL()
        self._secrets: list[str] = []
        self._key_source = ""
        self._failed_in_a_row = 0
        self._workers: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"OpenAIEngine(model={self.model!r}, base_url={self.settings.base_url!r})"

    async def check(self) -> None:
        """Make sure that the server is there, takes the key and has the model.

        Raises:
            EngineError: it does not; names the address, where the key was looked for, or the models that there are.
        """
        import openai

        client, _ = self._open()
        models: list[str] | None = None
        try:
            async for listed in client.models.list(timeout=min(30.0, self.settings.timeout)):
                models = [*(models or []), listed.id]
        except openai.APIConnectionError as error:
            raise EngineError(self._unreachable(self._cause(error).message)) from None
        except openai.APIStatusError as error:
            # Anything else says only that models cannot be listed here, or not with this key.
            if error.status_code == 401:
                failure = from_response(
                    error.status_code, error.response.headers, error.response.content, self._secrets
                )
                raise EngineError(self._wrong_key(failure)) from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            models = None  # 200, but not a list of models: an HTML page, a gateway's own form
        if models and self.model in models:
            return
        try:
            await self._ask(_TINY, await self._admission.acquire())
        except Failure as failure:
            raise EngineError(self._unusable(failure, models)) from None

    async def answers(self, requests: Iterable[Request]) -> AsyncGenerator[Answer, None]:
        """Yield one answer for each request, in the order in which they come back.

        Requests are taken from the iterable when there is room for them at the server, never ahead.

        Raises:
            EngineError: the server refuses the key or the model, or a hundred requests in a row failed.
        """
        self._open()
        iterator = iter(requests)
        # Room for answers while the consumer works, so that the server does not wait for it; bounded all the same.
        finished: asyncio.Queue[Answer | BaseException] = asyncio.Queue(2 * self.settings.concurrency)
        workers = {asyncio.create_task(self._work(iterator, finished)) for _ in range(self.settings.concurrency)}
        running = len(workers)
        self._workers |= workers
        try:
            while running:
                item = await finished.get()
                if isinstance(item, Answer):
                    yield item
                elif isinstance(item, StopIteration):
                    running -= 1
                else:
                    raise item
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._workers -= workers

    async def close(self) -> None:
        """Stop what is still running and close all connections."""
        workers, self._workers = self._workers, set()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _work(self, requests: Iterator[Request], finished: "asyncio.Queue[Answer | BaseException]") -> None:
        """Take requests until there are none; put answers, and at last a StopIteration or what went wrong."""
        try:
            while True:
                slot = await self._admission.acquire()
                try:
                    request = next(requests)
                except BaseException:
                    self._admission.release(slot, "failed")
                    raise
                await finished.put(await self._answer(request, slot))
        except (StopIteration, Exception) as error:  # noqa: BLE001 - handed over to whoever reads the answers
            await finished.put(error)

    async def _answer(self, request: Request, slot: float) -> Answer:
        start = time.perf_counter()
        trial = _Trial()
        try:
            answer = await self._ask(request, slot, trial)
        except Failure as failure:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= (_FATAL_STORM if failure.kind == "fatal" else _STORM):
                raise EngineError(self._given_up(failure)) from None
            times = f" ({trial.attempts} attempts)" if trial.attempts > 1 else ""
            return Answer(
                key=request.key,
                text=None,
                error=f"{failure.message}{times}",
                seconds=time.perf_counter() - start,
                attempts=trial.attempts,
            )
        self._failed_in_a_row = 0
        return _read_answer(request.key, answer, time.perf_counter() - start, trial.attempts, self._secrets)

    async def _ask(self, request: Request, slot: float, trial: "_Trial | None" = None) -> dict[str, Any]:
        """Send a request until it is answered or there is no hope; return the body of the response.

        Raises:
            Failure: the last one.
        """
        trial = trial or _Trial()
        try:
            return await self._send(request, slot, trial)  # tenacity costs as much as the request: not before it fails
        except Failure as failure:
            if not failure.again:
                raise
            trial.failure = failure

        async def again() -> dict[str, Any]:
            if trial.failure is not None:
                failure, trial.failure = trial.failure, None
                raise failure
            return await self._send(request, await self._admission.acquire(), trial)

        retrying = AsyncRetrying(
            stop=lambda _: trial.faults > self.settings.max_retries or trial.busy > _BUSY_REPLIES,
            wait=self._wait,
            retry=retry_if_exception(lambda error: isinstance(error, Failure) and error.again),
            sleep=asyncio.sleep,
            reraise=True,
        )
        return await retrying(again)

    def _wait(self, state: RetryCallState) -> float:
        failure = state.outcome and state.outcome.exception()
        if isinstance(failure, Failure) and failure.retry_after is not None:
            return 0.0  # admission holds everything back for that long
        return wait_random_exponential(self.settings.retry_wait, max=_LONGEST_WAIT)(state)

    async def _send(self, request: Request, slot: float, trial: "_Trial") -> dict[str, Any]:
        """Send a request in a slot, put as the server has been found to want it; give the slot back."""
        structured = request.answer_schema is not None
        outcome: Outcome = "failed"
        retry_after: float | None = None
        try:
            while True:
                version = self.capabilities.version
                body = self.capabilities.body(request)
                try:
                    data = await self._post(body, trial)
                except Failure as failure:
                    if self.capabilities.version != version and failure.status in {400, 422, 500}:
                        continue  # somebody else has just learnt better
                    if self.capabilities.learn(failure, structured=structured, times=trial.server_errors):
                        continue
                    if failure.kind in {"busy", "timeout"}:
                        outcome, retry_after = "busy", failure.retry_after
                    raise
                outcome = "done"
                if structured:
                    self.capabilities.listen(_text_of(data["choices"][0]), version)
                return data
        finally:
            self._admission.release(slot, outcome, retry_after)

    async def _post(self, body: bytes, trial: "_Trial") -> dict[str, Any]:
        """Send a body once.

        Raises:
            Failure: there was no answer, or it is not one that can be used.
        """
        settings = self.settings
        expected = 0.0
        if settings.requests_per_minute:
            await self._requests_pace.wait()
        if settings.tokens_per_minute:
            expected = len(body) / 4 + self._expected_completion
            await self._tokens_pace.wait(expected)
        trial.attempts += 1
        _, session = self._open()
        try:
            async with session.post(self._url, data=body, allow_redirects=False) as response:
                content = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            trial.faults += 1
            raise from_exception(error, settings.timeout, self._secrets) from None
        try:
            data = self._read_response(response, content)
        except Failure as failure:
            trial.count(failure)
            raise
        if expected:
            used = _tokens(data)
            self._expected_completion += 0.05 * (used[1] - self._expected_completion)
            self._tokens_pace.correct(sum(used) - expected)
        return data

    def _read_response(self, response: aiohttp.ClientResponse, content: bytes) -> dict[str, Any]:
        if response.status != 200:
            raise from_response(response.status, response.headers, content, self._secrets)
        try:
            data = json.loads(content)
        except ValueError:
            said = from_response(200, {}, content, self._secrets).message if content[:1] == b"<" else "not JSON"
            raise Failure("garbled", f"the answer is {said.removeprefix('HTTP 200: ')}", status=200) from None
        if isinstance(data, dict):
            error, choices = data.get("error"), data.get("choices")
            if isinstance(error, dict) and not choices:  # some gateways put errors into a 200
                code = error.get("code")
                status = code if isinstance(code, int) and 400 <= code < 600 else 500
                raise from_response(status, response.headers, content, self._secrets)
            if isinstance(choices, list) and choices and isinstance(choices[0], dict):
                return data
        raise Failure("garbled", "the answer is JSON, but not a chat completion", status=200)

    def _open(self) -> "tuple[openai.AsyncOpenAI, aiohttp.ClientSession]":
        """Return the official client and the session that carries the requests, made on first use."""
        if self._client is not None and self._session is not None:
            return self._client, self._session
        import openai

        settings = self.settings
        key = self._read_key()
        base_url = yarl.URL(settings.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1")
        if not key and base_url.host == "api.openai.com":
            raise EngineError(
                f"no key for {base_url}: set the environment variable {settings.api_key_env}, or api_key_file"
            )
        context = self._trust()
        headers = {name: self._expand(name, value.get_secret_value()) for name, value in settings.headers.items()}
        loopback = base_url.host in _LOOPBACK
        client = openai.AsyncOpenAI(
            api_key=key or "none",
            base_url=str(base_url.with_query(None)),
            default_query=dict(base_url.query),
            default_headers=headers,
            max_retries=2,
            timeout=settings.timeout,
            http_client=openai.DefaultAioHttpClient(verify=context, trust_env=not loopback),
        )
        sent = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
        if key:
            sent = {**client.auth_headers, **sent}
        self._url = (base_url.with_query(None) / "chat/completions").with_query(base_url.query)
        self._client = client
        # aiohttp's own trust_env looks for proxies and ~/.netrc anew, in a thread, for each request.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=30),
            headers=sent,
            timeout=aiohttp.ClientTimeout(total=settings.timeout, sock_connect=settings.connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=None if loopback else _proxy_for(base_url),
        )
        return client, self._session

    def _read_key(self) -> str:
        settings = self.settings
        if settings.api_key_file is not None:
            self._key_source = f"the file {settings.api_key_file}"
            try:
                key = settings.api_key_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not text"
                raise EngineError(f"cannot read the key in {settings.api_key_file}: {reason}") from None
            if not key:
                raise EngineError(f"the key file {settings.api_key_file} is empty")
        else:
            self._key_source = f"the environment variable {settings.api_key_env}"
            key = os.environ.get(settings.api_key_env, "").strip()
            if not key and "api_key_env" in settings.model_fields_set:
                raise EngineError(f"{self._key_source}, which should hold the key, is not set")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise EngineError(f"{self._key_source} does not hold a key: it has spaces or characters that no key has")
        if key:
            self._secrets.append(key)
        else:
            self._key_source = ""
        return key

    def _expand(self, name: str, value: str) -> str:
        if value.startswith("$"):
            variable = value[1:].strip("{}")
            if variable not in os.environ:
                raise EngineError(f"the header {name} names the environment variable {variable}, which is not set")
            value = os.environ[variable].strip()
        self._secrets.append(value)
        return value

    def _trust(self) -> ssl.SSLContext:
        if self.settings.ca_file is None:
            return ssl.create_default_context()
        try:
            return ssl.create_default_context(cafile=str(self.settings.ca_file))
        except OSError as error:  # ssl.SSLError is one
            raise EngineError(f"ca_file {self.settings.ca_file} cannot be used: {error.strerror or error}") from None

    def _cause(self, error: BaseException) -> Failure:
        """Find what the official client wrapped."""
        found: BaseException | None = error
        while found is not None:
            if isinstance(found, aiohttp.ClientError | asyncio.TimeoutError | OSError):
                return from_exception(found, self.settings.timeout, self._secrets)
            found = found.__cause__ or found.__context__
        return Failure("connection", scrub(str(error), self._secrets))

    @property
    def _address(self) -> str:
        return str(self._url.with_query(None)).removesuffix("/chat/completions")

    def _unreachable(self, why: str) -> str:
        todo = (
            f"Start the server (for example: vllm serve {self.model}), or set engine.base_url to where it runs."
            if self._url.host in _LOOPBACK
            else "Check engine.base_url, the network, and HTTPS_PROXY if there is a proxy."
        )
        return f"cannot reach {self._address}: {why}. {todo}"

    def _wrong_key(self, failure: Failure) -> str:
        if self._key_source:
            return (
                f"{self._address} refuses the key in {self._key_source} ({failure.message}). "
                "Put a valid key there, or name another variable with engine.api_key_env."
            )
        return (
            f"{self._address} wants a key ({failure.message}). Set the environment variable "
            f"{self.settings.api_key_env}, or name another with engine.api_key_env."
        )

    def _unusable(self, failure: Failure, models: list[str] | None) -> str:
        if failure.kind == "connection":
            return self._unreachable(failure.message)
        if failure.status in {401, 403}:
            return self._wrong_key(failure)
        if models:
            shown = ", ".join(sorted(models)[:20]) + (" …" if len(models) > 20 else "")
            hint = did_you_mean(self.model, models)
            return f"{self._address} has no model {self.model!r}; it has: {shown}.{hint} ({failure.message})"
        if failure.status == 404:
            missing = "" if self._address.endswith("/v1") else " Most servers want a base_url that ends in /v1."
            return f"{self._address} knows no chat completions with model {self.model!r} ({failure.message}).{missing}"
        return f"{self._address} does not answer a first small request: {failure.message}"

    def _given_up(self, failure: Failure) -> str:
        if failure.status == 401:
            return self._wrong_key(failure)
        return (
            f"{self._failed_in_a_row} requests in a row failed at {self._address}; the last: {failure.message}. "
            "What is done is kept: put the server right and start the same run again."
        )


class _Trial:
    """What one request has been through."""

    __slots__ = ("attempts", "busy", "failure", "faults", "server_errors")

    def __init__(self) -> None:
        self.attempts = 0
        self.faults = 0
        self.busy = 0
        self.server_errors = 0
        self.failure: Failure | None = None

    def count(self, failure: Failure) -> None:
        if failure.kind == "busy":
            self.busy += 1
        else:
            self.faults += 1
            self.server_errors += failure.kind == "server"


def _proxy_for(url: yarl.URL) -> str | None:
    """Return the proxy that the environment names for a host (HTTPS_PROXY, ALL_PROXY, NO_PROXY)."""
    if urllib.request.proxy_bypass(url.host or ""):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def _text_of(choice: dict[str, Any]) -> str:
    content = (choice.get("message") or {}).get("content")
    if isinstance(content, list):  # some servers answer in parts
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _tokens(data: dict[str, Any]) -> tuple[int, int]:
    usage = data.get("usage")
    if not isinstance(usage, dict):
        return 0, 0
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return (prompt if isinstance(prompt, int) else 0), (completion if isinstance(completion, int) else 0)


def _read_answer(key: str, data: dict[str, Any], seconds: float, attempts: int, secrets: list[str]) -> Answer:
    choice = data["choices"][0]
    text = _text_of(choice) or None
    reason = choice.get("finish_reason")
    error = None
    if text is None:
        refusal = (choice.get("message") or {}).get("refusal")
        if isinstance(refusal, str) and refusal:
            error = f"the model refused: {scrub(refusal, secrets)}"
        else:
            error = f"the answer is empty (finish_reason {reason})"
    prompt_tokens, completion_tokens = _tokens(data)
    model = data.get("model")
    return Answer(
        key=key,
        text=text,
        finish_reason=reason if isinstance(reason, str) else None,
        error=error,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        seconds=seconds,
        attempts=attempts,
        model=model if isinstance(model, str) else None,
    )
