# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """What is the same for every module of the lane; a module's own words come before it."""

    DOCUMENTATION = r"""
attributes:
  diff_mode:
    support: none
    description: There is no text to compare.
notes:
  - When it fails, it returns C(lane_failure) with component, check, code, cause and evidence, as in C(result.json).
author:
  - the kerbside lane's authors
"""
