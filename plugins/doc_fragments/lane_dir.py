# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """The directory of a lane."""

    DOCUMENTATION = r"""
options:
  lane_dir:
    description: The lane's private directory, made by M(lane_run). Results are handed over in it; logs are in C(logs).
    type: path
    required: true
"""
