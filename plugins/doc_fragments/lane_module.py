# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """What is the same for every module of the lane; a module's own words come before it."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    support: full
    description: Reports what it would do; starts and changes nothing.
  idempotent:
    support: full
    description: A second run changes nothing.
  diff_mode:
    support: none
    description: There is no text to compare.
notes:
  - Where it returns C(lane_note), that is the result in a few words, for the terminal.
  - When it fails, it returns C(lane_failure) with component, check, code, cause and evidence, as in C(result.json).
author:
  - the kerbside lane's authors
"""
