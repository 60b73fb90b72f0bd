"""The program: what ``captioner`` and ``python -m captioner`` start.

Ctrl-C ends it quietly at any moment, with exit code 130. A command is told by KeyboardInterrupt and ends what it has begun;
while modules are still being loaded, and once the command is done, nothing is open, and the program ends at once.
"""

import os
import sys

try:
    import signal
except KeyboardInterrupt:
    os._exit(130)


def main() -> None:
    """Run the command line until it ends or is stopped."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # nohup, or a job in the background: not told
        _command()
        return
    signal.signal(signal.SIGINT, _end)
    sys.unraisablehook = _once_more
    try:
        _command()
    except KeyboardInterrupt:
        _end()


def _command() -> None:
    from captioner.cli import main as command

    told = signal.getsignal(signal.SIGINT) is _end
    try:
        if told:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        command()
    finally:
        if told:
            signal.signal(signal.SIGINT, _end)


def _end(*_: object) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, RuntimeError, ValueError, AttributeError):  # unread, being written to, closed, never there
            continue
    os._exit(128 + signal.SIGINT)  # as shells count


def _once_more(what: "sys.UnraisableHookArgs") -> None:
    """Ctrl-C came where Python can raise nothing, as while it forgets an object: it comes again a moment later."""
    if what.exc_type is KeyboardInterrupt:
        import threading

        threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,), daemon=True).start()
    else:
        sys.__unraisablehook__(what)


if __name__ == "__main__":
    main()
