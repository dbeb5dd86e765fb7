"""What README.md, CONTRIBUTING.md, SECURITY.md and docs/ name is there. test_commands.py has their commands."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8")
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
}
FOLDERS = (
    "docs|tests|playbooks|roles|library|module_utils|plugins|inventory|fixtures|meta|tasks|defaults|\\.github|\\.ci"
)
NAMED = re.compile(rf"(?<![\w./<>~-])((?:{FOLDERS})/[\w./-]*[\w/])|\]\(([^)#:]+)\)")
#: What a user or a role brings, and pages of qemu and ryll.
NOT_OURS = set(
    "fixtures/uncalibrated.qcow2 tests/fixtures/uncalibrated-sextant.qcow2 meta/argument_specs.yml defaults/main.yml "
    "tasks/main.yml docs/interop/qmp-spec docs/interop/qcow2.txt docs/control-socket-protocol.md".split()
)
#: A variable, file, module.function or key, alone between backticks.
IDENTIFIER = re.compile(r"`(\w+(?:[._]\w+)+)`")
#: Words of Ansible and GitHub that nothing here uses, and one with placeholders.
FOREIGN = {"group_vars", "github.sha", "kerbside_lane.SUITE.GUEST"}
SUFFIXES = (".py", ".yml", ".zig", ".txt", ".j2", ".toml", ".cfg")
TOPS = "library module_utils plugins roles playbooks tools fixtures inventory tests .github".split()
SOURCES = [
    path
    for top in TOPS
    for path in (ROOT / top).rglob("*")
    if path.suffix in SUFFIXES and path.is_file() and path != Path(__file__)
]
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in [*SOURCES, ROOT / "ansible.cfg"])
FILES = {path.name for path in [*SOURCES, *ROOT.iterdir()]}


def unknown(text: str) -> list[str]:
    """The identifiers of a page that are neither in the source nor names of files or of something in a module."""
    return sorted(
        name for name in set(IDENTIFIER.findall(text)) - FILES - FOREIGN if name not in SOURCE and not defined(name)
    )


def defined(name: str) -> bool:
    """Whether it is MODULE.NAME, of a module here."""
    stem, _, attribute = name.partition(".")
    texts = [path.read_text(encoding="utf-8") for path in SOURCES if path.name == f"{stem}.py"]
    return any(re.search(rf"^(?:def |class |){attribute}\b", text, re.MULTILINE) for text in texts)


def missing(text: str, folder: Path) -> list[str]:
    """The files that a page names and the tree has not; names with a placeholder in them are not looked at."""
    named = {found[1] or found[2] for found in NAMED.finditer(text)} - NOT_OURS
    there = {name for name in named if (ROOT / name).exists() or (folder / name).exists()}
    return sorted(name for name in named - there if not re.search(r"test_X|/X|NAME", name))


@pytest.mark.parametrize("name", sorted(PAGES))
def test_what_a_page_names_is_there(name):
    assert missing(PAGES[name], (ROOT / name).parent) == []


@pytest.mark.parametrize(
    "text",
    ["see docs/nowhere.md.", "`tests/unit/test_nothing.py`", "![a picture](nowhere.png)", "    roles/nobody/ ..."],
)
def test_what_is_not_there_is_seen(text):
    assert len(missing(text, ROOT / "docs")) == 1


@pytest.mark.parametrize("name", sorted(set(PAGES) - {"CHANGELOG.md"}))
def test_what_a_page_names_of_the_code_is_there(name):
    assert unknown(PAGES[name]) == []


@pytest.mark.parametrize("name", ["bridge.finish", "lane_kerbside_pudding", "command.dance", "outside_chex.py"])
def test_a_name_that_the_code_has_not_is_seen(name):
    assert unknown(f"calls `{name}`") == [name]


def test_every_page_can_be_found_from_another():
    for name in PAGES:
        others = [text for other, text in PAGES.items() if other != name]
        assert not name.startswith("docs/") or any(Path(name).name in text for text in others), name


def test_the_readmes_job_is_one_that_the_workflow_takes():
    block = re.search(r"^    jobs:\n(?:    .*\n)+", PAGES["README.md"], re.MULTILINE)
    job = yaml.safe_load(block[0])["jobs"]["spice"]
    file = job["uses"].split("@")[0].removeprefix("OWNER/LANE/")
    called = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    assert set(job["with"]) <= set(called[True]["workflow_call"]["inputs"])  # YAML takes `on` for true
    assert job["permissions"] == called["permissions"]


def test_the_playbooks_own_variables_are_told():
    for playbook, page in (("refresh_sextant", "docs/refresh.md"), ("rebuild_guest", "docs/guests.md")):
        given = yaml.safe_load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"))[0]["vars"]
        wanted = {name for name in given if not name.startswith("__")}
        assert set(re.findall(rf"`({playbook}_\w+)`", PAGES[page])) == wanted
