"""Bugs planted in the Rust source of kerbside-proxy or ryll, as tests/mutation/proxy.yml and ryll.yml list them: a
copy of a checkout, built after each edit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools import ROOT, cache_dir

BUILD_LIMIT = 1800.0  # seconds for one build


@dataclass(frozen=True)
class Product:
    """component: whom the lane should blame; program: also its cargo package; crate: where that is in a checkout;
    source: where an edit's `file` is; target: cargo's directory in the lane's cache; arguments: of cargo.
    """

    component: str
    program: str
    crate: str
    source: str
    target: str
    arguments: tuple[str, ...] = ()

    @property
    def edits_file(self) -> Path:
        return ROOT / f"tests/mutation/{self.component}.yml"

    def edits(self, only: str | None = None) -> list[dict[str, str]]:
        """Its edits, or those of one file or name."""
        edits: list[dict[str, str]] = yaml.safe_load(self.edits_file.read_text(encoding="utf-8"))
        return [edit for edit in edits if not only or only in (edit["file"], edit["name"])]


PROXY = Product("proxy", "kerbside-proxy", "rust/kerbside-proxy", "rust/kerbside-proxy/src", "mutants-target")
#: Without its default features (the window), as the lane builds it; its own two large crates are not optimised, so that
#: each edit is built in seconds.
OPTIMISED = [f"--config=profile.release.package.{crate}.opt-level=0" for crate in ("ryll", "shakenfist-spice-renderer")]
RYLL = Product("ryll", "ryll", "ryll", ".", "mutants-target-ryll", ("--no-default-features", *OPTIMISED))


class RustEdits:
    """A copy of a checkout, and the program that is built from it."""

    def __init__(self, product: Product, checkout: Path, scratch: Path) -> None:
        self.product, self.tree = product, scratch / "checkout"
        shutil.copytree(checkout, self.tree, ignore=shutil.ignore_patterns(".git", "target"))
        self.target = cache_dir() / product.target
        self.binary = str(self.target / "release" / product.program)
        self.starter = scratch / product.program

    def build(self) -> str:
        """Build the crate; the compiler's last words when that fails, else ""."""
        more = {"CARGO_PROFILE_RELEASE_INCREMENTAL": "true", "CARGO_TARGET_DIR": str(self.target)}
        command = ["cargo", "build", "--release", "--quiet", *self.product.arguments]
        done = subprocess.run(
            command,
            cwd=self.tree / self.product.crate,
            env={**os.environ, **more},
            capture_output=True,
            text=True,
            timeout=BUILD_LIMIT,
            check=False,
        )
        return done.stderr[-500:] if done.returncode else ""

    def variables(self) -> dict[str, Any]:
        """The variables of a lane that runs the program.

        ryll is started by a script that is the same for each edit: the lane's cache keeps the few programs that ran
        last, and a program with a bug shall replace none of them.
        """
        if self.product is PROXY:
            return {"kerbside_environment": {"KERBSIDE_PROXY_BIN": self.binary}}
        self.starter.write_text(f'#!/bin/sh\nexec {self.binary} "$@"\n', encoding="utf-8")
        self.starter.chmod(0o755)
        return {"lane_ryll_origin": str(self.starter)}

    @contextmanager
    def edited(self, edit: dict[str, str]) -> Iterator[int]:
        """Build the program with an edit, for as long as the block runs. Yields the line that it changes."""
        path = self.tree / self.product.source / edit["file"]
        source = path.read_text(encoding="utf-8")
        if edit["find"] not in source:
            where = f"{self.product.edits_file}: {edit['name']}"
            raise SystemExit(f"lane: {where}: its text is not in {edit['file']} of this checkout")
        path.write_text(source.replace(edit["find"], edit["put"], 1), encoding="utf-8")
        try:
            if said := self.build():
                raise SystemExit(f"lane: {edit['name']} does not compile: {said}")
            yield source[: source.index(edit["find"])].count("\n") + 1
        finally:
            path.write_text(source, encoding="utf-8")
