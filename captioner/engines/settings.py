"""What can be set for servers with OpenAI's API: how each is reached, and how hard it is driven."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import yarl
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from captioner.engines.capabilities import Structured


def _address(value: str) -> str:
    if not value.startswith(("http://", "https://")):
        raise ValueError(f"{value!r} must start with http:// or https://, such as http://localhost:8000/v1")
    url = yarl.URL(value)
    if url.user or url.password:
        raise ValueError("an address must hold no user or password; send them with headers")
    if not url.host:
        raise ValueError(f"{value!r} names no host")
    if url.path.rstrip("/").endswith("/chat/completions"):
        raise ValueError(f"{value!r} must end before /chat/completions")
    return value


def _proxy(value: str) -> str:
    if not value:
        return value
    url = yarl.URL(value)
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"{value!r} is no proxy; write it as http://HOST:PORT, or leave it empty for none")
    if url.user or url.password:
        raise ValueError("a proxy must hold no user or password here; name such a one in HTTPS_PROXY instead")
    return value


def _printable(headers: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
    for name, value in headers.items():
        if not (name.isascii() and name.isprintable() and value.get_secret_value().isprintable()):
            raise ValueError(f"the header {name!r} holds a line break or another character that no header can have")
    return headers


def _beside(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    ours = sorted(fields.keys() & {"messages", "model", "stream"})
    if ours:
        raise ValueError(f"extra_body must not hold {ours[0]!r}, which is set for each request")
    return fields


_Headers = Annotated[Mapping[str, SecretStr], AfterValidator(_printable)]
_ExtraBody = Annotated[Mapping[str, Any], AfterValidator(_beside)]
_Address = Annotated[str, AfterValidator(_address)]
_Proxy = Annotated[str, AfterValidator(_proxy)]


class _Settings(BaseModel):
    """Headers may carry secrets: they are shown as stars, and ``$AZURE_OPENAI_API_KEY`` is read from the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


class ServerSettings(_Settings):
    """How a server is reached. Keys come from the environment or a file and are never part of the settings."""

    model: str = Field(min_length=1)
    base_url: _Address | None = Field(
        default=None, description="such as http://localhost:8000/v1; OpenAI's if left out"
    )
    api_key_env: str = Field(default="OPENAI_API_KEY", description="the environment variable that holds the key")
    api_key_file: Path | None = Field(default=None, description="a file that holds the key; wins over the environment")
    timeout: float = Field(default=600.0, gt=0, description="seconds for one request, answer included")
    connect_timeout: float = Field(default=10.0, gt=0, description="seconds for a connection")
    read_timeout: float | None = Field(default=None, gt=0, description="seconds of silence in a request")
    max_outage: float = Field(default=300.0, ge=0, description="seconds that a server may be unreachable in a run")
    structured: Structured = Field(default="auto", description="how JSON is asked for; auto finds out")
    headers: _Headers = Field(default={}, description="sent with each request")
    extra_body: _ExtraBody = Field(default={}, description="fields added to each request as they are")
    ca_file: Path | None = Field(default=None, description="certificates to trust instead of the system's")
    proxy: _Proxy | None = Field(default=None, description="instead of the environment's; empty: none")


class EndpointSettings(_Settings):
    """One of several servers of the same model. What is left out is as for the engine."""

    base_url: _Address
    weight: float = Field(
        default=1.0, gt=0, le=1000, description="its share of the requests, beside the others' weights"
    )
    model: str | None = Field(default=None, min_length=1, description="what this server calls the model")
    api_key_env: str | None = None
    api_key_file: Path | None = None
    structured: Structured | None = None
    headers: _Headers | None = None
    extra_body: _ExtraBody | None = None
    ca_file: Path | None = None
    proxy: _Proxy | None = None
    concurrency: int | None = Field(default=None, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)


class OpenAISettings(ServerSettings):
    """How servers are reached and how hard each of them is driven."""

    endpoints: tuple[EndpointSettings, ...] = Field(default=(), description="several servers instead of base_url")
    concurrency: int = Field(default=32, ge=1, description="most requests at a server at once")
    max_retries: int = Field(default=6, ge=0, description="how often a request that failed is sent again")
    retry_wait: float = Field(
        default=0.5, ge=0, description="seconds before the first retry, doubled for each next one"
    )
    hedge: float = Field(
        default=0.02, ge=0, le=0.5, description="most requests sent twice because they hang, as a share"
    )
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _several_addresses(cls, given: Any) -> Any:
        """Read a list of addresses as endpoints."""
        if isinstance(given, Mapping) and isinstance(given.get("base_url"), list | tuple):
            if given.get("endpoints"):
                raise ValueError("give the servers as base_url or as endpoints, not as both")
            if not given["base_url"]:
                raise ValueError("base_url is an empty list: name a server")
            return {**given, "base_url": None, "endpoints": [{"base_url": url} for url in given["base_url"]]}
        return given

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if self.endpoints and self.base_url is not None:
            raise ValueError("give the servers as base_url or as endpoints, not as both")
        return self

    def each(self) -> tuple["OpenAISettings", ...]:
        """Return the settings of every server, each as if it were the only one."""
        if not self.endpoints:
            return (self,)
        one = self.model_copy(update={"endpoints": ()})
        return tuple(
            one.model_copy(update={name: getattr(endpoint, name) for name in endpoint.model_fields_set - {"weight"}})
            for endpoint in self.endpoints
        )
