"""role_inputs: refuse a command that cannot work before its first role runs, and move the results of earlier commands
away.

    - name: Check the command and the inputs of all roles
      role_inputs:
        roles: [tls, kerbside] # which are the tags as well
        known: ../roles/lane/defaults/main.yml # the names that may be set, besides the roles' own
        variables: [] # those of the playbook itself, which begin alike
        lane_id: "{{ lane_id }}" # this and the rest only for a command that ends with a verdict
        lane_dir: "{{ lane_dir }}"
        artifacts_dir: "{{ lane_artifacts_dir }}"
        summary_dir: "{{ lane_summary_dir }}"

Ansible checks a role's inputs when it reaches the role, which is half-way through a lane. This applies the same rules
of the same meta/argument_specs.yml. It also refuses a variable of the command line or the inventory that nothing knows
although its name begins with lane_, on the command line also as a role's do, or is nearly a known one, a tag that no
task has, --skip-tags that leaves out what the rest needs, and two lanes that share a number or a directory. What is
wrong is one sentence, in result.json too. It needs no connection to the lane's machine. The fact lane_plan has the
smoke checks of the command, and lane_home of the result tells plugins/callback/lane.py where the evidence belongs on
this machine.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re

import ansible.module_utils
from ansible import constants as C
from ansible import template
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action.validate_argument_spec import ActionModule as ValidateArgumentSpec
from ansible.utils.vars import load_extra_vars

ansible.module_utils.__path__.extend(set(C.DEFAULT_MODULE_UTILS_PATH).difference(ansible.module_utils.__path__))
from ansible.module_utils.lane.core.errors import LaneError, one_line
from ansible.module_utils.lane.core.names import is_file, near, unknown_variables
from ansible.module_utils.lane.lifecycle import artifacts
from ansible.module_utils.lane.prepare import guests, origin

MAY_SKIP = {"teardown"}
PLACE = ("ansible_connection", "ansible_host", "ansible_port", "lane_id", "lane_dir", "lane_artifacts_dir")
#: The shared variables of which no role's specs say what they may be.
SHARED = {
    "lane_time_scale": {"type": "float"},
    "lane_slowness": {"type": "float"},
    "lane_heartbeat": {"type": "float"},
    "lane_port_base": {"type": "int"},
    "lane_fork_modules": {"type": "bool"},
    "lane_keep": {"type": "str", "choices": ["never", "on_failure"]},
    "lane_console_source": {"type": "str"},
    "lane_console_uuid": {"type": "str"},
}
#: What the directories may begin with: a relative one would be taken from another place by each program.
DIRECTORIES = {"lane_dir": "/", "lane_artifacts_dir": "/", "lane_cache_dir": ("/", "~")}
FROM_ZERO = ("lane_id", "_stop_limit", "_lock_limit", "lane_heartbeat")  #: how the names of numbers end that may be 0
PATTERNS = {
    "lane_console_source": r"[\w.-]+",
    "lane_console_uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}
as_template = getattr(template, "trust_as_template", str)  # before ansible-core 2.19 every text is one


class ActionModule(ValidateArgumentSpec):
    """Ansible's own check of a role's inputs, for many roles."""

    def run(self, tmp=None, task_vars=None):
        """Returns changed: false, or fails with msg, lane_failure and, when a result could be written, lane_verdict."""
        result = {**super(ValidateArgumentSpec, self).run(tmp, task_vars), "changed": False}
        given, run_tags = self._task.args, set(task_vars["ansible_run_tags"])
        judges = "artifacts_dir" in given and run_tags.difference(task_vars["ansible_skip_tags"]) != {"teardown"}
        plan = {"planned": [], "full": [], "plays": []}
        if judges:
            with contextlib.suppress(Exception):  # _check_guests says what is wrong with it
                plan.update(self._plan(task_vars))
            result["ansible_facts"] = {"lane_plan": plan}
            result["lane_home"] = {name: given[name] for name in ("lane_id", "artifacts_dir", "summary_dir")}
            result["lane_home"].update(planned=plan["planned"], remote=self._connection.transport != "local")
        writable = False
        if judges and not self._task.check_mode:
            with contextlib.suppress(LaneError, OSError):  # lane_run reports what is wrong with the directory
                writable = artifacts.begin(str(given["lane_dir"]), str(given["artifacts_dir"]), "all" in run_tags)
        try:
            self._check(task_vars, given["roles"], plan)
            return result
        except LaneError as error:
            failure = error
        except (AnsibleError, TypeError) as error:  # of a template, or of a value of a kind that nothing expects
            problem = f"the value of a variable cannot be used: {one_line(str(error), 300)}"
            failure = LaneError("bad_input", "environment", problem, "docs/variables.md has all variables")
        named = failure.as_dict()
        result.update(failed=True, msg=str(failure), lane_failure=named)
        if writable:
            with contextlib.suppress(OSError, ValueError):
                result["lane_verdict"] = artifacts.refuse(
                    given["artifacts_dir"], given["lane_id"], named, plan["planned"]
                )
        return result

    def _check(self, task_vars, roles, plan):
        """Raise the LaneError that says what is wrong with the command."""
        run, skip = task_vars["ansible_run_tags"], task_vars["ansible_skip_tags"]
        unknown = [tag for tag in (*run, *skip) if tag not in (*roles, "all")]
        if unknown:
            meant = near(unknown[0], roles)
            problem = f"no task has the tag {', '.join(unknown)}{meant}"
            raise LaneError("no_such_tag", "lane", problem, f"tags are {', '.join(roles)}" if roles else "leave it out")
        if skipped := [tag for tag in skip if tag not in MAY_SKIP]:
            problem = f"--skip-tags {','.join(skipped)} skips what the other roles need"
            raise LaneError("skips_needed", "lane", problem, "select roles with --tags; only teardown can be skipped")
        if set(run) <= set(skip) or (roles and set(roles) <= set(skip)):
            tags = "" if "all" in run else f"--tags {','.join(run)} with "
            problem = f"{tags}--skip-tags {','.join(skip)} leaves nothing to do"
            raise LaneError("nothing_to_do", "lane", problem, "leave --skip-tags out")
        for name, start in DIRECTORIES.items():
            if not str(path := self._templar.template(task_vars[name])).startswith(start):
                raise LaneError("bad_input", "environment", f"{name} is {path!r}", "use an absolute path")
        self._check_shared(task_vars)
        if "artifacts_dir" in self._task.args:
            self._check_guests(task_vars, plan)
        wrong, values = self._inputs(task_vars, roles)
        if wrong:
            raise LaneError("bad_input", "environment", "; ".join(wrong), "docs/variables.md has all variables")
        if "suites" in roles and {"all", "suites"} & set(run):
            self._plan_suites(task_vars, values["suites_slow"], plan)

    def _check_guests(self, task_vars, plan):
        """Raise LaneError for a file of guests that cannot be used, an unknown guest, and an empty plan."""
        file, names = self._templar.template([task_vars["lane_guests_file"], task_vars["lane_guest_names"]])
        try:
            found = self._loader.load_from_file(file, unsafe=True)
        except AnsibleError as error:
            problem = f"lane_guests_file {file} cannot be read: {one_line(str(error), 300)}"
            raise LaneError("guest_entry_invalid", "environment", problem, "correct it") from None
        found = found.get("guests") if isinstance(found, dict) else None
        guests.check(found)
        for name in names:
            guests.entry(found, name)
        asked = {"all", "smoke"} & set(task_vars["ansible_run_tags"])
        # an empty one is worked out once more: the first time may have failed by a value that has to be named
        if asked and not (plan["planned"] or self._plan(task_vars)["planned"]):
            problem = "no check is planned, so that nothing would be checked"
            raise LaneError("bad_input", "environment", problem, "name checks in lane_checks and guests in lane_guests")

    def _plan(self, task_vars):
        """The smoke checks of this command, [guest, name] each: the planned ones, and all that a full plan has."""
        if "suites" in task_vars["ansible_run_tags"] and "smoke" not in task_vars["ansible_run_tags"]:
            return {"planned": [], "full": []}
        named = [task_vars[f"lane_{name}"] for name in ("guests_file", "guest_names", "check_names")]
        file, names, planned = self._templar.template(named)
        catalogue = self._loader.load_from_file(file, unsafe=True)["guests"]
        full = self._loader.load_from_file(self._task.args["known"], unsafe=True)["lane_checks"]
        digest = {name for name in names if catalogue[name].get("digest")}
        return {
            kind: [[guest, check] for guest in names for check in checks if check != "digest" or guest in digest]
            for kind, checks in (("planned", planned), ("full", full))
        }

    def _inputs(self, task_vars, roles):
        """A clause for each variable that is wrong, and the values of the roles' inputs. Raises LaneError for an origin
        that cannot be used.
        """
        spec = dict(SHARED) if "artifacts_dir" in self._task.args else {}
        for role in roles:
            folder = _in_roles(role)
            specs, defaults = (
                self._loader.load_from_file(f"{folder}/{name}/{file}.yml", unsafe=True)
                for name, file in (("meta", "argument_specs"), ("defaults", "main"))
            )
            options = specs["argument_specs"]["main"]["options"]
            spec.update({name: {**option, "default": defaults[name]} for name, option in options.items()})
        own = self._task.args.get("variables", [])
        shared = self._loader.load_from_file(self._task.args["known"], unsafe=True)
        known = {*spec, *shared, *own}
        values = self.get_args_from_task_vars(spec, self._with_values(task_vars, shared))
        given = load_extra_vars(self._loader)
        prefixes = [*roles, *{name.rpartition("_")[0] for name in own}]
        unknown = list(unknown_variables(given, known, prefixes))
        # of the inventory, which may be one of other playbooks too: their variables begin as they like
        unknown += unknown_variables(task_vars["hostvars"][task_vars["inventory_hostname"]], known, ())
        checked = ArgumentSpecValidator(spec).validate(values, validate_role_argument_spec=True)
        invalid = checked.error_messages or _out_of_range(spec, checked.validated_parameters)
        if not unknown and not invalid:
            _check_suites_are_played(given, set(task_vars["ansible_run_tags"]))
            origin.check(checked.validated_parameters)
        wrong = dict.fromkeys([*unknown, *(_as_typed(_short(words), spec, given) for words in invalid)])
        return list(wrong), checked.validated_parameters

    def _plan_suites(self, task_vars, slow, plan):
        """Add the suites that are asked for to the plan: what is to be played (selection.plays), and each check.

        Raises LaneError for a suite or a file that cannot be used.
        """
        named = [task_vars[f"lane_{name}"] for name in ("suites", "suite_files", "guests_file", "caller_dir")]
        *lists, guests_file, here = self._templar.template(named)
        asked, files = (given.split(",") if isinstance(given, str) else [*map(str, given)] for given in lists)
        if not asked:
            return
        # not above: they take as long as the rest of this check
        from ansible.module_utils.lane.checks.suites import actors, selection
        from ansible.module_utils.lane.checks.suites import plan as suite_file

        own = sorted(glob.glob(f"{_in_roles('suites/files')}/*.yml"))
        paths = [*own, *files, *filter(is_file, asked)]
        known = self._loader.load_from_file(guests_file, unsafe=True)["guests"]
        texts = {os.path.join(here, path): _text(path, here) for path in paths}
        suites = [suite_file.read(path, text, actors.ACTORS, known) for path, text in texts.items()]
        asked = [os.path.join(here, name) if is_file(name) else name for name in asked]
        plan["plays"] = selection.plays(selection.named(suites, asked), slow)
        for play in plan["plays"]:
            checks = [{"suite": play["suite"], "guest": play["guest"], "name": name} for name in play["checks"]]
            plan["planned"].extend(checks)
            plan["full"].extend(checks)

    def _with_values(self, task_vars, names):
        """The variables, with the values of these in place of their templates, each of which many others refer to."""
        variables = self._templar.available_variables = dict(task_vars)
        for name in filter(variables.__contains__, names):
            variables[name] = self._templar.template(variables[name])
        return variables

    def _check_shared(self, task_vars):
        """Raise LaneError when another lane of this command has the same number or directory on the same machine."""
        mine = task_vars["inventory_hostname"]
        if task_vars["ansible_play_hosts_all"] == [mine]:
            return
        own, others = self._places(task_vars, mine), {}
        for name in task_vars["ansible_play_hosts_all"]:
            with contextlib.suppress(AnsibleError, TypeError):  # that lane itself says what is wrong with its variables
                others[name] = self._places(task_vars, name)
        for variable, place in own.items():
            if len(same := [name for name, found in others.items() if found[variable] == place]) > 1:
                code = "same_number" if variable == "lane_id" else "same_directory"
                problem = f"{' and '.join([mine, *(name for name in same if name != mine)])} have the same {variable}"
                fix = f"give each host of the inventory a {variable} of its own"
                raise LaneError(code, "lane", f"{problem}, {place[-1]}", fix)

    def _places(self, task_vars, name):
        """Number and directories of a lane, each with the machine where no other lane may have them."""
        shared = self._loader.load_from_file(self._task.args["known"])
        known = {key: as_template(value) if isinstance(value, str) else value for key, value in shared.items()}
        known.update(task_vars["hostvars"].raw_get(name))
        templar = template.Templar(self._loader, variables=known)
        value = {key: templar.template(known[key]) for key in known if key in PLACE}
        where = value.get("ansible_connection", "ssh")
        machine = None if where == "local" else (value.get("ansible_host", name), value.get("ansible_port"))
        return {
            "lane_id": (where, machine, str(value["lane_id"])),
            "lane_dir": (where, machine, os.path.normpath(value["lane_dir"])),
            "lane_artifacts_dir": (os.path.normpath(value["lane_artifacts_dir"]),),
        }


def _in_roles(path):
    """The first file or folder of this path in the folders of roles."""
    return next(filter(os.path.exists, (os.path.join(folder, path) for folder in C.DEFAULT_ROLES_PATH)))


def _out_of_range(spec, values):
    """A clause for the first value that no lane can work with. The limits come from lane_time_scale, which is first."""
    for name, value in values.items():
        option = spec[name]
        if pattern := PATTERNS.get(name):
            if not re.fullmatch(pattern, value, re.ASCII):
                return [f"{name} is {value!r}, which does not match {pattern}"]
        elif option["type"] in ("int", "float"):
            least = name.endswith(FROM_ZERO)
            if not (0 <= value < 1e9 if least else 0 < value < 1e9):
                return [f"{name} is {value}, not a number {'of at least' if least else 'above'} 0"]
    return []


def _check_suites_are_played(given, run):
    """Raise LaneError for suites that are asked for on the command line of a command that runs none."""
    asked = [name for name in ("lane_suites", "lane_suite_files") if given.get(name)]
    if asked and not {"all", "suites"} & run and run != {"deps"}:  # which installs what a suite needs
        problem = f"{asked[0]} asks for suites, and this command runs none"
        raise LaneError("suites_not_played", "lane", problem, "use ./lane suites, or ./lane without a verb")


def _text(path, here):
    """The text of a suite file; a relative path starts here. Raises LaneError when it is not there, or no text."""
    try:
        with open(os.path.join(here, path), encoding="utf-8") as file:
            return file.read()
    except OSError:
        problem = f"there is no suite file {path}"
        raise LaneError("suite_file_missing", "environment", problem, "correct the path") from None
    except UnicodeDecodeError as error:
        problem = f"the suite file {path} is not UTF-8 text ({error.reason} at byte {error.start})"
        raise LaneError("suite_file_invalid", "lane", problem, "correct the suite file (docs/suites.md)") from None


def _as_typed(words, spec, given):
    """The message with the shared name of a variable, where the role's own name only stands for it."""
    for name, option in spec.items():
        shared = re.fullmatch(r"{{ (lane_\w+)( \| \w+)* }}", str(option.get("default", "")))
        if shared and name not in given:
            words = re.sub(rf"\b{name}\b", shared[1], words)
    return words


def _short(words):
    """Ansible's message about a value, without the names of its classes."""
    return " ".join(words.split(": <class")[0].replace(" and we were unable to convert to ", ", not ").split())
