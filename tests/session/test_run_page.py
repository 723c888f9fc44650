"""report.html of real runs, read back: one file, no script, the run's own figures, pictures that show the emitters."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import Kit

from rtdecode import session
from rtdecode.cli.app import run as command
from rtdecode.core.localizations import Localizations
from rtdecode.core.quality import QualityFilter
from rtdecode.session import run_overview
from rtdecode.session.run_overview import overview, sample_of
from rtdecode.session.run_page import make_run_page, verdict
from rtdecode.streams.log import LogReader
from rtdecode.streams.run_folder import RunFolder
from rtdecode.view.canvas import Region


class Page(HTMLParser):
    """Tags, attributes and words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    @property
    def sources(self) -> list[str]:
        """Addresses of everything that the page would load."""
        return [str(given[name]) for _, given in self.tags for name in ("src", "href", "data") if given.get(name)]


def finished(kit: Kit, name: str) -> tuple[RunFolder, dict[str, object]]:
    """A run of 40 frames in this process."""
    kit.go.touch()
    result = session.run(kit.config(name), inline=True)
    return result.folder, result.report


def test_the_page_is_one_file_that_loads_and_runs_nothing(kit: Kit) -> None:
    folder, report = finished(kit, "first")
    page = Page(make_run_page(folder, report).read_text(encoding="utf-8"))
    assert page.sources and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "40 of 40 frames fitted, none lost" in page.words
    assert f"{report['localizations']:,} localizations" in page.words
    assert str(dict(report["model"])["sha256"])[:12] in page.words  # type: ignore[call-overload]
    assert "px_nm" in page.words  # the configuration


def test_its_image_shows_the_localizations_where_they_are(kit: Kit) -> None:
    folder, _ = finished(kit, "second")
    field = Region.of_frame((20, 30), (100.0, 110.0))
    seen = overview(folder, field, QualityFilter(sigma_xy_nm=None, sigma_z_nm=None))
    assert seen.whole is not None and (seen.whole.first, seen.whole.last) == (0, 39) and not seen.slices
    whole = np.asarray(Image.open(io.BytesIO(seen.whole.png))).astype(float).sum(axis=2)
    assert whole.shape == (734, 1000)
    _, found = LogReader.open(folder.path).all()
    assert seen.shown == len(found) == len(seen.sample)
    rows, columns = np.nonzero(whole)
    weight = whole[rows, columns] / whole.sum()
    assert (columns * weight).sum() * 3 - 50 == pytest.approx(float(found.x_nm.mean()), abs=150)  # 3 nm a pixel
    assert (rows * weight).sum() * 3 - 55 == pytest.approx(float(found.y_nm.mean()), abs=150)


def test_a_name_with_markup_stays_words(kit: Kit) -> None:
    folder, report = finished(kit, "<img src=x onerror=alert(1)>")
    report["warnings"] = ["<script>alert(2)</script> & more"]
    page = Page(make_run_page(folder, report).read_text(encoding="utf-8"))
    assert "x" not in page.sources and "script" not in {tag for tag, _ in page.tags}
    assert "<script>alert(2)</script> & more" in page.words and "<img src=x" in page.words


def test_a_run_without_one_localization_has_a_page(kit: Kit) -> None:
    kit.go.touch()
    np.save(kit.frames, np.full((40, 20, 30), 100, np.uint16))
    deaf = kit.config("deaf", detection={"peak": 0.999, "accept": 1.0})
    result = session.run(deaf, inline=True)
    assert result.report["localizations"] == 0
    assert "0 localizations" in Page(make_run_page(result.folder, result.report).read_text(encoding="utf-8")).words


def test_the_verdict_names_what_is_missing() -> None:
    frames = {"expected": 10, "fitted": 7, "rejected": 1, "lost_before": 1, "lost_in_ring": 1}
    bad = {"finish": "failed", "reason": "disk full", "frames": frames, "localizations": 5}
    assert verdict(bad) == ("Failed: 7 of 10 frames fitted, 2 lost, 1 rejected; 5 localizations (disk full)", False)


def test_a_sample_is_thinned_evenly_over_the_whole_run(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = finished(kit, "long")
    _, everything = LogReader.open(folder.path).all()
    monkeypatch.setattr(run_overview, "SAMPLE", len(everything) // 5)
    _, thin = sample_of(folder)
    assert len(everything) // 8 <= len(thin) <= 2 * len(everything) // 5 + 1
    stride = round(len(everything) / len(thin))
    assert thin.records().tobytes() == everything[::stride].records().tobytes()
    assert isinstance(thin, Localizations)


def test_runs_are_compared_in_the_terminal_and_on_a_page(
    kit: Kit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (one, report), (two, _) = finished(kit, "one"), finished(kit, "two")
    out = tmp_path / "both.html"
    assert command(["report", str(one.path), str(two.path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"frames fitted\s*.\s*40 of 40 .\s*40 of 40", said)
    page = Page(out.read_text(encoding="utf-8"))
    assert f"{report['localizations']:,}" in page.words and page.words.count("40 of 40") == 2
    assert all(source.startswith("data:") for source in page.sources)


def test_report_makes_the_page_again_and_says_what_it_cannot_do(
    kit: Kit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = finished(kit, "again")
    page = folder.path / "report.html"
    page.unlink(missing_ok=True)
    assert command(["report", str(folder.path)]) == 0 and page.stat().st_size > 10_000
    assert json.loads(folder.report.read_text())["localizations"] == report["localizations"]
    assert command(["report", str(folder.path), "--out", str(tmp_path / "x.html")]) == 1
    assert "--out goes with several runs" in capsys.readouterr().err
    assert command(["report", str(folder.path), str(folder.path), "--out", str(tmp_path / "x.pdf")]) == 1
    assert ".html" in capsys.readouterr().err
