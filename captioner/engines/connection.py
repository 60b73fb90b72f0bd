"""The way to one OpenAI-compatible server: its address, key, headers, proxy and certificates."""

import asyncio
import io
import os
import ssl
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import aiohttp
import yarl

from captioner.engines.completions import Completion, read_completion
from captioner.engines.deadlines import Deadlines
from captioner.engines.failures import Failure, from_exception, from_response, scrub
from captioner.engines.settings import ServerSettings
from captioner.errors import EngineError

if TYPE_CHECKING:
    import openai

_LARGE = 2**20
_LONGEST_BODY = 64 * 2**20
_NO_KEY = "none"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_KEY_HEADERS = {"authorization", "api-key", "x-api-key"}


class Connection:
    """The official client, for what it knows best (keys, organisation, the list of models), beside one aiohttp session.

    Nothing is opened or read before the first use.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._secrets: list[str] = []
        self._key_source: str | None = None
        self._client: openai.AsyncOpenAI | None = None
        self._session: aiohttp.ClientSession | None = None
        self._deadlines = Deadlines()
        base = yarl.URL(settings.base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1")
        self._query = base.query
        self._base = base.with_query(None).with_fragment(None)
        self._chat = (self._base / "chat/completions").with_query(self._query)
        self._loopback = self._base.host in _LOOPBACK
        self._key_header = next((name for name in settings.headers if name.lower() in _KEY_HEADERS), None)

    @property
    def address(self) -> str:
        """Where the server is, for messages."""
        return str(self._base)

    def open(self) -> tuple["openai.AsyncOpenAI", aiohttp.ClientSession]:
        """Return the official client and the session for the requests, made on first use inside an event loop.

        Raises:
            EngineError: the key, a header or the certificates cannot be read.
        """
        if self._client is not None and self._session is not None:
            return self._client, self._session
        import openai

        settings = self._settings
        key, proxy = self._read_key(), self._proxy()
        trust = self._trust(proxy)
        headers = {name: self._expand(name, value.get_secret_value()) for name, value in settings.headers.items()}
        self._client = openai.AsyncOpenAI(
            api_key=key or _NO_KEY,
            base_url=self.address,
            default_query=dict(self._query),
            default_headers=headers,
            timeout=openai.Timeout(min(30.0, settings.timeout), connect=settings.connect_timeout),
            http_client=openai.DefaultAioHttpClient(
                verify=trust, trust_env=False, proxy=proxy, event_hooks={"request": [_leave_out_no_key]}
            ),
        )
        # Without what the client tells of the machine (x-stainless-…): nobody needs it, and it is sent every time.
        all_headers = self._client.default_headers.items()
        sent = {k: v for k, v in all_headers if isinstance(v, str) and not k.lower().startswith("x-stainless")}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=trust, keepalive_timeout=30),
            headers={**self._client.auth_headers, **sent} if key else sent,
            cookie_jar=aiohttp.DummyCookieJar(),
            # aiohttp's own trust_env would look for proxies and ~/.netrc anew, in a thread, for each request.
            proxy=proxy,
            timeout=aiohttp.ClientTimeout(sock_connect=settings.connect_timeout, sock_read=settings.read_timeout),
        )
        return self._client, self._session

    async def close(self) -> None:
        """Close all connections; a later use opens new ones."""
        self._deadlines.close()
        session, self._session = self._session, None
        client, self._client = self._client, None
        if session is not None:
            await session.close()
        if client is not None:
            await client.close()

    async def post(self, body: bytes, timeout: float) -> Completion:  # noqa: ASYNC109 - aiohttp keeps it
        """Send one chat completion request.

        Args:
            body: JSON.
            timeout: seconds until the answer must be there.

        Raises:
            Failure: there is no answer, or none that can be used.
        """
        _, session = self.open()
        data = body if len(body) < _LARGE else io.BytesIO(body)  # aiohttp sends large bytes in one go, and warns of it
        deadline = self._deadlines.within(timeout)
        try:
            async with session.post(self._chat, data=data, allow_redirects=False) as response:
                content = await _read(response)
        except asyncio.CancelledError:
            if not deadline.alone:
                raise
            raise from_exception(TimeoutError(), timeout, self._secrets) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise from_exception(error, timeout, self._secrets) from None
        finally:
            self._deadlines.over(deadline)
        if response.status != 200:
            raise from_response(response.status, response.headers, content, self._secrets)
        return read_completion(content, response.headers, self._secrets)

    async def models(self) -> list[str] | None:
        """Return the models that the server lists, None if it does not list them.

        Raises:
            Failure: it cannot be reached, or refuses the key.
        """
        import openai

        client, _ = self.open()
        try:
            return [listed.id async for listed in client.with_options(max_retries=1).models.list()]
        except openai.APIConnectionError as error:
            raise self._cause(error) from None
        except openai.AuthenticationError as error:
            raise from_response(401, error.response.headers, error.response.content, self._secrets) from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError):
            return None  # another status says that models are not listed here; a 200 may be a page of HTML

    def failure_of(self, error: Exception) -> Failure | None:
        """Return what an exception of the official client means, None if it is not about the server.

        The client wraps what goes wrong before an answer, and leaves as it is what goes wrong in the middle of one.
        """
        import openai

        if isinstance(error, openai.APIStatusError):
            response = error.response
            return from_response(error.status_code, response.headers, response.content, self._secrets)
        wire = self._on_the_wire(error)
        if wire is not None:
            return from_exception(wire, self._settings.timeout, self._secrets)
        if isinstance(error, openai.APIError):
            return Failure("connection", scrub(str(error), self._secrets))
        return None

    def unreachable(self, why: str) -> str:
        """Return what to say of a server that cannot be reached."""
        proxy = self._proxy()
        if proxy is not None:
            url = yarl.URL(proxy).with_user(None)
            todo = f"Check engine.base_url, and the proxy {url.origin()}: engine.proxy, or {self._base.scheme.upper()}_PROXY."
        elif self._loopback:
            todo = f"Start the server (vllm serve {self._settings.model}), or set engine.base_url to where it runs."
        else:
            todo = (
                "Check engine.base_url and the network; if there is a proxy, name it with engine.proxy or HTTPS_PROXY."
            )
        return f"cannot reach {self.address}: {why}. {todo}"

    def wrong_key(self, failure: Failure) -> str:
        """Return what to say of a key that is refused: where it was read, never what it is."""
        if self._key_source:
            return (
                f"{self.address} refuses the key in {self._key_source} ({failure.message}). "
                "Put a valid key there, or name another place with engine.api_key_env or engine.api_key_file."
            )
        if self._key_header:
            return f"{self.address} refuses the key in the header {self._key_header} ({failure.message})."
        return (
            f"{self.address} wants a key ({failure.message}). Set the environment variable "
            f"{self._settings.api_key_env}, or name another with engine.api_key_env."
        )

    def _read_key(self) -> str | None:
        settings = self._settings
        if settings.api_key_file is not None:
            source = f"the file {settings.api_key_file}"
            try:
                key = settings.api_key_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not text"
                raise EngineError(f"cannot read the key in {source}: {reason}") from None
            if not key:
                raise EngineError(f"{source}, which should hold the key, is empty")
        elif self._key_header and "api_key_env" not in settings.model_fields_set:
            return None  # a header carries it; the key that happens to be in the environment is somebody else's
        else:
            source = f"the environment variable {settings.api_key_env}"
            key = os.environ.get(settings.api_key_env, "").strip()
            if not key and ("api_key_env" in settings.model_fields_set or self._base.host == "api.openai.com"):
                raise EngineError(
                    f"{source}, which should hold the key for {self.address}, is not set. Export it, name a file that holds "
                    "the key (engine.api_key_file), or say where your own server is (engine.base_url)"
                )
        if not key:
            return None
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise EngineError(f"{source} holds no key: there are spaces or characters in it that no key has")
        self._secrets.append(key)
        self._key_source = source
        return key

    def _expand(self, name: str, value: str) -> str:
        if value.startswith("$"):
            variable = value[1:].strip("{}")
            if variable not in os.environ:
                raise EngineError(f"the header {name} names the environment variable {variable}, which is not set")
            value = os.environ[variable].strip()
            if not value.isprintable():
                raise EngineError(f"the environment variable {variable}, for the header {name}, holds a line break")
        if len(value) >= 8:  # a shorter one is no secret, and starring it out would spoil messages
            self._secrets.append(value)
        return value

    def _trust(self, proxy: str | None) -> ssl.SSLContext:
        path = self._settings.ca_file
        if path is None and self._base.scheme == "http" and (proxy is None or proxy.startswith("http:")):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody: reading whom to trust takes 30 ms
        try:
            return ssl.create_default_context(cafile=path and str(path))
        except OSError as error:  # ssl.SSLError is one
            raise EngineError(f"ca_file {path} cannot be used: {error.strerror or error}") from None

    def _proxy(self) -> str | None:
        if self._settings.proxy is not None:
            return self._settings.proxy or None
        return None if self._loopback else _proxy_for(self._base)

    def _cause(self, error: BaseException) -> Failure:
        """Find what the official client wrapped."""
        found = self._on_the_wire(error)
        if found is not None:
            return from_exception(found, self._settings.timeout, self._secrets)
        return Failure("unreachable", scrub(str(error), self._secrets))

    def _on_the_wire(self, error: BaseException) -> BaseException | None:
        found: BaseException | None = error
        while found is not None and not isinstance(found, aiohttp.ClientError | asyncio.TimeoutError | OSError):
            found = found.__cause__ or found.__context__
        return found


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of a response.

    Raises:
        Failure: it is longer than any answer, and perhaps endless.
    """
    announced = response.content_length
    if announced is not None and announced <= _LONGEST_BODY and "Content-Encoding" not in response.headers:
        whole = response.content.is_eof()  # most are: then there is nothing to wait for
        return response.content.read_nowait() if whole else await response.read()
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > _LONGEST_BODY:
            response.close()
            raise Failure("garbled", f"the answer is longer than {_LONGEST_BODY // 2**20} MB", status=response.status)
    return b"".join(parts)


async def _leave_out_no_key(request: Any) -> None:
    """Send no key where there is none: the client insists on one, and Azure, with the key in another header, refuses it."""
    if request.headers.get("Authorization") == f"Bearer {_NO_KEY}":
        del request.headers["Authorization"]


def _proxy_for(url: yarl.URL) -> str | None:
    """Return the proxy that the environment names for a host (HTTPS_PROXY, ALL_PROXY, NO_PROXY)."""
    if urllib.request.proxy_bypass(url.host or ""):
        return None
    proxies: Mapping[str, str] = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all")
