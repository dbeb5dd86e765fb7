"""Where products come from: each form is recognized, and what cannot be used or must not be shown is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.core.errors import LaneError
from ansible.module_utils.lane.prepare import origin, source
from ansible.module_utils.lane.prepare.origin import (
    ARCHIVE,
    CHECKOUT,
    CRATES,
    FILE,
    GIT,
    IMAGE,
    INDEX,
    KERBSIDE,
    PROXY,
    REQUIREMENT,
    RYLL,
)
from test_tree import git


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a checkout of kerbside and files beside it."""
    for name in (
        "src/pyproject.toml",
        "src/rust/kerbside-proxy/Cargo.toml",
        "kerbside-1.whl",
        "ryll",
        "kerbside/pyproject.toml",
        "own/pyproject.toml",
        "0.8.0",
        "x",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "bare").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("product", "text", "kind", "source", "ref"),
    [
        (KERBSIDE, "0.8.0", INDEX, "0.8.0", ""),  # though there is a file of that name
        (KERBSIDE, " v1.0rc1 ", INDEX, "1.0rc1", ""),
        (KERBSIDE, "kerbside==0.8.0", INDEX, "0.8.0", ""),
        (KERBSIDE, "kerbside>=0.8,<1", REQUIREMENT, "kerbside>=0.8,<1", ""),
        (KERBSIDE, "kerbside==0.8.*", REQUIREMENT, "kerbside==0.8.*", ""),
        (KERBSIDE, "kerbside", REQUIREMENT, "kerbside", ""),  # though there is a folder of that name
        (PROXY, "kerbside_proxy>=0.7", REQUIREMENT, "kerbside_proxy>=0.7", ""),
        (KERBSIDE, "git+https://h.test/o/kerbside@feature/x", GIT, "https://h.test/o/kerbside", "feature/x"),
        (KERBSIDE, "https://h.test/o/kerbside.git", GIT, "https://h.test/o/kerbside.git", "HEAD"),
        (KERBSIDE, "kerbside @ git+https://h.test/o/kerbside@v1#egg=kerbside", GIT, "https://h.test/o/kerbside", "v1"),
        (RYLL, "git+ssh://git@h.test/o/ryll@main", GIT, "ssh://git@h.test/o/ryll", "main"),
        (RYLL, "git+src@abc", GIT, "{here}/src", "abc"),
        (KERBSIDE, "https://h.test/kerbside-1.tar.gz", ARCHIVE, "https://h.test/kerbside-1.tar.gz", ""),
        (KERBSIDE, "kerbside@file://{here}/src", CHECKOUT, "{here}/src", ""),
        (KERBSIDE, "src", CHECKOUT, "{here}/src", ""),
        (KERBSIDE, "./kerbside", CHECKOUT, "{here}/kerbside", ""),
        (KERBSIDE, "kerbside-1.whl", FILE, "{here}/kerbside-1.whl", ""),
        (PROXY, "src/../src", CHECKOUT, "{here}/src", ""),
        (RYLL, "./ryll", FILE, "{here}/ryll", ""),
        (RYLL, "crates:0.3.0", CRATES, "0.3.0", ""),
    ],
)
def test_each_form(here: Path, product: origin.Product, text: str, kind: str, source: str, ref: str) -> None:
    assert origin.parse(product, text.format(here=here), str(here)) == origin.Origin(
        kind, source.format(here=here), ref
    )


