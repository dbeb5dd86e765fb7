"""Places in a suite file, so that a mistake is named by its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from ...core.errors import LaneError, one_line


@dataclass(frozen=True)
class Spot:
    """A part of a suite file. raw: what YAML says there; node: where YAML found it; words: the same for people."""

    file: str
    raw: Any
    node: Any
    line: int = 1
    words: str = ""

    def at(self, key: str | int, words: str | None = None) -> Spot:
        """The part below a key or an index; its raw is None when the file does not have it."""
        raw = self.raw.get(key) if isinstance(self.raw, dict) else self.raw[key]
        line, node = self._find(key)
        return Spot(self.file, raw, node, line, self.words if words is None else words)

    def _find(self, key: str | int) -> tuple[int, Any]:
        """The line and the node of a key or an index; without one, the line of the whole."""
        if isinstance(self.node, yaml.SequenceNode) and isinstance(key, int):
            node = self.node.value[key]
            return node.start_mark.line + 1, node
        if isinstance(self.node, yaml.MappingNode):
            for name, node in self.node.value:
                if name.value == str(key):
                    return name.start_mark.line + 1, node
        return self.line, None

    def invalid(self, problem: str, key: str | int | None = None) -> LaneError:
        """The refusal of the file for what is wrong here, or at that key."""
        line = self.line if key is None else self._find(key)[0]
        place = ": ".join(filter(None, (f"{self.file}:{line}", self.words)))
        return LaneError("suite_file_invalid", "lane", f"{place}: {problem}", "correct the suite file (docs/suites.md)")


def load(file: str, text: str) -> Spot:
    """The whole file. Raises LaneError (suite_file_invalid) when it is not YAML."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _check_nodes(file, node)
        return Spot(file, loader.construct_document(node) if node else None, node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = f"it is not YAML ({getattr(error, 'problem', None) or type(error).__name__})"
        raise Spot(file, None, None, mark.line + 1 if mark else 1).invalid(problem) from None
    except RecursionError:
        raise Spot(file, None, None).invalid("it is nested too deeply") from None
    except ValueError as error:  # of a scalar, such as a date with month 13
        raise Spot(file, None, None).invalid(f"YAML cannot read a value in it ({one_line(str(error), 200)})") from None


def _check_nodes(file: str, root: Any) -> None:
    """Raise LaneError for a key that a mapping has twice, as YAML would drop the first, and for .inf and .nan, which no
    step can work with.
    """
    seen, nodes = set(), [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if node and node.tag.endswith(":float") and node.value.strip("+-.").isalpha():
            raise Spot(file, None, None, node.start_mark.line + 1).invalid(f"{node.value} is not a number to work with")
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            names = set()
            for key, value in node.value:
                name = str(key.value)
                if name in names:
                    raise Spot(file, None, None, key.start_mark.line + 1).invalid(f"the key {name} is there twice")
                names.add(name)
                nodes += [key, value]
