"""Jinja2 templates compiled once and not at each look: Ansible's process keeps their bytecode, and .cache/templates of the checkout keeps it for the next run.

Ansible compiles the text of a template each time that it fills it in: some 840 times in a lane, for 320 different texts (docs/performance.md). Jinja2 can
keep bytecode, but only of templates that it loads from files. Here its own file format and writer (jinja2.bccache) serve Ansible's texts.
Only where Ansible runs, since Ansible's own templating and Jinja2 are there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import jinja2
from jinja2.bccache import Bucket, FileSystemBytecodeCache

from .cache import make_private
from .errors import LaneError

FOLDER = Path(__file__).parents[2] / ".cache" / "templates"


class Templates:
    """Bytecode by what it was compiled from. version: a subfolder for what compiles otherwise. Where others can write, nothing is kept, and nothing read."""

    def __init__(self, folder: Path, version: str) -> None:
        self._known: dict[str, CodeType] = {}
        self._environment = jinja2.Environment()  # a bucket wants one, and makes no use of it
        self._files: FileSystemBytecodeCache | None = None
        with contextlib.suppress(LaneError, OSError):  # a checkout that cannot be written to
            make_private(folder / version)
            self._files = FileSystemBytecodeCache(str(folder / version), "%s")

    def code(self, key: str, compiled: Callable[[], CodeType]) -> CodeType:
        """The bytecode of a key, made by `compiled` when nobody has made it yet, whose errors are passed on."""
        found = self._known.get(key) or self._read(key)
        if found is None:
            found = compiled()
            self._write(key, found)
        self._known[key] = found
        return found

    def known(self) -> Iterator[str]:
        """Read what earlier runs have kept, and give the key of each when it is read: a fork of this process then has it too."""
        keys: list[str] = []
        with contextlib.suppress(OSError):  # another user's, who keeps it private
            keys = os.listdir(self._files.directory) if self._files else []
        for key in keys:
            if key not in self._known and (found := self._read(key)) is not None:
                self._known[key] = found
            yield key

    def _read(self, key: str) -> CodeType | None:
        bucket = Bucket(self._environment, key, key)
        if self._files:
            with contextlib.suppress(OSError, pickle.UnpicklingError, EOFError, ValueError):  # cut off; what Jinja2 does not look for itself
                self._files.load_bytecode(bucket)
        return bucket.code

    def _write(self, key: str, code: CodeType) -> None:
        if self._files:
            bucket = Bucket(self._environment, key, key)
            bucket.code = code
            with contextlib.suppress(OSError):  # a full disk; the template is there all the same
                self._files.dump_bytecode(bucket)


def install(folder: Path = FOLDER) -> Templates | None:
    """Have Ansible's templating in this process and its forks use it. None where Ansible's inside is not the one that this knows (2.19)."""
    try:
        from ansible._internal._templating import _jinja_bits as bits  # type: ignore[import-untyped]
        from ansible.release import __version__ as version  # type: ignore[import-untyped]

        environment, context, config = bits.AnsibleEnvironment, bits._TemplateCompileContext, bits._TemplateConfig
        settings = (config.allow_embedded_templates, tuple(config.jinja_extensions))
        plain_compile, plain_expression, debugged = environment.compile, environment.compile_expression, environment._debuggable_template_source
    except (ImportError, AttributeError):
        return None
    if debugged:
        return None
    templates = Templates(folder, f"ansible-{version}-jinja-{jinja2.__version__}-{sys.implementation.cache_tag}")
    last = threading.local()

    def key_of(kind: str, source: str) -> str:
        asked = context.current(optional=True)
        escape = asked.escape_backslashes if asked else None
        return hashlib.sha256(repr((kind, escape, settings, str(source))).encode("utf-8", "surrogatepass")).hexdigest()

    def compile_template(self: Any, source: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(source, str) and not args and not kwargs and not self.overlayed:
            return templates.code(key_of("template", source), lambda: plain_compile(self, source))
        last.code = plain_compile(self, source, *args, **kwargs)  # an expression's, which comes here parsed
        return last.code

    def compile_expression(self: Any, source: str, undefined_to_none: bool = True) -> Any:
        def compiled() -> CodeType:
            plain_expression(self, source, undefined_to_none)
            code: CodeType = last.code
            return code

        if self.overlayed:
            return plain_expression(self, source, undefined_to_none)
        code = templates.code(key_of("expression", source), compiled)
        template = self.template_class.from_code(self, code, self.make_globals(None), None)
        return jinja2.environment.TemplateExpression(template, undefined_to_none)

    environment.compile = compile_template
    environment.compile_expression = compile_expression
    return templates
