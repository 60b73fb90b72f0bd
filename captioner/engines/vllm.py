"""vLLM inside this process: no server, no HTTP; needs a GPU that vLLM supports, and ``pip install 'captioner[vllm]'``."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from captioner.engines import SEPARATOR, Answer, Request
from captioner.engines.failures import scrub
from captioner.errors import EngineError

if TYPE_CHECKING:
    import vllm

_T = TypeVar("_T")


class VLLMSettings(BaseModel):
    """How the model is loaded, and how much of it is asked at once. ``None`` leaves a value to vLLM."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1, description="a model's name, or the path of its folder")
    tensor_parallel_size: int = Field(default=1, ge=1, description="GPUs that share the model")
    dtype: str = Field(default="auto", description="such as bfloat16")
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1, description="share of the GPU's memory")
    max_model_len: int | None = Field(default=None, ge=1, description="tokens of prompt and answer together")
    chunk: int = Field(default=2048, ge=1, description="requests that vLLM has at once")
    chat_template_kwargs: Mapping[str, Any] = Field(default={}, description="such as enable_thinking: false")
    engine_args: Mapping[str, Any] = Field(default={}, description="any other argument of vllm.LLM, as it is")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request in vLLM's queue, and since when."""

    request: Request
    begin: float


class VLLMEngine:
    """Answers requests with vLLM's own queue: as many are in it as the settings allow, and each that is finished makes room.

    vLLM generates in processes of its own, on and on, as long as its queue holds something. Handing over and fetching
    happen in one thread, so that finished answers are checked and stored meanwhile.
    """

    name = "vllm"

    def __init__(self, settings: VLLMSettings) -> None:
        self.settings = settings
        self.model = settings.model
        self._llm: vllm.LLM | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vllm")

    async def check(self) -> None:
        """Load the model.

        Raises:
            EngineError: vLLM is not installed, does not know a setting, or cannot load the model.
        """
        await self._in_thread(self._load)

    async def answers(self, requests: Iterable[Request]) -> AsyncGenerator[Answer, None]:
        """Yield one answer for each request as it comes; a request is taken when an answer has made room for it.

        Raises:
            EngineError: vLLM cannot go on.
        """
        remaining = iter(requests)
        asked: dict[str, _Asked] = {}
        while (new := tuple(islice(remaining, self.settings.chunk - len(asked)))) or asked:
            for answer in await self._in_thread(partial(self._advance, new, asked)):
                yield answer

    async def close(self) -> None:
        """Give the GPU back; what is being generated is given up."""
        llm, self._llm = self._llm, None
        if llm is not None:
            llm.llm_engine.engine_core.shutdown()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _load(self) -> "vllm.LLM":
        if self._llm is not None:
            return self._llm
        try:
            import vllm
        except ImportError as error:
            raise EngineError(
                f"vLLM cannot be imported ({error}). Install it with: pip install 'captioner[vllm]'; or start a server "
                "elsewhere and use engine.name=openai."
            ) from None
        settings = self.settings
        given = {
            "tensor_parallel_size": settings.tensor_parallel_size,
            "dtype": settings.dtype,
            "gpu_memory_utilization": settings.gpu_memory_utilization,
            "max_model_len": settings.max_model_len,
            # All prompts begin with the same system message: it is read once.
            "enable_prefix_caching": True,
            # xgrammar, the default, lets raw control characters into JSON strings (xgrammar issues 800 and 286).
            "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        }
        arguments = {name: value for name, value in given.items() if value is not None} | dict(settings.engine_args)
        try:
            self._llm = vllm.LLM(settings.model, **arguments)
        except Exception as error:  # whatever vLLM, torch or a driver raises
            raise EngineError(
                f"vLLM cannot load {settings.model}: {scrub(str(error)) or type(error).__name__}. "
                "What it logged above says more; its arguments are settings of engine.engine_args."
            ) from error
        return self._llm

    def _advance(self, new: Sequence[Request], asked: "dict[str, _Asked]") -> list[Answer]:
        """Hand requests over, and wait until something of what is asked is answered; one that is refused is, at once.

        Args:
            new: what is asked now.
            asked: what has been asked and not answered yet, by the numbers that vLLM gives; kept up to date here.
        """
        llm = self._load()
        default = llm.get_default_sampling_params()
        template = dict(self.settings.chat_template_kwargs) or None
        answers = []
        try:
            for request in new:
                messages: Any = [{"role": m.role, "content": m.content} for m in request.messages]
                begin = time.perf_counter()
                try:
                    (number,) = llm.enqueue_chat(
                        [messages], [_sampling(request, default)], use_tqdm=False, chat_template_kwargs=template
                    )
                except _refusals() as error:  # too long, or a schema that it does not know
                    answers.append(Answer(request.key, None, error=scrub(str(error)), refused=True))
                else:
                    # What comes back has the number without what is appended here to make it unique.
                    asked[number.partition("-")[0]] = _Asked(request, begin)
            while asked and not answers:
                outputs = [output for output in llm.llm_engine.step() if output.finished]
                answers += [self._answer(asked.pop(o.request_id), o) for o in outputs if o.request_id in asked]
        except Exception as error:  # its engine process died, or ran out of memory
            raise EngineError(
                f"vLLM gave up: {scrub(str(error)) or type(error).__name__}. Answers so far are kept: put it right, and "
                "start the same run again. Less memory is taken with engine.gpu_memory_utilization or engine.max_model_len."
            ) from error
        return answers

    def _answer(self, asked: "_Asked", output: "vllm.RequestOutput") -> Answer:
        whole = [o for o in output.outputs if o.text and o.finish_reason != "length"]
        said = (whole or output.outputs)[0]
        text = SEPARATOR.join(o.text for o in whole) or said.text
        silence = None if said.text else f"the answer is empty (finish_reason {said.finish_reason})"
        return Answer(
            key=asked.request.key,
            text=text or None,
            finish_reason=said.finish_reason,
            error=silence,
            prompt_tokens=len(output.prompt_token_ids or ()),
            completion_tokens=sum(len(o.token_ids) for o in output.outputs),
            seconds=time.perf_counter() - asked.begin,
            model=self.model,
            cached_tokens=output.num_cached_tokens or 0,
        )


def _refusals() -> tuple[type[Exception], ...]:
    """Return what vLLM raises when it is a request's fault; not every version makes that a ValueError."""
    from vllm import exceptions

    return ValueError, getattr(exceptions, "VLLMClientError", ValueError)


def _sampling(request: Request, default: "vllm.SamplingParams") -> "vllm.SamplingParams":
    """Return how to draw an answer; ``default`` is what the model's makers recommend, as ``vllm serve`` takes it too."""
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    sampling, schema = request.sampling, request.answer_schema
    return SamplingParams(
        n=sampling.n,
        temperature=default.temperature if sampling.temperature is None else sampling.temperature,
        top_p=default.top_p if sampling.top_p is None else sampling.top_p,
        top_k=default.top_k,
        min_p=default.min_p,
        repetition_penalty=default.repetition_penalty,
        seed=sampling.seed,
        max_tokens=sampling.max_tokens,  # None is as much as there is room for; left out, it would be 16
        structured_outputs=StructuredOutputsParams(json=schema) if schema is not None else None,
    )
