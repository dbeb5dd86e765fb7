"""Runs pytest in a fork for each line of stdin, a JSON list of its arguments, and prints its exit status; -1 when it
takes too long.

The imports that each run needs are made once; those of the lane itself are left to the fork. argv: the limit in
seconds.
"""

import json
import os
import signal
import sys
import time

import ansible.module_utils.basic
import cryptography.x509
import google_crc32c
import PIL.Image
import pytest
import yaml
import zxingcpp

LIMIT = float(sys.argv[1])
PRELOADED = (ansible.module_utils.basic, cryptography.x509, google_crc32c, PIL.Image, yaml, zxingcpp)


def serve(arguments: list[str]) -> int:
    """Exit status of one run."""
    if not (child := os.fork()):
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(null, stream)
        os._exit(pytest.main(arguments))
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


for line in sys.stdin:
    print(serve(json.loads(line)), flush=True)
