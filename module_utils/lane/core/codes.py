"""Every error code of the lane: what it means, and what to do. Codes are stable: tests and tools compare them, never the words.

docs/errors.md is made from this table (tests/lint/errors.py). A code is added where its area is, and never used for two different things.
"""

from __future__ import annotations

#: code -> (what it means, what to do), each a sentence.
CODES: dict[str, tuple[str, str]] = {
    "unclassified": ("A failure that has no code of its own yet.", "Read the cause."),
    # --- core: commands, files, HTTP ---
    # --- lifecycle: claim, keeper, teardown ---
    # --- programs: start, readiness, loss ---
    # --- prepare: accelerator, firmware, packages, environments, sources, database ---
    # --- protocols: control socket, monitor, SPICE link, REST API, counters ---
    # --- checks and suites ---
    # --- evidence: result, report, secrets ---
}
