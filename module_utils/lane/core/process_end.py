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
    """Have the kernel kill this process when its parent ends, however that ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def forks_with_this_process() -> None:
    """From now on have the kernel kill Ansible's workers, which are forks, when this process is killed
    (docs/no-trace.md). Otherwise a worker would finish its module.
    """
    forking: dict[str, int] = {}

    def in_child() -> None:
        with_parent()
        if os.getppid() != forking["parent"]:  # it was killed before that call
            os._exit(1)

    os.register_at_fork(before=lambda: forking.update(parent=os.getpid()), after_in_child=in_child)


def by_signal(last: Callable[[], None]) -> None:
    """From now on end this process by SIGINT or SIGTERM itself, whatever it is doing, after its handler of now and
    `last`.

    Those of Ansible pass the signal on to its workers, and raise KeyboardInterrupt. Python swallows that in the middle
    of a fork, and the run would go on. They also fail, with a traceback, while one worker takes the place of another,
    and in a fork that has no handlers of its own yet: such a fork is just ended.
    """
    pid = os.getpid()

    def end(handler: Handler, number: int, frame: FrameType | None) -> None:
        if os.getpid() == pid:
            with contextlib.suppress(BaseException):
                handler(number, frame)
            last()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if callable(handler := signal.getsignal(number)):
            signal.signal(number, functools.partial(end, handler))
