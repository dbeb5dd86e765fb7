"""Templates from bytecode that is kept: what Ansible fills in is the same with it and without it, whatever lies in the folder."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible._internal._datatag._tags import TrustedAsTemplate
from ansible._internal._templating._engine import TemplateEngine, TemplateOptions
from ansible._internal._templating._jinja_bits import AnsibleEnvironment, _TemplateCompileContext
from ansible.errors import AnsibleTemplateError
from ansible.module_utils.lane import templates
from jinja2.bccache import bc_magic

ROOT = Path(__file__).parents[2]
VARIABLES = {"a": [1, "b"], "n": None, "deep": {"word": "w"}}
HARD = (
    "{{ a }}",
    "{{ a[0] + 1 }}",
    "x{{ a | length }}",
    "{{ '\\\\d' }}",
    "{{ 'a\\tb' | upper }}{{ \"\\n\" }}",
    "{% set tab = '\\t' %}{{ tab }}|",
    "{% for one in a %}{{ loop.index }}={{ one }} {% endfor %}",
    "{{ deep['word'] ~ deep.word }}",
    "{% raw %}{{ a }}{% endraw %}",
    "{{ {'é': 'ü', 'deep': deep} }}",
    "{{ n | default('none', true) }}",
    "{{ no_such_filter is defined }}",
)
OTHERWISE = "#jinja2: variable_start_string:'[%', variable_end_string:'%]'\n[% a %]{{ a }}"
CONDITIONS = ("a is defined", "deep.word == 'w' and n is none", "a | length > 5", "not (n | default(true))", "'\\t' in 'a\\tb'")


OWN = {name: getattr(AnsibleEnvironment, name) for name in ("compile", "compile_expression")}


@pytest.fixture(autouse=True)
def ansible() -> Iterator[None]:
    """Gives Ansible back what it compiles with of its own."""
    yield
    back()


def back() -> None:
    """As before `install`."""
    for name, function in OWN.items():
        setattr(AnsibleEnvironment, name, function)


def install(folder: Path) -> templates.Templates:
    """As a new process would do it."""
    back()
    found = templates.install(folder)
    assert found
    return found


def filled() -> list[Any]:
    """What HARD and CONDITIONS give, with backslashes of strings kept and not kept."""
    engine = TemplateEngine(variables=VARIABLES)
    given: list[Any] = []
    for escape in (True, False):
        options = TemplateOptions(escape_backslashes=escape)
        given += [engine.template(TrustedAsTemplate().tag(text), options=options) for text in HARD]
        given += [engine.evaluate_expression(TrustedAsTemplate().tag(text), escape_backslashes=escape) for text in CONDITIONS]
    return given


def test_what_is_kept_gives_what_ansible_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = filled()
    assert expected[0] == [1, "b"]
    assert expected[len(HARD)] is True
    install(tmp_path)
    assert filled() == expected, "while it is made"
    monkeypatch.setattr(AnsibleEnvironment, "_generate", nobody)
    assert filled() == expected, "in the same process"
    back()
    with pytest.raises(AnsibleTemplateError, match="nobody compiles"):
        filled()
    install(tmp_path)
    assert filled() == expected, "in the next process"


def test_a_template_that_brings_its_own_signs_is_not_kept(tmp_path: Path) -> None:
    engine = TemplateEngine(variables=VARIABLES)
    expected = engine.template(TrustedAsTemplate().tag(OTHERWISE))
    assert expected == "[1, 'b']{{ a }}"
    install(tmp_path)
    assert engine.template(TrustedAsTemplate().tag(OTHERWISE)) == expected
    assert engine.template(TrustedAsTemplate().tag(OTHERWISE.partition("\n")[2])) == "[% a %][1, 'b']"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def nobody(*_: Any, **__: Any) -> Any:
    """Stands where Jinja2 makes Python of a template."""
    raise AnsibleTemplateError("nobody compiles here")


def test_the_bytecode_of_each_template_of_the_lane_is_ansibles_own(tmp_path: Path) -> None:
    texts = {text for folder in ("playbooks", "roles", "inventory") for path in (ROOT / folder).rglob("*.yml") for text in strings(path)}
    assert len(texts) > 200
    environment = AnsibleEnvironment()
    with _TemplateCompileContext(escape_backslashes=True):
        expected = {text: OWN["compile"](environment, text) for text in texts}
        install(tmp_path)
        assert {text: environment.compile(text) for text in texts} == expected
        kept = templates.Templates(tmp_path, next(tmp_path.iterdir()).name)
        assert len(list(kept.known())) == len(texts)
        assert set(kept._known.values()) == set(expected.values())


def strings(path: Path) -> Iterator[str]:
    """The texts with a template in them in a YAML file."""
    waiting: list[Any] = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one
        elif isinstance(one, str) and ("{{" in one or "{%" in one):
            yield one


@pytest.mark.parametrize(
    "damage", [b"", b"garbage", bc_magic, bc_magic + b"\x80\x02U", bc_magic + pickle.dumps("another", 2)], ids=["empty", "garbage", "cut", "torn", "other"]
)
def test_what_is_damaged_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    expected = filled()
    install(tmp_path)
    filled()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in kept:
        path.write_bytes(damage)
    fresh = install(tmp_path)
    assert len(list(fresh.known())) == len(kept)
    assert filled() == expected
    assert all(len(path.read_bytes()) > 100 for path in kept)


def test_what_others_could_have_written_is_not_run(tmp_path: Path) -> None:
    install(tmp_path)
    filled()
    [folder] = tmp_path.iterdir()
    for path in folder.iterdir():
        path.write_bytes(b"")
    folder.chmod(0o777)
    open_to_all = install(tmp_path)
    filled()
    assert list(open_to_all.known()) == []
    assert all(path.stat().st_size == 0 for path in folder.iterdir())


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    expected = filled()
    install(tmp_path / "file/below")
    assert filled() == filled() == expected


def test_an_error_is_ansibles_and_not_kept(tmp_path: Path) -> None:
    def told() -> list[str]:
        words = []
        engine = TemplateEngine(variables=VARIABLES)
        for text in ("{{ a", "{{ a b }}", "{% for %}"):
            with pytest.raises(AnsibleTemplateError) as caught:
                engine.template(TrustedAsTemplate().tag(text))
            words.append(str(caught.value))
        with pytest.raises(AnsibleTemplateError) as caught:
            engine.evaluate_expression(TrustedAsTemplate().tag("a b"))
        return [*words, str(caught.value)]

    expected = told()
    install(tmp_path)
    assert told() == expected
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_ansible_that_is_made_otherwise_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("ansible._internal._templating._jinja_bits._TemplateCompileContext")
    assert templates.install(tmp_path) is None
    assert AnsibleEnvironment.compile is OWN["compile"]
