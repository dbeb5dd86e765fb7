"""Where products come from: each form is recognized, and what cannot be used or must not be shown is refused."""

import hashlib
from pathlib import Path

import pytest
from ansible.module_utils.lane.core import command
from ansible.module_utils.lane.prepare import origin, source
from ansible.module_utils.lane.prepare.origin import IMAGE, KERBSIDE, PROXY, RYLL
from prepared import fails
from whole_lanes import commit_all, git

URL = "https://h.test/o/kerbside"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a checkout of kerbside and files beside it."""
    names = [f"{name}/pyproject.toml" for name in ("src", "kerbside", "own")]
    names += ["src/rust/kerbside-proxy/Cargo.toml", "kerbside-1.whl", "ryll-1-py3-none-any.whl", "ryll", "0.8.0"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "bare").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("product", "text", "kind", "source", "ref"),
    [
        (KERBSIDE, "0.8.0", "index", "0.8.0", ""),  # though there is a file of that name
        (KERBSIDE, " v1.0rc1 ", "index", "1.0rc1", ""),
        (KERBSIDE, "kerbside==0.8.0", "index", "0.8.0", ""),
        (KERBSIDE, "kerbside>=0.8,<1", "requirement", "kerbside>=0.8,<1", ""),
        (KERBSIDE, "kerbside==0.8.*", "requirement", "kerbside==0.8.*", ""),
        (KERBSIDE, "kerbside", "requirement", "kerbside", ""),  # though there is a folder of that name
        (PROXY, "kerbside_proxy>=0.7", "requirement", "kerbside_proxy>=0.7", ""),
        (KERBSIDE, f"git+{URL}@feature/x", "git", URL, "feature/x"),
        (KERBSIDE, f"{URL}.git", "git", f"{URL}.git", "HEAD"),
        (KERBSIDE, f"kerbside @ git+{URL}@v1#egg=kerbside", "git", URL, "v1"),
        (RYLL, "git+ssh://git@h.test/o/ryll@main", "git", "ssh://git@h.test/o/ryll", "main"),
        (RYLL, "git+src@abc", "git", "{here}/src", "abc"),
        (KERBSIDE, "https://h.test/kerbside-1.tar.gz", "archive", "https://h.test/kerbside-1.tar.gz", ""),
        (KERBSIDE, "kerbside@file://{here}/src", "checkout", "{here}/src", ""),
        (KERBSIDE, "src", "checkout", "{here}/src", ""),
        (KERBSIDE, "./kerbside", "checkout", "{here}/kerbside", ""),
        (KERBSIDE, "kerbside-1.whl", "file", "{here}/kerbside-1.whl", ""),
        (PROXY, "src/../src", "checkout", "{here}/src", ""),
        (RYLL, "crates:0.3.0", "crates", "0.3.0", ""),
    ],
)
def test_each_form(here, product, text, kind, source, ref):
    expected = origin.Origin(kind, source.format(here=here), ref)
    assert origin.parse(product, text.format(here=here), str(here)) == expected


def test_nothing_named_is_no_origin_and_home_is_known(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    assert origin.parse(PROXY, " ", "/") is None
    assert origin.parse(KERBSIDE, "~/src", "/") == origin.Origin("checkout", f"{here}/src")


@pytest.mark.parametrize(
    ("product", "text", "code"),
    [
        (KERBSIDE, "./gone", "origin_not_there"),
        (KERBSIDE, "bare", "origin_unusable"),
        (KERBSIDE, "other>=1", "origin_unusable"),
        (KERBSIDE, "other @ https://h.test/x.whl", "origin_unusable"),
        (KERBSIDE, "develop", "origin_unusable"),
        (KERBSIDE, "-e .", "origin_unusable"),
        (KERBSIDE, "crates:0.3.0", "origin_unusable"),
        (KERBSIDE, "ryll-1-py3-none-any.whl", "origin_unusable"),
        (KERBSIDE, "https://h.test/ryll-1-py3-none-any.whl", "origin_unusable"),
        (KERBSIDE, f"git+{URL}@main#subdirectory=x", "origin_unusable"),
        (KERBSIDE, f"git+{URL}#egg=kerbside&subdirectory=x", "origin_unusable"),
        (RYLL, "crates:", "origin_unusable"),
        (RYLL, "crates:newest", "origin_unusable"),
        (IMAGE, "0.8.0", "origin_unusable"),
        (RYLL, "src", "origin_unusable"),
        (KERBSIDE, f"git+{URL}@--upload-pack=x", "no_such_ref"),
        (KERBSIDE, f"git+{URL}@a..b", "no_such_ref"),
    ],
)
def test_what_cannot_be_used(here, product, text, code):
    with fails(code, words=product.variable):
        origin.parse(product, text, str(here))


@pytest.mark.parametrize(
    "text",
    [
        "git+https://me:hush@h.test/o/r",
        "https://hush@h.test/o/r.git@main",
        "kerbside @ git+https://hush@h.test/o/r",
        "git+ssh://git:hush@h.test/o/r",
        "https://me:hu@sh@h.test/x.whl",
    ],
)
def test_credentials_are_refused_and_not_shown(text):
    with fails("origin_has_credentials") as caught:
        origin.parse(KERBSIDE, text, "/")
    assert "hu" not in str(caught.value)


def test_a_checkout_brings_its_proxy(here):
    with_proxy, without = (origin.parse(KERBSIDE, name, str(here)) for name in ("src", "own"))
    assert origin.brought_by(PROXY, with_proxy) == with_proxy
    assert origin.brought_by(PROXY, without) is None
    assert origin.brought_by(PROXY, origin.Origin("index", "0.8.0")) is None
    assert origin.brought_by(PROXY, origin.Origin("git", "u", "main"))


def test_inputs_of_roles(here):
    good = {"kerbside_origin": "src", "kerbside_proxy_origin": "", "ryll_build_origin": "0.3.0"}
    good["kerbside_caller_dir"] = str(here)
    origin.check(good)
    for name, wrong, code in (
        ("ryll_build_origin", "", "origin_unusable"),
        ("kerbside_proxy_origin", "gone/x", "origin_not_there"),
        ("sextant_vm_image_origin", "gone", "origin_unusable"),
    ):
        with fails(code):
            origin.check({**good, name: wrong})
    with fails("bad_input", words="lane_ryll_features"):
        origin.check({**good, "ryll_build_features": ["digest-decode"]})
    origin.check({**good, "ryll_build_features": ["digest-decode"], "ryll_build_origin": "crates:0.3.0"})


@pytest.mark.skipif(not command.find_program("git"), reason="git is not installed")
def test_the_image_of_sextant_comes_from_where_it_is_named_or_with_kerbside(here, tmp_path):
    place = source.Place(str(tmp_path / "cache"), None, str(tmp_path / "log"), 60)
    checkout, image = here / "src", here / "src/tests/fixtures/uncalibrated-sextant.qcow2"
    kerbside = origin.Origin("checkout", str(checkout))
    assert source.image(place, None, kerbside) is None
    assert source.image(place, None, origin.Origin("index", "0.8.0")) is None
    image.parent.mkdir(parents=True)
    image.write_bytes(b"one")
    found = source.image(place, None, kerbside)
    assert (found[0], found[1]["kind"], found[1]["sha256"]) == (image, "checkout", hashlib.sha256(b"one").hexdigest())
    found = source.image(place, origin.Origin("file", str(here / "ryll")), kerbside)
    assert (found[0], found[1]["kind"]) == (here / "ryll", "file")
    commit_all(checkout)
    image.write_bytes(b"not committed")
    committed = origin.Origin("git", str(checkout), "main")
    for _ in range(2):  # from the repository, then from the cache
        found = source.image(place, None, committed)
        assert (found[0].read_bytes(), found[1]["kind"]) == (b"one", "git")
    git(checkout, "rm", "-q", "--cached", "tests/fixtures/uncalibrated-sextant.qcow2")
    git(checkout, "commit", "-q", "-m", "second")
    with fails("origin_unusable"):
        source.image(place, committed, None)
    assert source.image(place, None, committed) is None


def test_what_kerbside_brings_is_named_as_the_user_named_it(tmp_path):
    place = source.Place(str(tmp_path / "cache"), None, str(tmp_path / "log"), 10)
    with fails("repository_unreadable") as caught:
        source.image(place, None, origin.Origin("git", str(tmp_path / "gone"), "main"))
    assert "lane_kerbside_origin" in str(caught.value) and "lane_image_origin" not in str(caught.value)
