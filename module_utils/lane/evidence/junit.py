"""junit.xml: the checks of a run as test cases, for systems that show those. It is written beside each result.json.

The shape is what Jenkins' junit plugin, GitLab and GitHub's reporting actions read: testsuites/testsuite/testcase with failure, error or skipped
(https://github.com/testmoapp/junitxml describes the common ground).
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from typing import Any

FILE = "junit.xml"
#: Of whom a check tells, as docs/smoke.md has it: the class name of its test case.
COMPONENT = {"hello": "ryll", "status": "ryll", "screenshot": "ryll", "banner": "guest", "counters": "proxy", "path": "proxy", "frames": "guest"}


def xml(result: dict[str, Any]) -> bytes:
    """The document for a result.json. A red run always has a failed test case: one of its own named after the phase when no check failed."""
    blame = result["blame"]
    suite = ElementTree.Element("testsuite", name=f"kerbside lane {result['lane_id']}", timestamp=result["started"].rstrip("Z"), time=str(result["seconds"]))
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    told = False
    for check in result["checks"]:
        case = _case(suite, counts, check["name"], COMPONENT.get(check["name"], "lane"), check["seconds"])
        if check["result"] == "fail":
            mine = blame is not None and blame["check"] == check["name"]
            told = told or mine
            _mark(case, counts, "failure", blame["component"] if mine else "", blame["cause"] if mine else _words(check))
        elif check["result"] != "pass":
            _mark(case, counts, "skipped", "", "it did not come to this check")
        ElementTree.SubElement(case, "system-out").text = _clean(json.dumps(check["detail"], ensure_ascii=True))
    if blame and not told:
        case = _case(suite, counts, blame["phase"] or "lane", blame["component"], 0.0)
        _mark(case, counts, "failure" if result["verdict"] == "fail" else "error", blame["component"], blame["cause"])
    suite.attrib.update({name: str(number) for name, number in counts.items()})
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _case(suite: ElementTree.Element, counts: dict[str, int], name: str, component: str, seconds: float) -> ElementTree.Element:
    counts["tests"] += 1
    return ElementTree.SubElement(suite, "testcase", name=name, classname=f"lane.{component}", time=f"{seconds:.3f}")


def _mark(case: ElementTree.Element, counts: dict[str, int], tag: str, kind: str, words: str) -> None:
    counts[{"failure": "failures", "error": "errors", "skipped": "skipped"}[tag]] += 1
    mark = ElementTree.SubElement(case, tag, {"message": _clean(words)} | ({"type": kind} if kind else {}))
    if tag != "skipped":
        mark.text = _clean(words)


def _words(check: dict[str, Any]) -> str:
    return str((check["detail"] or {}).get("cause") or "the check failed; look at result.json")


def _clean(text: str) -> str:
    """Without what XML cannot hold (control characters; XML 1.0, 2.2)."""
    return "".join(c if c in "\t\n" or 0x20 <= ord(c) < 0xD800 or 0xE000 <= ord(c) < 0xFFFE or ord(c) > 0xFFFF else "\ufffd" for c in text)
