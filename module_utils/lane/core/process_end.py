"""How processes end: with their parent, and by a signal (prctl(2), signal(7))."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
from collections.abc import Callable
from types import FrameType

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LIBC = ctypes.CDLL(None)
Handler = Callable[[int, "FrameType | None"], object]


def with_parent() -> None:
    """Have the kernel kill this process when its parent ends, for whatever reason."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def forks_with_this_process() -> None:
    """Have the kernel kill every later fork of this process, such as Ansible's workers, when this process is killed
    (docs/no-trace.md). Otherwise a worker would finish its module.
    """
    forking: dict[str, int] = {}

    def in_child() -> None:
        with_parent()
        if os.getppid() != forking["parent"]:  # it was killed before that call
            os._exit(1)

    os.register_at_fork(before=lambda: forking.update(parent=os.getpid()), after_in_child=in_child)


def by_signal(last: Callable[[], None]) -> None:
    """Have SIGINT and SIGTERM end this process at any moment, after its present handler and `last` have run.

    Ansible's handler passes the signal on to its workers. For SIGTERM it then kills its own process, so it is given
    SIGINT instead, for which it raises KeyboardInterrupt. In the middle of a fork Python swallows that, and the run
    would go on. While one worker replaces another, and in a fork that has no handlers of its own yet, the handler fails
    with a traceback. Such a fork is simply ended.
    """
    pid = os.getpid()

    def end(handler: Handler, number: int, frame: FrameType | None) -> None:
        if os.getpid() == pid:
            with contextlib.suppress(BaseException):
                handler(signal.SIGINT, frame)
            last()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(handler := signal.getsignal(number)):
            signal.signal(number, functools.partial(end, handler))
