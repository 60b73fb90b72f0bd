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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


_STOPPED = 128 + signal.SIGINT
"""The exit code, as shells count."""


def main() -> None:
    """Run the command line until it ends or is stopped."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # nohup, or a job in the background: not told
        from captioner.cli import main as command

        command()
        return
    signal.signal(signal.SIGINT, _end)
    sys.unraisablehook = _once_more
    heard, told = os.pipe()
    for descriptor in (heard, told):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def stopped() -> bool:
        try:
            return bool(os.read(heard, 1))
        except BlockingIOError:
            return False

    try:
        _command(stopped)
    except KeyboardInterrupt:
        _end()
    except SystemExit as end:
        if end.code == _STOPPED:
            _end()  # a library that was stopped while it was being loaded may never come to its end
        raise


def _command(stopped: "Callable[[], bool]") -> None:
    from captioner.cli import main as command

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        command(stopped)
    finally:
        signal.signal(signal.SIGINT, _end)


def _end(*_: object) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
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
