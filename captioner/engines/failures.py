"""What can go wrong with one HTTP request to a model server, and what follows from it."""

import asyncio
import json
import math
import os
import re
import ssl
import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import aiohttp

Kind = Literal["unreachable", "connection", "timeout", "busy", "server", "garbled", "request", "fatal"]
"""unreachable: no connection at all; the server may be starting again. connection, timeout, server (5xx), garbled (not
what an API answers): sent again. busy (429, 503): sent again, slower. request: this one is refused. fatal: all will be
(wrong key, no money, no such model)."""

_FATAL_CODES = {"insufficient_quota", "invalid_api_key", "model_not_found", "billing_hard_limit_reached"}
_LONGEST = 300
_LONGEST_PAUSE = 600.0


class Failure(Exception):  # noqa: N818 - not an error of the program
    """One request failed once.

    Attributes:
        kind: what follows from it.
        message: one line, without secrets.
        status: of HTTP, None when there was no response.
        retry_after: seconds that the server asks to wait.
        param: the field of the request that the server blames, as far as it says so.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.retry_after = retry_after
        self.param = param

    @property
    def again(self) -> bool:
        """Whether sending the same once more can help."""
        return self.kind not in {"request", "fatal"}


def from_response(status: int, headers: Mapping[str, str], body: bytes, secrets: Iterable[str] = ()) -> Failure:
    """Return what a response that is not a 200 means.

    Args:
        status: of HTTP.
        headers: of the response, any case.
        body: of the response; JSON, HTML, text or nothing.
        secrets: never quoted, even when the server does.
    """
    said, code, param = _read_error(body)
    message = f"HTTP {status}" + (f": {scrub(said, secrets)}" if said else "")
    retry_after = seconds_to_wait(headers)
    kind: Kind
    if status in {401, 402, 404} or code in _FATAL_CODES:
        kind = "fatal"
    elif status in {429, 503, 529}:
        kind = "busy"
    elif status in {408, 504}:
        kind = "timeout"
    elif status >= 500 or status in {409, 425}:
        kind = "server"
    elif 300 <= status < 400:
        kind = "fatal"
        where = scrub(headers.get("Location", "nowhere"), secrets)
        message = f"HTTP {status}: the server redirects to {where}; use that address instead"
    else:
        kind = "request"
    return Failure(kind, message, status=status, retry_after=retry_after, param=param)


def from_exception(error: BaseException, timeout: float, secrets: Iterable[str] = ()) -> Failure:
    """Return what an exception of aiohttp or the system means: no response at all, or half of one."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Failure("unreachable", "no connection in time")
    if isinstance(error, asyncio.TimeoutError):
        return Failure("timeout", f"no answer within {timeout:g} s")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Failure("unreachable", f"the host name {error.host!r} is not known")
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return Failure("unreachable", f"its certificate is not trusted ({_one_line(str(error))}); see ca_file")
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return Failure("unreachable", os.strerror(number).lower() if number else _one_line(str(error.os_error)))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Failure("unreachable", f"the proxy answers HTTP {error.status} {_one_line(error.message)}".rstrip())
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Failure("connection", "the server closed the connection without an answer")
    if isinstance(error, aiohttp.ClientPayloadError):
        return Failure("connection", "the connection broke in the middle of an answer")
    detail = scrub(str(error), secrets) or type(error).__name__
    return Failure("connection", f"the connection broke: {detail}")


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """Return what ``Retry-After`` (seconds or a date) or ``retry-after-ms`` asks for, at most ten minutes."""
    milliseconds, wanted = headers.get("retry-after-ms"), headers.get("Retry-After")
    try:
        if milliseconds is not None:
            seconds = float(milliseconds) / 1000
        elif wanted is None:
            return None
        elif re.fullmatch(r"\s*[\d.]+\s*", wanted):
            seconds = float(wanted)
        else:
            # By the server's own clock where it tells it: this machine's may be wrong, or be put right in the meantime.
            told = headers.get("Date")
            now = parsedate_to_datetime(told).timestamp() if told else time.time()
            seconds = parsedate_to_datetime(wanted).timestamp() - now
    except ValueError:
        return None
    return min(max(seconds, 0.0), _LONGEST_PAUSE) if math.isfinite(seconds) else None


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return one line of at most 300 characters, with keys (ours, and whatever looks like one) starred out."""
    for secret in secrets:
        text = text.replace(secret, "***")
    # Servers echo keys in part: "Incorrect API key provided: sk-ab**************yz".
    text = re.sub(r"\b(sk|pk|key|Bearer)([-_ ])[\w*.-]{6,}", r"\1\2***", text)
    return _one_line(text)


def _one_line(text: str) -> str:
    text = " ".join(text.split()).encode("utf-8", "replace").decode()  # JSON may hold half of a surrogate pair
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _read_error(body: bytes) -> tuple[str, str | None, str | None]:
    """Return message, code and blamed field of an error body, however it is written."""
    text = body.decode("utf-8", "replace").strip()
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        if "<html" in text[:500].lower() or "<!doctype" in text[:500].lower():
            title = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
            return ("an HTML page" + (f", {title[1].strip()!r}" if title else "") + ", not an API"), None, None
        return text, None, None
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return text, None, None
    error = data.get("error", data)
    if isinstance(error, str):
        return error, None, None
    if not isinstance(error, dict):
        return text, None, None
    detail = error.get("detail")
    if isinstance(detail, list):  # pydantic's form; its "input" would quote the whole request
        parts = [d for d in detail if isinstance(d, dict)]
        places = [d["loc"] if isinstance(d.get("loc"), list) else [] for d in parts]
        where = [".".join(str(step) for step in place if step != "body") for place in places]
        said = "; ".join(f"{at}: {d.get('msg', '')}" for at, d in zip(where, parts, strict=True))
        return said, None, where[0].split(".")[0] if where else None
    said = error.get("message") or detail or error.get("msg") or text
    code, param = error.get("code"), error.get("param")
    return str(said), str(code) if code is not None else None, param if isinstance(param, str) else None
