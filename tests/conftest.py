"""Makes the checkout's Python importable in the way Ansible imports it: `from ansible.module_utils.lane import x`."""

from pathlib import Path

import ansible.module_utils

ansible.module_utils.__path__.append(str(Path(__file__).parents[1] / "module_utils"))
