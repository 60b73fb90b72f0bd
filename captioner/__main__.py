"""The program: what ``captioner`` and ``python -m captioner`` start.

Ctrl-C ends it quietly at any moment, with exit code 130. A command is told by KeyboardInterrupt and ends what it has begun;
while a module is being loaded, and once the command is done, the program ends at once.
"""

import os
import sys

try:
    import signal
except KeyboardInterrupt:
    os._exit(130)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_STOPPED = 128 + signal.SIGINT
"""The exit code, as shells count."""


def main() -> None:
    """Run the command line until it ends or is stopped."""
    told = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not under nohup, or in the background
    if told:
        signal.signal(signal.SIGINT, _end)
        sys.unraisablehook = _once_more
    try:
        _command(told=told)
    except KeyboardInterrupt:
        _end()
    except SystemExit as end:
        if end.code == _STOPPED:
            _end()
        raise


def _command(*, told: bool) -> None:
    from captioner.cli import main as command

    try:
        if told:
            signal.signal(signal.SIGINT, _tell)
        command()
    finally:
        if told:
            signal.signal(signal.SIGINT, _end)


def _tell(_: int, frame: "FrameType | None") -> None:
    """A module that is stopped while it is being loaded may leave Python waiting for it, or say that it cannot be loaded."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _end()
        frame = frame.f_back
    raise KeyboardInterrupt


def _end(*_: object) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream.isatty():
                stream.write("\x1b[?25h")  # a progress bar hides the cursor
            stream.flush()
        except (OSError, RuntimeError, ValueError, AttributeError):  # unread, being written to, closed, never there
            continue
    os._exit(_STOPPED)


def _once_more(what: "sys.UnraisableHookArgs") -> None:
    """Ctrl-C came where Python can raise nothing, as while it forgets an object: it comes again a moment later."""
    if what.exc_type is KeyboardInterrupt:
        import threading

        threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,), daemon=True).start()
    else:
        sys.__unraisablehook__(what)


if __name__ == "__main__":
    main()
