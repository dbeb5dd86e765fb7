"""Every error code of the lane: what it means, and what to do. Codes are stable: tests and tools compare them, never the words.

docs/errors.md is made from this table (tests/lint/errors.py). A code is added where its area is, and never used for two different things.
"""

from __future__ import annotations

#: code -> (what it means, what to do), each a sentence.
CODES: dict[str, tuple[str, str]] = {
    "unclassified": ("A failure that has no code of its own yet.", "Read the cause."),
    # --- core: commands, files, HTTP ---
    "disk_full": ("A disk, or the quota on it, is full.", "Free some space in the folder that the cause names, or use another folder."),
    "internal_error": ("A module of the lane has a bug.", "Run it again with -vvv and report the traceback."),
    "system_refused": ("The system refused a file operation of the lane.", "Read the system's reason and the path in the cause."),
    "command_not_started": ("A program that the lane runs for a moment could not be started.", "Check that it is installed and executable."),
    "command_timeout": ("A program that the lane runs for a moment did not end in time and was killed.", "Read its log, or allow it more time."),
    # --- lifecycle: claim, keeper, teardown ---
    # --- programs: start, readiness, loss ---
    # --- prepare: accelerator, firmware, packages, environments, sources, database ---
    "apt_failed": ("apt could not install a package that the lane needs.", "Read apt's reason in the message, or install the packages by hand."),
    "apt_locked": ("Another package manager held apt's lock for longer than deps_lock_limit.", "Wait for it to end, then run the lane again."),
    "apt_not_root": ("Packages are missing, and the lane may not become root to install them.", "Install them by hand with the command in the message."),
    "apt_unreachable": (
        "apt could not reach its package sources: no route, no name resolution, or a proxy or server that refuses.",
        "Check the machine's network, name resolution, proxy and apt sources.",
    ),
    "database_cache_changed": (
        "A file of the database that was just put into the cache is missing or has another size.",
        "Look for something else that writes into the cache, then run the lane again.",
    ),
    "database_no_server": ("None of the programs that make the database is its server.", "Name one of them database_made (roles/kerbside/vars)."),
    "database_not_closed": ("MariaDB ended with an error after it had made the new database.", "Read its log, which the message names."),
    "database_not_copied": ("The database could not be copied from the cache into the lane's directory.", "Make room on that disk."),
    "database_query_failed": ("The running database did not answer the lane's query.", "Read logs/database.log."),
    "database_schema_old": (
        "The running database does not have the newest schema of the installed kerbside.",
        "Take the lane down and start it again. If the database came from the cache, it was removed there, and a new one will be made.",
    ),
    "database_schema_unknown": (
        "The installed kerbside has no migrations where the lane looks for them, so its newest schema is not known.",
        "Check kerbside_package; if kerbside keeps its migrations elsewhere now, adapt newest_revisions in module_utils/lane/prepare/database.py.",
    ),
    "firmware_mismatch": ("OVMF's CODE and VARS are not of one size family, or one is truncated.", "Reinstall the package that owns them."),
    "firmware_unreadable": ("A file of OVMF cannot be read.", "Install OVMF, or name another file."),
    "host_limit": ("A limit of this machine or session is too low for any lane.", "Raise the limit that the message names."),
    "kvm_not_probed": ("KVM has to be probed, but qemu or OVMF is not installed.", "Run the role deps, which installs them."),
    "kvm_probe_no_cpu": ("kvm_probe_cpus is empty.", "Name at least one CPU model of qemu."),
    "kvm_unusable": (
        "kvm_probe_policy is require, and KVM cannot run the lane's firmware.",
        "Follow the advice in the message, or use kvm_probe_policy=auto (docs/accelerator.md).",
    ),
    "mariadb_version_unknown": ("mariadbd does not report its version.", "Run mariadbd --version by hand; reinstall the package if it fails."),
    "packages_incomplete": ("The packages were installed by apt, but something that the lane needs is still missing.", "Read what is missing in the message."),
    "packages_table_wrong": ("The table of packages has no package for a need, or names an unknown need.", "Correct roles/deps/vars/main.yml."),
    "packages_unknown_release": ("Something is missing on a distribution that is not in the table of packages.", "Install it by hand (docs/packages.md)."),
    "qemu_probe_failed": ("This machine could not start qemu with SPICE, an agent port and OVMF.", "Read logs/qemu_probe.log."),
    "qemu_without_spice": ("The qemu of this machine starts, but without a working SPICE server or agent port.", "Install qemu's SPICE modules."),
    # --- protocols: control socket, monitor, SPICE link, REST API, counters ---
    # --- checks and suites ---
    # --- evidence: result, report, secrets ---
    "check_failed": ("A check failed, and no task of the playbook did.", "Read the check's detail in result.json."),
    "checks_not_run": ("A planned check has no result of this command.", "Run the smoke check in the command that is to judge: ./lane smoke."),
    "no_result": ("There is no result.json that a report could be made of.", "Run the lane, or name the folder with a run's artifacts."),
    "report_failed": ("No report.html could be made of result.json.", "Read result.json, and report the reason in the message."),
    "secret_in_artifacts": ("A file that the lane itself writes holds a secret of the run.", "Report it; the file is withheld."),
    "secret_in_log": ("A product wrote a secret of the run to its log.", "Report it to the product; the log is withheld from the artifacts."),
    "secret_unsearched": ("A compressed file could not be searched for secrets.", "Keep compressed files out of the lane's logs."),
    "task_failed": ("A task of Ansible's own modules failed.", "Read the module's message in the cause."),
}
