"""Every error code of the lane: what it means, and what to do. Codes are stable: tests and tools compare them, never the words.

docs/errors.md is made from this table (tests/lint/errors.py). A code is added where its area is, and never used for two different things.
"""

from __future__ import annotations

#: code -> (what it means, what to do), each a sentence.
CODES: dict[str, tuple[str, str]] = {
    "unclassified": ("A failure that has no code of its own yet.", "Read the cause."),
    # --- core: commands, files, HTTP ---
    "lane_busy": ("Another command of this user is starting or stopping the same lane, and does not finish.", "Wait for that command, or end it."),
    "lane_dir_foreign": (
        "lane_dir exists and is not this lane's: another user's, a link, open to others, of another lane, or with other files in it.",
        "Set lane_dir to another path, or remove what is there.",
    ),
    "no_lock_directory": ("There is no directory for lock files that only this user can enter.", "Set XDG_RUNTIME_DIR to a directory of this user."),
    "run_file_broken": ("run.json in lane_dir cannot be read.", "Stop the lane with ./lane down and start it again."),
    # --- lifecycle: claim, keeper, teardown ---
    "aborted": ("The run was killed; its keeper took the lane down.", "Find out what killed it, and start it again."),
    "ansible_ended": ("ansible-playbook ended before it ran a task.", "Read its output, which is shown above."),
    "artifacts_dir_foreign": ("lane_artifacts_dir holds files that no lane made.", "Set lane_artifacts_dir to an empty or a new directory."),
    "bad_input": (
        "A variable has a value that the lane cannot work with, or a name that nothing knows.",
        "Correct the variable; docs/variables.md has them all.",
    ),
    "keeper_failed": ("The process that takes a killed lane down could not be started.", "Read docs/no-trace.md; the machine may be short of processes."),
    "lane_elsewhere": ("The lane of this number runs in another directory than lane_dir.", "Give the same lane_dir as when it was started."),
    "lane_not_running": ("The command needs a lane that is running, and there is none.", "Start it with ./lane up."),
    "lane_running": ("The lane is already running.", "Stop it with ./lane down, or use another lane_id."),
    "no_loopback": ("Programs cannot reach each other on 127.0.0.1.", "Bring the loopback interface up."),
    "no_terminal": ("An option asks questions, and there is no terminal to ask on.", "Run it on a terminal, or without that option."),
    "no_such_tag": ("A tag on the command line belongs to no task.", "Use one of the tags that the message names."),
    "not_clean": ("Something of the lane was still there after teardown.", "End or remove what the message names."),
    "not_writable": ("A directory of the lane cannot be made or written.", "Set lane_dir and lane_artifacts_dir to paths that can be written."),
    "nothing_to_do": ("The options on the command line leave no task to run.", "Run it without --limit and --start-at-task, and check the inventory."),
    "other_ports": ("The lane was started with other ports than this command has.", "Use the same values, or stop the lane first."),
    "owner_gone": ("The command that this task belongs to has ended.", "Start the run again."),
    "no_logs": ("There are no logs to show: the lane is not running and left none, or there is no such part.", "Use one of the parts in the message."),
    "port_taken": ("A port of the lane is in use.", "End the program that the message names, or use another lane_id."),
    "program_not_running": ("A program of the lane does not run.", "See ./lane status and ./lane logs."),
    "several_hosts": ("The play has several hosts, and a command runs one lane.", "Add --limit HOST, and run one command for each host."),
    "skips_needed": ("An option on the command line skips tasks that the others need.", "Select what to run with --tags."),
    "socket_path_too_long": ("The path of a unix socket would be longer than the system allows.", "Set a shorter lane_dir."),
    # --- programs: start, readiness, loss ---
    # --- prepare: accelerator, firmware, packages, environments, sources, database ---
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
    # --- protocols: control socket, monitor, SPICE link, REST API, counters ---
    # --- checks and suites ---
    # --- evidence: result, report, secrets ---
}
