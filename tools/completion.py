"""`./lane completion`: what a shell has to read to complete ./lane."""

from __future__ import annotations

import argparse

from argcomplete.shell_integration import shellcode


def main(asked: argparse.Namespace) -> None:
    """Entry point."""
    print(shellcode(["lane", "./lane"], shell=asked.shell))
