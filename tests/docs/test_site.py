"""The documentation builds as a site without a warning, and the README's links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "-f", str(ROOT / ".mkdocs.yml"), "-d"]
    done = subprocess.run([*command, str(tmp_path / "site")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert {page.name for page in pages} >= {"index.html", "first-run.html", "troubleshooting.html"}
    loaded = re.compile(r"<(?:script|link|img)[^>]*(?:src|href)=\"(https?:)?//")
    assert not [page.name for page in pages if loaded.search(page.read_text(encoding="utf-8"))]


def test_every_page_stands_in_the_navigation() -> None:
    named = set(re.findall(r"[\w/-]+\.md", (ROOT / ".mkdocs.yml").read_text(encoding="utf-8")))
    there = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").glob("*.md")}
    assert there <= named
    index = (ROOT / "docs/decisions/index.md").read_text(encoding="utf-8")
    assert all(path.name in index for path in (ROOT / "docs/decisions").glob("0*.md"))


def test_links_of_the_readme_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    here = [link for link in links if "://" not in link]
    assert len(here) > 10 and not [link for link in here if not (ROOT / link).exists()]
