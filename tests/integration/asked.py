"""What real engines are asked in tests; needs nothing but captioner, so that an environment of an engine can run it."""

import asyncio
import json
import sys
from typing import Any

from captioner.engines import Answer, Message, Request, Sampling
from captioner.engines.vllm import VLLMEngine, VLLMSettings
from captioner.triplets import Triplet

SCHEMA = {
    "type": "object",
    "properties": {
        "captions": {"type": "array", "items": {"type": "string", "maxLength": 12}, "minItems": 2, "maxItems": 2}
    },
    "required": ["captions"],
    "additionalProperties": False,
}
# A prompt that is read in pieces makes vLLM for the CPU fail when there is a seed: hence the batched tokens.
SMALL = {
    "enforce_eager": True,
    "max_num_batched_tokens": 131_072,
    "max_num_seqs": 32,
    "kv_cache_memory_bytes": 256 * 2**20,
}
# Sixteen tokens cannot say so much: the answer is cut off, whatever the weights.
ENDLESS = {"type": "string", "minLength": 600, "maxLength": 1000}
# The longest answer: two captions of 12 characters of six bytes each ("\u00e9") and 20 bytes around them, at most a token each.
MOST_TOKENS = 2 * 12 * 6 + 20
COUNT = 40
CHUNK = 16
LONG, CUT = 5, 6


def request(i: int) -> Request:
    text = f"Write two captions for image {i}."
    if i == LONG:
        text = "word " * 20_000
    messages = (Message("system", "You write captions of images. " * 40), Message("user", text))
    schema = ENDLESS if i == CUT else SCHEMA
    sampling = Sampling(max_tokens=16 if i == CUT else 2 * MOST_TOKENS, temperature=1.0, seed=i)
    return Request(f"k{i}", messages, Triplet("t0", "xray", "chest", ()), 2, sampling, schema)


async def answers_of(engine: Any) -> list[Answer]:
    try:
        await engine.check()
        return [answer async for answer in engine.answers(map(request, range(COUNT)))]
    finally:
        await engine.close()


def in_process(model: str) -> None:
    """Run by the other Python: answers, as JSON, on the last line."""
    settings = VLLMSettings(model=model, dtype="float32", max_model_len=4096, chunk=CHUNK, engine_args=SMALL)
    answers = asyncio.run(answers_of(VLLMEngine(settings)))
    sys.stdout.write(
        "\n"
        + json.dumps(
            [
                [a.key, a.text, a.finish_reason, a.error, a.prompt_tokens, a.completion_tokens, a.cached_tokens]
                for a in answers
            ]
        )
    )


if __name__ == "__main__":
    in_process(sys.argv[1])