def test_nothing_named_is_no_origin_and_home_is_known(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    assert origin.parse(PROXY, " ", "/") is None
    assert origin.parse(KERBSIDE, "~/src", "/") == origin.Origin(CHECKOUT, f"{here}/src")


@pytest.mark.parametrize(
    ("product", "text", "code"),
    [
        (KERBSIDE, "./gone", "origin_not_there"),
        (KERBSIDE, "/gone/kerbside-1.whl", "origin_not_there"),
        (KERBSIDE, "bare", "origin_unusable"),
        (KERBSIDE, "other>=1", "origin_unusable"),
        (KERBSIDE, "other @ https://h.test/x.whl", "origin_unusable"),
        (KERBSIDE, "develop", "origin_unusable"),
        (KERBSIDE, "-e .", "origin_unusable"),
        (KERBSIDE, "crates:0.3.0", "origin_unusable"),
        (IMAGE, "0.8.0", "origin_unusable"),
        (RYLL, "src", "origin_unusable"),
        (KERBSIDE, "git+https://h.test/o/kerbside@--upload-pack=x", "no_such_ref"),
        (KERBSIDE, "git+https://h.test/o/kerbside@a..b", "no_such_ref"),
    ],
)
def test_what_cannot_be_used(here: Path, product: origin.Product, text: str, code: str) -> None:
    with pytest.raises(LaneError) as caught:
        origin.parse(product, text, str(here))
    assert (caught.value.code, caught.value.component) == (code, "environment")
    assert product.variable in caught.value.problem


@pytest.mark.parametrize(
    "text",
    [
        "git+https://me:hush@h.test/o/r",
        "https://hush@h.test/o/r.git@main",
        "kerbside @ git+https://hush@h.test/o/r",
        "git+ssh://git:hush@h.test/o/r",
        "https://me:hu@sh@h.test/x.whl",
        "//hush@h.test/o/r".replace("//", "http://"),
    ],
)
def test_credentials_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(LaneError) as caught:
        origin.parse(KERBSIDE, text, "/")
    assert caught.value.code == "origin_has_credentials"
    assert "hu" not in str(caught.value)


def test_a_checkout_brings_its_proxy(here: Path) -> None:
    with_proxy, without = (origin.parse(KERBSIDE, name, str(here)) for name in ("src", "own"))
    assert origin.brought_by(PROXY, with_proxy) == with_proxy
    assert origin.brought_by(PROXY, without) is None
    assert origin.brought_by(PROXY, origin.Origin(INDEX, "0.8.0")) is None
    assert origin.brought_by(PROXY, origin.Origin(GIT, "u", "main"))


def test_inputs_of_roles(here: Path) -> None:
    good = {
        "kerbside_origin": "src",
        "kerbside_proxy_origin": "",
        "ryll_build_origin": "0.3.0",
        "kerbside_caller_dir": str(here),
    }
    origin.check(good)
    for name, wrong in (
        ("ryll_build_origin", ""),
        ("kerbside_proxy_origin", "gone/x"),
        ("sextant_vm_image_origin", "gone"),
    ):
        with pytest.raises(LaneError):
            origin.check({**good, name: wrong})


@pytest.mark.skipif(not command.find_program("git"), reason="git is not installed")
def test_the_image_of_sextant_comes_from_where_it_is_named_or_with_kerbside(here: Path, tmp_path: Path) -> None:
    place = source.Place(str(tmp_path / "cache"), None, str(tmp_path / "log"), 60)
    checkout, image = here / "src", here / "src/tests/fixtures/uncalibrated-sextant.qcow2"
    kerbside = origin.Origin(CHECKOUT, str(checkout))
    assert source.image(place, None, kerbside) is None
    assert source.image(place, None, origin.Origin(INDEX, "0.8.0")) is None
    image.parent.mkdir(parents=True)
    image.write_bytes(b"one")
    found = source.image(place, None, kerbside)
    assert found
    assert (found[0], found[1]["kind"], found[1]["sha256"]) == (image, "checkout", hashlib.sha256(b"one").hexdigest())
    named = source.image(place, origin.Origin(FILE, str(here / "ryll")), kerbside)
    assert named
    assert named[0] == here / "ryll"
    git(checkout, "init", "-q", "-b", "main")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "first")
    image.write_bytes(b"not committed")
    for _ in range(2):  # from the repository, then from the cache
        found = source.image(place, None, origin.Origin(GIT, str(checkout), "main"))
        assert found
        assert (found[0].read_bytes(), found[1]["kind"]) == (b"one", "git")
    git(checkout, "rm", "-q", "--cached", "tests/fixtures/uncalibrated-sextant.qcow2")
    git(checkout, "commit", "-q", "-m", "second")
    with pytest.raises(LaneError) as caught:
        source.image(place, origin.Origin(GIT, str(checkout), "main"), None)
    assert caught.value.code == "origin_unusable"
    assert source.image(place, None, origin.Origin(GIT, str(checkout), "main")) is None


def test_what_kerbside_brings_is_named_as_the_user_named_it(tmp_path: Path) -> None:
    place = source.Place(str(tmp_path / "cache"), None, str(tmp_path / "log"), 10)
    with pytest.raises(LaneError) as caught:
        source.image(place, None, origin.Origin(GIT, str(tmp_path / "gone"), "main"))
    assert "lane_kerbside_origin" in str(caught.value) and "lane_image_origin" not in str(caught.value)
