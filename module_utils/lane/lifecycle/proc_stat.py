"""The parser of /proc/PID/stat (proc(5)), apart from proc.py because the waiting keeper has room for few imports."""

from __future__ import annotations


def read(pid: int) -> tuple[str, list[str]] | None:
    """(the process's name, the fields behind it: state, parent, group, ...), or None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    head, _, tail = text.rpartition(")")
    return head.partition("(")[2], tail.split()


def start_time(fields: list[str]) -> int:
    """In clock ticks since boot."""
    return int(fields[19])
