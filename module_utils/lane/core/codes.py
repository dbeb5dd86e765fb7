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
    "invalid_program": ("The description of a program is incomplete or contradicts itself.", "Correct the role that starts it."),
    "out_of_memory": (
        "The kernel killed a program because the machine or its cgroup had no memory left.",
        "Give the machine or the cgroup more memory, or run fewer lanes at once.",
    ),
    "port_taken": ("Another process listens on a port of the lane.", "Stop that process or use another lane_id."),
    "process_unkillable": ("A process did not end after SIGKILL.", "See ps -eo pid,pgid,stat,args; it may wait for a disk or a network file system."),
    "program_broken": ("A program still runs, but what it wrote shows that it does not work any more.", "Run its role again, which restarts it."),
    "program_ended": ("A program of the lane ended although it has to go on running, or failed.", "Read the end of its log."),
    "program_missing": ("A program that is to be started is not an executable file.", "Install it, or correct the variable with its path."),
    "program_not_ready": ("A program did not become ready within its limit.", "Read its log; on a slow or busy machine raise lane_start_limit."),
    "program_stopped": ("A program of the lane is stopped by a signal or a debugger.", "Continue it (kill -CONT) or run its role again."),
    "secret_missing": ("A secret that a program needs cannot be read, or its file cannot be written.", "Run the role that makes it first."),
    # --- prepare: accelerator, firmware, packages, environments, sources, database ---
    "apt_failed": (
        "The package manager apt could not install a package that the lane needs.",
        "Read apt's reason in the message, or install the packages by hand.",
    ),
    "apt_locked": ("Another package manager held apt's lock for longer than deps_lock_limit.", "Wait for it to end, then run the lane again."),
    "apt_not_root": ("Packages are missing, and the lane may not become root to install them.", "Install them by hand with the command in the message."),
    "apt_unreachable": (
        "The package manager apt could not reach its package sources: no route, no name resolution, or a proxy or server that refuses.",
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
    "kvm_probe_no_cpu": ("The list kvm_probe_cpus is empty.", "Name at least one CPU model of qemu."),
    "kvm_unusable": (
        "The policy kvm_probe_policy is require, and KVM cannot run the lane's firmware.",
        "Follow the advice in the message, or use kvm_probe_policy=auto (docs/accelerator.md).",
    ),
    "mariadb_version_unknown": ("The program mariadbd does not report its version.", "Run mariadbd --version by hand; reinstall the package if it fails."),
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
    # --- evidence: diagnosis ---
    "agent_late": ("The guest opened the agent's port only after the limit.", "Raise lane_agent_limit if the machine is slow, or see why the guest is."),
    "agent_not_seen": ("The client ryll does not see the guest's agent although the guest has its port open.", "Read ryll.log."),
    "agent_port_closed": ("The guest has not opened the port of the SPICE agent.", "Read serial.log for what the guest does."),
    "api_workers_die": ("The workers of kerbside's API are killed one after another.", "Read api.log and the kernel's log."),
    "certificate_refused": ("The client ryll refuses the proxy's certificate.", "Run the role tls again, or correct the certificate that was given."),
    "channel_denied": ("The firewall policy of kerbside denies a SPICE channel.", "Change KERBSIDE_FIREWALL_PERMITTED_CHANNELS."),
    "console_taken": ("Another client connected to the console and ended ryll's session.", "Use no other client while a lane is checked."),
    "console_token_denied": ("The token in console.vv is denied by kerbside.", "Run the smoke check again with a fresh console.vv."),
    "database_denies": ("The database denies a statement of kerbside's user.", "Correct the grants of that user."),
    "firmware_silent": ("The firmware wrote nothing to the serial port.", "Check the firmware that was given (sextant_vm_firmware_code)."),
    "guest_ended": ("The guest switched itself off or reset the machine.", "Read serial.log for what it did before."),
    "guest_exception": ("The guest's program died of an exception of the processor.", "Read serial.log, which has the registers."),
    "guest_not_running": ("The guest's processor does not run although qemu does.", "Read serial.log, and qemu.log when QMP says internal-error."),
    "memory_refused": ("The machine did not give a program the memory that it asked for.", "Free memory, raise ulimit -v, or lower sextant_vm_memory."),
    "never_started": ("A program that the check needs was never started in this lane.", "Run ./lane up."),
    "no_display": ("The guest has no display device in qemu.", "Correct sextant_vm_vga."),
    "nothing_to_boot": ("The firmware found nothing to start on the guest's disk.", "Check the guest's image."),
    "one_colour_screen": ("The screen has one colour in qemu and in ryll.", "Read serial.log for what the guest does."),
    "picture_differs": ("The picture that ryll shows is not the one that qemu draws.", "Compare screenshot.png with screendump.png."),
    "proxy_bypassed": ("The client ryll is connected to qemu directly and not to the proxy.", "See where console.vv leads (handover/console.json)."),
    "proxy_certificate_refused": ("The proxy refuses its certificate or key.", "Run the role tls again, or correct the files that were given."),
    "proxy_ended": ("The proxy ended.", "Read daemon.log, which has the proxy's lines too."),
    "proxy_incompatible": ("The proxy does not fit kerbside's version.", "Install the two from the same version."),
    "serial_not_written": ("The serial log was not written although the guest runs.", "Check lane_serial_log and the disk that it is on."),
    "spice_connection_failed": ("The proxy's connection to qemu's SPICE server failed.", "Read the quoted words of daemon.log."),
    "spice_unreachable": ("Nothing listens where kerbside-proxy connects to.", "Compare sources.yaml with qemu's SPICE port."),
    "ticket_refused": ("The SPICE ticket that kerbside sent was refused by qemu.", "Run the role kerbside again: it writes the ticket into sources.yaml."),
    "too_many_files": ("A program reached the limit of open files.", "Raise ulimit -n."),
    "too_many_processes": ("A program could not start a process or a thread.", "Raise pids.max of the cgroup, or ulimit -u."),
}
