"""junit.xml: the checks of a run as test cases, for systems that show those. It is written beside each result.json.

The shape is what Jenkins' junit plugin, GitLab and GitHub's reporting actions read: testsuites/testsuite/testcase with
failure, error or skipped (https://github.com/testmoapp/junitxml describes the common ground); attachments are named in
system-out, as GitLab and Jenkins read them.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from ..core import check_report

FILE = "junit.xml"
CLASS = "kerbside_lane"
RUN = "run"  #: the test case of the run itself: it fails when the run failed outside of the checks
#: The kinds of pictures that belong to a check whatever became of it.
PICTURES = {"screenshot": ("screenshot",), "frames": ("screenshot", "screendump")}


def xml(result: dict[str, Any], artifacts: Path) -> bytes:
    """The document for a result.json."""
    return document([suite(result, artifacts, f"kerbside lane {result['lane_id']}")])


def suite(result: dict[str, Any], artifacts: Path, title: str) -> ElementTree.Element:
    """The test suite of a result.json: one case for each check of the plan, and one for the run."""
    blame = result["blame"]
    suite = ElementTree.Element(
        "testsuite", name=_clean(title), timestamp=result["started"].rstrip("Z"), time=str(result["seconds"])
    )
    reported, last = False, check_report.last_guest(artifacts, result["guests"])
    for check in result["checks"]:
        classname = ".".join(filter(None, (CLASS, check["suite"], check["guest"])))
        case = _case(suite, check["name"], classname, check["seconds"])
        files = _pictures(check, last)
        if check["result"] == "fail" and blame and blame["check"] == check["name"]:
            reported = True
            _mark(case, "failure", _kind(blame), blame["cause"])
            files.append(blame["evidence"])
        elif check["result"] == "fail":
            _mark(case, "failure", "", str(check["detail"].get("cause") or "the check failed"))
        elif check["result"] != "pass":
            _mark(case, "skipped", "", "the check did not run")
        _out(case, artifacts, json.dumps(check["detail"], ensure_ascii=True), files)
    run = _case(suite, RUN, CLASS, result["seconds"])
    if blame and not reported:
        _mark(run, "failure" if result["verdict"] == "fail" else "error", _kind(blame), blame["cause"])
    _out(run, artifacts, "", ["result.json", *([blame["evidence"]] if blame else [])])
    suite.set("tests", str(len(suite)))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"*/{tag}"))))
    return suite


def document(suites: list[ElementTree.Element]) -> bytes:
    """A document of test suites."""
    root = ElementTree.Element("testsuites")
    root.extend(suites)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _case(suite: ElementTree.Element, name: str, classname: str, seconds: float) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", name=name, classname=classname, time=f"{seconds:.3f}")


def _pictures(check: dict[str, Any], last: str) -> list[str | None]:
    """The files of a check's pictures. last: the guest that was checked last."""
    if check["suite"] != "smoke":
        return [check["detail"].get("picture")]
    kinds = PICTURES.get(check["name"], ())
    return [check_report.picture(kind, "" if check["guest"] == last else check["guest"]) for kind in kinds]


def _kind(blame: dict[str, Any]) -> str:
    return f"{blame['component']}.{blame['code']}"


def _mark(case: ElementTree.Element, tag: str, kind: str, words: str) -> None:
    mark = ElementTree.SubElement(case, tag, {"message": _clean(words)} | ({"type": kind} if kind else {}))
    if tag != "skipped":
        mark.text = _clean(words)


def _out(case: ElementTree.Element, artifacts: Path, text: str, files: list[str | None]) -> None:
    """system-out: the text, and a line for each of the files that is there."""
    there = {name: None for file in files if file and (artifacts / (name := file.partition(":")[0])).is_file()}
    lines = [*([text] if text else []), *(f"[[ATTACHMENT|{artifacts / name}]]" for name in there)]
    if lines:
        ElementTree.SubElement(case, "system-out").text = _clean("\n".join(lines))


def _clean(text: str) -> str:
    """Without what XML cannot hold (control characters; XML 1.0, 2.2)."""
    return "".join(
        c if c in "\t\n" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE or ord(c) > 0xFFFF else "\ufffd"
        for c in text
    )
