"""What of an engine's settings may be written down."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit


def without_secrets(engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return an engine's settings as they may be written down.

    Headers, bodies, and the user part and query of an address may hold keys.
    """
    safe = dict(engine)
    for name in ("headers", "extra_body"):
        if isinstance(safe.get(name), Mapping):
            safe[name] = dict.fromkeys(safe[name], "(not stored)")
    for name in ("base_url", "proxy"):
        value = safe.get(name)
        safe |= {name: [_bare(v) for v in value] if isinstance(value, list | tuple) else _bare(value)} if value else {}
    if isinstance(safe.get("endpoints"), list | tuple):
        safe["endpoints"] = [without_secrets(e) if isinstance(e, Mapping) else e for e in safe["endpoints"]]
    return safe


def _bare(address: Any) -> Any:
    if not isinstance(address, str):
        return address
    url = urlsplit(address)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))
