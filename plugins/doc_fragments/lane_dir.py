# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """The directory of a lane."""

    DOCUMENTATION = r"""
options:
  lane_dir:
    description: The lane's private directory, made by M(lane_run). What a module finds out is handed over in it, and logs
      are in its C(logs).
    type: path
    required: true
"""
