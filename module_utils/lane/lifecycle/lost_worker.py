"""ansible-playbook after one of its workers was killed: its strategies free and host_pinned, which several lanes need,
wait for it for ever; linear only if the worker was handing in a result, because then nobody else can.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable

from . import proc

#: What ends an ansible-playbook that lost a worker; tools/play.py tells it from other ends.
SIGNAL = signal.SIGUSR2
#: Seconds without a live worker after which one is lost. Between two tasks there is none for milliseconds, or for
#: seconds on a very busy machine.
LIMIT = 10


def watch(waiting: Callable[[], bool], last: Callable[[], object]) -> None:
    """End this process by SIGNAL, after `last` was called, when it has no live child for LIMIT seconds although it is
    `waiting` for some. Uses the timer of SIGALRM, which forks do not inherit.
    """
    idle = 0

    def look(*_: object) -> None:
        nonlocal idle
        me = os.getpid()
        alone = waiting() and not any(one.parent == me and one.alive for one in proc.everyone())
        idle = idle + 1 if alone else 0
        if idle >= LIMIT:
            last()
            os.kill(me, SIGNAL)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # or it fires when Python has no handlers any more
