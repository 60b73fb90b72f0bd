"""Ctrl-C ends the program quietly, with exit code 130, at whatever moment it comes."""

import subprocess
import sys

import pytest

from captioner.cli import main
from tests.conftest import REPOSITORY

PROGRAM = """
import itertools, os, signal, sys

last, calls = int(sys.argv.pop(1)), itertools.count(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where whoever runs the tests has it ignored

def count(frame, event, argument):
    if event in ("call", "c_call") and next(calls) == last:
        os.kill(os.getpid(), signal.SIGINT)

from captioner.__main__ import main
sys.setprofile(count)
try:
    main()
finally:
    sys.setprofile(None)
    os.write(2, b"%d" % next(calls))
"""


def start(last, *arguments):
    """Run a command that is stopped when it comes to the function call of that number."""
    command = [sys.executable, "-c", PROGRAM, str(last), *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--version", "prompt show demo --labels cxr_effusion"])
def test_ctrl_c_at_any_moment_leaves_nothing_but_the_exit_code(command):
    undisturbed = start(0, *command.split())
    assert undisturbed.returncode == 0
    calls = int(undisturbed.stderr)
    for moment in [calls * part // 6 for part in range(1, 6)] + [calls - 1_000, calls - 20]:
        done = start(moment, *command.split())
        assert "Traceback" not in done.stderr
        if done.returncode == 0:  # how often a library calls something differs a little
            assert done.stdout == undisturbed.stdout
        else:
            assert done.returncode == 130, (moment, done.stderr)
            assert done.stderr.count("\n") <= 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("demo --out there", "stopped. What is finished is kept: start the same command again to go on."),
        ("plan demo --data there", "stopped."),
    ],
)
def test_a_command_that_is_stopped_says_whether_it_can_be_gone_on_with(call, says, tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("captioner.cli.labelled.prepare", stop)
    monkeypatch.setattr(sys, "argv", ["captioner", *call.split()])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == says
