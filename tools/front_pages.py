"""The front as a table in Markdown, as JSON and as a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
TYPICAL = "1"  # per um²
PANELS = (("jaccard", "Jaccard at 1 per µm²"), ("efficiency_3d", "efficiency 3D at 1 per µm²"))
COLOURS = {"iterations": "#0072b2", "wall-clock": "#d55e00"}  # Okabe and Ito: for all eyes
STAR = "#222222"
LABEL_GAP = 0.032  # of the axis' height
NEAR = 1.7  # costs within this factor have labels one above the other
SAME = 1.2  # and within this one they begin at the same place


def write_pages(out: Path, figures: Figures) -> list[Path]:
    """front.json, front.md, front.png in `out`; the picture needs matplotlib and a network that is done."""
    (out / "front.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (out / "front.md").write_text(table(figures), encoding="utf-8")
    written = [out / "front.json", out / "front.md"]
    if figures["networks"]:
        draw(out / "front.png", figures)
        written.append(out / "front.png")
    return written


def words_of(figures: Figures) -> dict[str, str]:
    """What each budget is, for titles and legends."""
    budgets = figures["family"]["budgets"]
    words = {"iterations": f"{budgets['iterations']:,} steps each"}
    if budgets["seconds"] is not None:
        words["wall-clock"] = f"{budgets['seconds'] / 60:g} minutes of one core each"
    return words


def table(figures: Figures) -> str:
    """Markdown: a table for each budget, cheapest network first, and one for the long-trained bundles."""
    parts = []
    for budget, words in words_of(figures).items():
        rows = [row for row in figures["networks"] if row["budget"] == budget]
        if rows:
            parts.append(_section(words[0].upper() + words[1:], rows, figures))
    if figures["stars"]:
        parts.append(_section("Long-trained", figures["stars"], figures))
    return "\n".join(parts) or "Nothing is done yet.\n"


def _section(title: str, rows: Sequence[Figures], figures: Figures) -> str:
    sizes = figures["family"]["speed"]["sizes_px"] if "frames_per_s" in rows[0] else []
    densities = list(rows[0]["density_per_um2"])
    at = " / ".join(densities)
    head = ["network", "kMAC/px", *(["steps"] if sizes else []), "accept", f"Jaccard at {at} per µm²", "efficiency 3D",
            "RMSE lateral / axial at 1, nm", *(f"fps {size}²" for size in sizes)]  # fmt: skip
    lines = [f"{title}:", "", _row(head), _row(["---"] * len(head))]
    for row in sorted(rows, key=lambda row: row["kmac_per_px"]):
        scores = row["density_per_um2"]
        lines.append(_row([
            row["name"], f"{row['kmac_per_px']:.0f}", *([f"{row['iterations']:,}"] if sizes else []),
            f"{row['accept']:g}", *(_by_density(scores, key, 3) for key in ("jaccard", "efficiency_3d")),
            " / ".join(_shown(scores.get(TYPICAL, {}).get(f"rmse_{axis}_nm"), 0) for axis in ("lateral", "axial")),
            *(_shown(row["frames_per_s"].get(f"{size}"), 0) for size in sizes),
        ]))  # fmt: skip
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _by_density(scores: Figures, key: str, digits: int) -> str:
    return " / ".join(_shown(score[key], digits) for score in scores.values())


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def draw(path: Path, figures: Figures) -> None:
    """Jaccard and 3D efficiency against arithmetic; a line joins the networks that no cheaper one reaches."""
    from matplotlib.figure import Figure

    page = Figure(figsize=(15, 7.5), dpi=100, layout="constrained")
    for ax, (key, label) in zip(page.subplots(1, 2), PANELS, strict=True):
        points = []
        for budget, words in words_of(figures).items():
            rows = _points([row for row in figures["networks"] if row["budget"] == budget], key)
            marker = "o" if budget == "iterations" else "s"
            ax.plot([x for x, _, _ in rows], [y for _, y, _ in rows], marker, color=COLOURS[budget], ms=8, label=words)
            front = front_of(rows)
            ax.plot([x for x, _, _ in front], [y for _, y, _ in front], "-", color=COLOURS[budget], lw=1, alpha=0.5)
            points += [(x, y, name, COLOURS[budget]) for x, y, name in rows]
        stars = _points(figures["stars"], key)
        if stars:
            xs, ys = [x for x, _, _ in stars], [y for _, y, _ in stars]
            ax.plot(xs, ys, "*", color=STAR, ms=15, label="long-trained")
        points += [(x, y, name, STAR) for x, y, name in stars]
        _dress(ax, label, [x for x, _, _, _ in points])
        _label(ax, points)
        ax.legend(loc="lower right")
    page.savefig(path)


def _points(rows: Sequence[Figures], key: str) -> list[tuple[float, float, str]]:
    """(kMAC per pixel, value, name) of those that have a value."""
    found = [(row["kmac_per_px"], row["density_per_um2"].get(TYPICAL, {}).get(key), row["name"]) for row in rows]
    return sorted((x, y, name) for x, y, name in found if y is not None)


def front_of(points: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Those that are better than everything that costs as much or less, cheapest first."""
    front: list[tuple[float, float, str]] = []
    for point in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def _dress(ax: Any, label: str, costs: Sequence[float]) -> None:
    ax.set_xscale("log")
    ax.set_xlim(min(costs, default=10) / 1.3, max(costs, default=600) * 2.0)  # room for labels
    ticks = [x for x in (5, 10, 20, 50, 100, 200, 500, 1000) if ax.get_xlim()[0] <= x <= ax.get_xlim()[1]]
    ax.set_xticks(ticks, [f"{x}" for x in ticks])
    ax.minorticks_off()
    ax.margins(y=0.08)
    ax.set_xlabel("kMAC per pixel and frame")
    ax.set_ylabel(label)
    ax.grid(color="0.9")
    ax.set_axisbelow(True)


def _label(ax: Any, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Names to the right of the points, moved apart upwards where networks cost about the same."""
    from matplotlib.patheffects import withStroke

    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    placed: list[tuple[float, float]] = []  # (cost, height in axis fractions)
    for x, y, name, colour in sorted(points, key=lambda point: point[1]):
        near = [other for other, _, _, _ in points if max(x, other) / min(x, other) < SAME]
        taken = [h for other, h in placed if max(x, other) / min(x, other) < NEAR]
        height = max([(y - low) / (high - low), *(h + LABEL_GAP for h in taken)])
        placed.append((x, height))
        at = (max(near) * 1.1, low + height * (high - low))
        ax.annotate(name, (x, y), xytext=at, color=colour, fontsize=10, va="center", zorder=4,
                    path_effects=[withStroke(linewidth=3, foreground="white")],
                    arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "shrinkB": 4})  # fmt: skip
