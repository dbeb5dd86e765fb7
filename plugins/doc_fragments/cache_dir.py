# Copyright: the kerbside lane's authors
# Apache License 2.0 (see LICENSE)

from __future__ import annotations


class ModuleDocFragment:
    """The cache that lanes share."""

    DOCUMENTATION = r"""
options:
  cache_dir:
    description: The lane's cache.
    type: path
    required: true
"""
