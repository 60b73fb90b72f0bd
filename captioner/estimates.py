"""What a run will take in tokens, before it is asked for: counted where that is possible, else an estimate that says so."""

import contextlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from captioner.engines import Message
from captioner.judge import INSTRUCTIONS
from captioner.store import Totals

_CHARACTERS = 4  # to a token, in English
_CAPTION_TOKENS = 40
_MESSAGE_TOKENS = 4  # what a chat template puts around a message
_JUDGE_PROMPT = len(INSTRUCTIONS) + 700  # characters: labels, metadata and a caption beside the instructions
_JUDGE_ANSWER = 80
_ENOUGH = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """Questions to one engine.

    Attributes:
        requests: how many.
        prompt_tokens, completion_tokens: of all.
        basis: how the tokens were found.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    basis: str


def of_questions(
    prompts: Sequence[Sequence[Message]], requests: int, captions: int, model: str, totals: Totals | None = None
) -> Estimate:
    """Return what the first questions about all triplets take; repairs come on top.

    Args:
        prompts: some of the questions.
        requests: how many there are.
        captions: in an answer.
        model: its name or folder.
        totals: of the run so far: what its answers took is the best estimate. None where others are in it.
    """
    if totals is not None and totals.requests - totals.errors >= _ENOUGH and totals.completion_tokens:
        prompt, completion = (n / totals.requests for n in (totals.prompt_tokens, totals.completion_tokens))
        basis = f"as the {totals.requests:,} answers so far"
    else:
        count = counter_for(model)
        basis = "counted with the model's tokenizer" if count else "an estimate: 4 characters a token"
        texts = [m.content for messages in prompts for m in messages]
        total = sum(count(t) + _MESSAGE_TOKENS for t in texts) if count else sum(map(len, texts)) / _CHARACTERS
        prompt, completion = total / max(1, len(prompts)), _CAPTION_TOKENS * captions
    return Estimate(requests, round(prompt * requests), round(completion * requests), basis)


def of_judge(captions: int) -> Estimate:
    """Return what a judge takes that is shown so many captions."""
    return Estimate(captions, captions * _JUDGE_PROMPT // _CHARACTERS, captions * _JUDGE_ANSWER, "an estimate")


def counter_for(model: str) -> Callable[[str], int] | None:
    """Return how to count the tokens of a text, if the model's tokenizer is on this machine and can be read.

    It is looked for in the model's folder and in the cache of models that were downloaded before; nothing is downloaded.
    """
    if importlib.util.find_spec("tokenizers") is None:
        return None
    file: object = Path(model) / "tokenizer.json"
    if not Path(model).is_dir():
        if importlib.util.find_spec("huggingface_hub") is None:
            return None
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        file = None
        with contextlib.suppress(HFValidationError):
            file = try_to_load_from_cache(model, "tokenizer.json")
    if not isinstance(file, str | Path) or not Path(file).is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # noqa: BLE001 - it raises nothing more precise; without it there is still an estimate
        return None
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
