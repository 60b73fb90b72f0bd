"""What a million tokens cost: a table that ships and that users can correct, by model and server."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import yarl
from pydantic import Field, TypeAdapter, ValidationError

from captioner import resources
from captioner.errors import PipelineError
from captioner.schema import Model, explain, read_yaml

FILE = "prices.yaml"


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost, in the unit of the table (US dollars in the one that ships) or of the pipeline.

    Attributes:
        input, output: of a prompt and of an answer.
        cached_input: of the part of a prompt that the server had read before; as ``input`` if None.
        source: where this comes from, for people; empty if nobody knows a price.
    """

    input: float = 0.0
    output: float = 0.0
    cached_input: float | None = None
    source: str = ""

    def of(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Return what tokens cost; the cached ones are among those of the prompt."""
        cached = self.input if self.cached_input is None else self.cached_input
        return (
            (prompt_tokens - cached_tokens) * self.input + cached_tokens * cached + completion_tokens * self.output
        ) / 1e6


class ModelPrice(Model):
    """One model's."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)


class PriceGroup(Model):
    """Prices of one provider, or of one's own."""

    provider: str = ""
    hosts: tuple[str, ...] = Field(default=(), description="servers where they hold; anywhere if left out")
    as_of: date | None = None
    source: str = ""
    batch: float = Field(default=1.0, ge=0, le=1, description="factor for batches")
    models: Mapping[str, ModelPrice]


_GROUPS = TypeAdapter(tuple[PriceGroup, ...])


def find_price(model: str, address: str | None, *, batch: bool = False) -> Price:
    """Return the price of a model: from ``prices.yaml`` in the working directory, else from the one that ships.

    Args:
        model: as the server names it; a date at its end (``gpt-4o-mini-2024-07-18``) may be missing in the table.
        address: the server's, None for a model on this machine.
        batch: whether it is asked in batches.

    Returns:
        A price of nothing, with an empty source, where none is known.

    Raises:
        PipelineError: a file cannot be read.
    """
    host = (address and yarl.URL(address).host) or ""
    names = (model, re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model))
    for path in resources.files(FILE):
        try:
            groups = _GROUPS.validate_python(read_yaml(path, PipelineError))
        except ValidationError as e:
            raise PipelineError(f"{path}: {explain(e)}") from None
        for name in dict.fromkeys(names):
            for group in groups:
                if name in group.models and (not group.hosts or host in map(str.lower, group.hosts)):
                    return _price(group, group.models[name], str(path), batch=batch)
    return Price()


def given_price(given: Mapping[str, Any], model: str, address: str | None, *, batch: bool = False) -> Price:
    """Return the price that a pipeline states (``input``, ``output``, ``cached_input``), or that of the tables."""
    stated = {name: value for name, value in given.items() if value is not None}
    if stated:
        return Price(**stated, source="the pipeline's price")
    return find_price(model, address, batch=batch)


def _price(group: PriceGroup, price: ModelPrice, path: str, *, batch: bool) -> Price:
    factor = group.batch if batch else 1.0
    cached = None if price.cached_input is None else price.cached_input * factor
    listed = " ".join(
        filter(
            None, [group.provider, "list prices" if group.provider else "", f"of {group.as_of}" if group.as_of else ""]
        )
    )
    return Price(price.input * factor, price.output * factor, cached, f"{listed} ({path})" if listed else path)
