"""vLLM in process, where there is no vLLM: settings, messages, and what it is given when.

What vLLM itself does with them is the business of ``tests/integration/test_engines_real.py``.
"""

import asyncio
import sys
import threading
from collections.abc import Iterable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from captioner import engines
from captioner.engines import Answer, Message, Request, Sampling
from captioner.engines.vllm import VLLMEngine, VLLMSettings
from captioner.errors import EngineError, PipelineError
from captioner.triplets import Triplet
from tests.small import small_schema

TRIPLET = Triplet("t0", "xray", "chest", ("effusion",))


def requests(count: int, **sampling: Any) -> Iterator[Request]:
    for i in range(count):
        yield Request(
            f"k{i}", (Message("user", f"Question {i}"),), TRIPLET, 3, Sampling(**sampling), {"type": "object"}
        )


class Parameters(SimpleNamespace):
    """Takes any argument, as an object with attributes."""


class Refused(Exception):  # noqa: N818 - named after what it means
    """What newer versions of vLLM raise for a request that they do not take."""


class LLM:
    """As much of ``vllm.LLM`` as is used: it finishes the last of what it has been given first, one in each step.

    A prompt with the word "long" is refused; one with "crash" is the end of it.
    """

    loaded: "list[LLM]"

    def __init__(self, model: str, **arguments: Any) -> None:
        if model == "missing":
            raise OSError("missing is not a local folder and is not a valid model identifier")
        self.arguments = arguments
        self.parameters: list[Any] = []
        self.threads: set[int] = set()
        self.waiting: dict[str, SimpleNamespace] = {}
        self.had: list[int] = []
        self.down = threading.Event()
        core = SimpleNamespace(shutdown=self.down.set)
        self.llm_engine = SimpleNamespace(engine_core=core, step=self.step)
        LLM.loaded.append(self)

    def get_default_sampling_params(self) -> Parameters:
        return Parameters(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0, repetition_penalty=1.0)

    def enqueue_chat(self, messages: list[Any], parameters: list[Any], **options: Any) -> list[str]:
        self.threads.add(threading.get_ident())
        (conversation,), (drawn,) = messages, parameters
        text = conversation[-1]["content"]
        if "long" in text:
            raise Refused("The prompt has 9000 tokens, more than 8192")
        number = str(len(self.parameters))
        self.parameters.append(drawn)
        said = [_said(text, i) for i in range(drawn.n)]
        self.waiting[number] = SimpleNamespace(
            request_id=number, finished=True, outputs=said, prompt_token_ids=[1, 2, 3], num_cached_tokens=2
        )
        return [f"{number}-1a2b3c4d"]

    def step(self) -> list[Any]:
        self.threads.add(threading.get_ident())
        assert self.waiting, "vLLM would wait for ever"
        self.had.append(len(self.waiting))
        _, last = self.waiting.popitem()
        if "crash" in last.outputs[0].text:
            raise RuntimeError("CUDA out of memory")
        return [SimpleNamespace(request_id="0", finished=False), last]


def _said(question: str, number: int) -> SimpleNamespace:
    """An answer; the second one of several is cut off."""
    text = f"About {question}" + f" ({number})" * (number > 0)
    return SimpleNamespace(text=text, finish_reason="length" if number == 1 else "stop", token_ids=[1, 2])


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    LLM.loaded = []
    module, parameters, exceptions = map(ModuleType, ("vllm", "vllm.sampling_params", "vllm.exceptions"))
    module.LLM, module.SamplingParams, module.exceptions = LLM, Parameters, exceptions
    exceptions.VLLMClientError = Refused
    parameters.StructuredOutputsParams = Parameters
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", parameters)
    return LLM


def ask(engine: VLLMEngine, asked: Iterable[Request]) -> list[Answer]:
    async def main() -> list[Answer]:
        try:
            return [answer async for answer in engine.answers(asked)]
        finally:
            await engine.close()

    return asyncio.run(main())


def check(engine: VLLMEngine) -> None:
    async def main() -> None:
        try:
            await engine.check()
        finally:
            await engine.close()

    asyncio.run(main())


def test_without_vllm_the_check_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EngineError, match=r"pip install 'captioner\[vllm\]'"):
        check(VLLMEngine(VLLMSettings(model="m")))


def test_a_model_that_is_not_there_is_said_with_what_vllm_says(vllm):
    with pytest.raises(EngineError, match="cannot load missing: missing is not a local folder"):
        check(VLLMEngine(VLLMSettings(model="missing")))


def test_settings_reach_vllm_and_engine_args_have_the_last_word(vllm):
    settings = {
        "tensor_parallel_size": 2,
        "dtype": "bfloat16",
        "gpu_memory_utilization": 0.8,
        "max_model_len": 4096,
        "engine_args": {"enable_prefix_caching": False, "seed": 7},
    }
    check(engines.make({"name": "vllm", "model": "m"} | settings, small_schema()))
    assert vllm.loaded[0].arguments == {
        "tensor_parallel_size": 2,
        "dtype": "bfloat16",
        "gpu_memory_utilization": 0.8,
        "max_model_len": 4096,
        "enable_prefix_caching": False,
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        "seed": 7,
    }


