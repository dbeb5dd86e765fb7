"""What a person types: the verbs of ./lane. They use the lane's own code under the name that Ansible gives it."""

from __future__ import annotations

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).parents[1] / "module_utils"))