def test_several_answers_are_drawn_at_once_and_those_that_are_whole_are_kept(vllm):
    (answer,) = ask(VLLMEngine(VLLMSettings(model="m")), requests(1, n=3))
    assert vllm.loaded[0].parameters[0].n == 3
    assert (answer.text or "").split(engines.SEPARATOR) == ["About Question 0", "About Question 0 (2)"]
    assert (answer.finish_reason, answer.prompt_tokens, answer.completion_tokens) == ("stop", 3, 6)


def test_what_is_not_set_is_left_to_vllm(vllm):
    check(VLLMEngine(VLLMSettings(model="m")))
    assert {"gpu_memory_utilization", "max_model_len"}.isdisjoint(vllm.loaded[0].arguments)


def test_each_answer_belongs_to_its_request_and_the_model_is_loaded_once(vllm):
    answers = ask(VLLMEngine(VLLMSettings(model="m", chunk=4)), requests(10))
    assert sorted((a.key, a.text, a.error) for a in answers) == [
        (f"k{i}", f"About Question {i}", None) for i in range(10)
    ]
    assert (answers[0].prompt_tokens, answers[0].completion_tokens, answers[0].model) == (3, 2, "m")
    assert answers[0].cached_tokens == 2
    (llm,) = vllm.loaded
    assert llm.down.is_set()


def test_vllm_has_as_much_to_do_as_it_may_until_there_is_no_more(vllm):
    ask(VLLMEngine(VLLMSettings(model="m", chunk=4)), requests(10))
    assert vllm.loaded[0].had == [4] * 7 + [3, 2, 1]


def test_the_model_lives_in_one_thread_that_is_not_the_one_that_stores_answers(vllm):
    ask(VLLMEngine(VLLMSettings(model="m", chunk=2)), requests(6))
    (thread,) = vllm.loaded[0].threads
    assert thread != threading.get_ident()


def test_requests_are_taken_in_the_thread_of_the_consumer_and_none_before_there_is_room(vllm):
    taken: list[int] = []

    def watched() -> Iterator[Request]:
        for i, request in enumerate(requests(8)):
            assert threading.current_thread() is threading.main_thread()
            taken.append(i)
            yield request

    async def main() -> list[int]:
        engine, ahead = VLLMEngine(VLLMSettings(model="m", chunk=2)), []
        count = 0
        async for _ in engine.answers(watched()):
            count += 1
            ahead.append(len(taken) - count)
        await engine.close()
        return ahead

    assert asyncio.run(main()) == [1, 1, 1, 1, 1, 1, 1, 0]


def test_what_is_not_set_is_drawn_as_the_model_s_makers_recommend(vllm):
    ask(VLLMEngine(VLLMSettings(model="m")), [*requests(1), *requests(1, temperature=0.0, max_tokens=9, seed=5)])
    open_, given = vllm.loaded[0].parameters
    assert (open_.temperature, open_.top_p, open_.top_k, open_.max_tokens) == (0.6, 0.95, 20, None)
    assert (given.temperature, given.top_p, given.seed, given.max_tokens) == (0.0, 0.95, 5, 9)
    assert given.structured_outputs.json == {"type": "object"}


def test_a_prompt_that_is_too_long_fails_alone_and_the_others_are_answered(vllm):
    asked = list(requests(20))
    for i in (0, 7, 8, 19):
        asked[i] = Request(f"k{i}", (Message("user", "long"),), TRIPLET, 3)
    answers = ask(VLLMEngine(VLLMSettings(model="m", chunk=16)), asked)
    assert {a.key for a in answers} == {r.key for r in asked}
    errors = {a.key: a.error or "" for a in answers if a.error}
    assert sorted(errors) == ["k0", "k19", "k7", "k8"]
    assert "9000 tokens" in errors["k0"]


def test_an_engine_that_dies_stops_the_run_and_answers_before_it_are_kept(vllm):
    asked = [*requests(4), Request("bad", (Message("user", "crash"),), TRIPLET, 3)]
    kept = []

    async def main() -> None:
        engine = VLLMEngine(VLLMSettings(model="m", chunk=2))
        try:
            async for answer in engine.answers(asked):
                kept.append(answer.key)  # noqa: PERF401 - what came before the failure counts
        finally:
            await engine.close()

    with pytest.raises(EngineError, match="vLLM gave up: CUDA out of memory"):
        asyncio.run(main())
    assert kept == ["k1", "k2", "k3"]


def test_a_setting_that_does_not_exist_is_refused():
    with pytest.raises(PipelineError, match=r"Did you mean 'tensor_parallel_size'"):
        engines.make({"name": "vllm", "model": "m", "tensor_parallel": 2}, small_schema())
