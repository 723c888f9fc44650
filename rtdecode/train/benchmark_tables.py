"""The benchmark's figures as tables: one form, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rtdecode.analysis.honesty import QUANTITIES

Figures = dict[str, Any]
TYPICAL_UM2 = (0.2, 1.0)  # densities whose bins are shown; all of them are in accuracy.json


@dataclass(frozen=True, slots=True)
class Sheet:
    """A titled table of words; `note` says how to read it."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """GitHub's pipes."""
        lines = [" | ".join(self.columns), " | ".join(["---", *["---:"] * (len(self.columns) - 1)])]
        lines += [" | ".join(row) for row in self.rows]
        return f"### {self.title}\n\n{self.note}\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n"


def sheets_of(contestants: dict[str, Figures]) -> list[Sheet]:
    """All tables of `run_benchmark`'s figures."""
    makers = (_densities, _sigmas, _isolated, _biases, _signals, _by_z, _by_photons, _uniformity, _reliability)
    made = (make(contestants) for make in makers)
    return [_without(sheet, _OF_Z) if is_2d(contestants) else sheet for sheet in made if sheet.rows]


def is_2d(contestants: dict[str, Figures]) -> bool:
    """Whether none of them has a figure of z."""
    return not any("z" in one["sigma"] for _, _, one in _each(contestants, "density_per_um2"))


_OF_Z = ("RMSE axial nm", "eff. axial", "eff. 3D", "z nm")


def _without(sheet: Sheet, names: tuple[str, ...]) -> Sheet:
    """The same without these columns, and without words of z."""
    kept = [i for i, name in enumerate(sheet.columns) if name not in names]
    rows = tuple(tuple(row[i] for i in kept) for row in sheet.rows)
    note = sheet.note
    for words, in_2d in _NOTES_2D.items():
        note = note.replace(words, in_2d)
    return Sheet(sheet.title, note, tuple(sheet.columns[i] for i in kept), rows)


_NOTES_2D = {"x / y / z / photons": "x / y / photons", " / axial": "", "250 / 500 nm": "250 nm", "; z by z": ""}


def markdown_of(contestants: dict[str, Figures], heading: str) -> str:
    """One page with all tables."""
    return "\n".join([f"## {heading}\n", *(sheet.markdown() for sheet in sheets_of(contestants))])


def print_sheets(contestants: dict[str, Figures]) -> None:
    """All tables on the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console = console if console.is_terminal else Console(width=200)
    for sheet in sheets_of(contestants):
        table = Table(title=sheet.title, caption=sheet.note, title_justify="left", caption_justify="left")
        for i, name in enumerate(sheet.columns):
            table.add_column(name, justify="left" if i == 0 else "right", no_wrap=i == 0)
        last = ""
        for name, *cells in sheet.rows:
            if last and name != last:
                table.add_section()
            table.add_row(name if name != last else "", *cells)
            last = name
        console.print(table)


def _densities(contestants: dict[str, Figures]) -> Sheet:
    keys = (("jaccard", 3), ("precision", 3), ("recall", 3), ("rmse_lateral_nm", 1), ("rmse_axial_nm", 1),
            ("efficiency_lateral", 3), ("efficiency_axial", 3), ("efficiency_3d", 3))  # fmt: skip
    columns = ("", "per um²", "emitters", "Jaccard", "precision", "recall", "RMSE lateral nm", "RMSE axial nm",
               "eff. lateral", "eff. axial", "eff. 3D", "recall, bound < 15 nm", "15-30 nm")  # fmt: skip
    rows = []
    for name, density, one in _each(contestants, "density_per_um2"):
        bound = [_shown(one["recall_by_bound_nm"][b]["recall"]) for b in ("0-15", "15-30")]
        rows.append((name, density, str(one["n_emitters"]), *(_shown(one[k], d) for k, d in keys), *bound))
    note = "Every emitter of 100 photons or more in the field counts, partial exposures too; 250 / 500 nm, optimal."
    return Sheet("By density", note, columns, tuple(rows))


def _sigmas(contestants: dict[str, Figures]) -> Sheet:
    rows = []
    for name, density, one in _each(contestants, "density_per_um2"):
        cells = [_joined(one["sigma"], k, 2) for k in ("variance", "within_1_sigma", "within_2_sigma")]
        rows.append((name, density, *cells, _shown(one["calibration_error"])))
    for name, photons, one in _lone(contestants):
        cells = [_joined(one["sigma"], k, 2) for k in ("variance", "within_1_sigma", "within_2_sigma")]
        rows.append((name, f"alone, {photons}", *cells, ""))
    rows.sort(key=lambda row: list(contestants).index(row[0]))
    columns = ("", "per um²", "z-score variance", "within 1 sigma", "within 2 sigma", "error of probability")
    note = "x / y / z / photons; honest: 1, 0.68, 0.95. Last column: mean |stated - true| probability."
    return Sheet("Sigmas and probabilities", note, columns, tuple(rows))


def _isolated(contestants: dict[str, Figures]) -> Sheet:
    zs = next(([part["z_nm"] for part in one["by_z"]] for _, _, one in _lone(contestants) if one["by_z"]), [])
    rows = [
        (name, photons, _shown(one["recall"]), _percent(one["split"]), _shown(one["photon_ratio"]),
         _joined_flat(one["rmse_over_bound"]), _joined_flat(one["total_over_total"]),
         *([_shown(part["z"], 2) for part in one["by_z"]] or ["-"] * len(zs)))
        for name, photons, one in _lone(contestants)
    ]  # fmt: skip
    columns = ("", "photons", "recall", "split", "photons found", "RMSE / bound", "RMSE / rms bound",
               *(f"z {low:.0f}..{high:.0f}" for low, high in zs))  # fmt: skip
    note = "Of those found: x / y / z / photons over each one's single-frame Cramér-Rao bound (EM gain in it); z by z."
    return Sheet("Isolated emitters, one frame", note, columns, tuple(rows))


def _biases(contestants: dict[str, Figures]) -> Sheet:
    rows = []
    for name, figures in contestants.items():
        for where, of in figures["isolated"]["bias"].items():
            rows.append((name, _WHERE[where], *(_bias_cell(of.get(q), q == "photons") for q in QUANTITIES)))
    note = "Beyond chance (rms over bins), and the largest bin ± its standard error; weighted by each one's bound."
    columns = ("", "against", "x nm", "y nm", "z nm", "photons")
    return Sheet("Bias of isolated emitters", note, columns, tuple(rows))


_WHERE = {"x_in_pixel": "x in the pixel", "y_in_pixel": "y in the pixel", "z_nm": "z", "photons": "photons"}


def _bias_cell(bias: Figures | None, relative: bool) -> str:
    if bias is None or bias["rms"] is None:
        return "-"
    if relative:
        return f"{bias['rms']:.1%}, {bias['largest']:+.1%} ± {bias['largest_se']:.1%}"
    return f"{bias['rms']:.1f}, {bias['largest']:+.1f} ± {bias['largest_se']:.1f}"


def _signals(contestants: dict[str, Figures]) -> Sheet:
    levels = sorted({cell["background_level"] for f in contestants.values() for cell in f["signal_background"]})
    rows = []
    for name, figures in contestants.items():
        cells = {(c["photons_mean"], c["background_level"]): c for c in figures["signal_background"]}
        for photons in sorted({p for p, _ in cells}):
            words = [f"{_shown(c['jaccard'], 2)}, {_rmse(c)}" for c in (cells[photons, level] for level in levels)]
            rows.append((name, f"{photons:g}", *words))
    note = "Jaccard, RMSE lateral / axial in nm; the scene at this mean brightness over this level of background."
    columns = ("", "photons", *(f"background {level:g}" for level in levels))
    return Sheet("By signal and background", note, columns, tuple(rows))


def _by_z(contestants: dict[str, Figures]) -> Sheet:
    return _binned(contestants, "by_z_nm", "By z", "Recall, RMSE lateral / axial in nm of emitters between these z.")


def _by_photons(contestants: dict[str, Figures]) -> Sheet:
    note = "Recall, RMSE lateral / axial in nm of emitters with so many photons in the frame."
    return _binned(contestants, "by_photons", "By photons of the emitter", note)


def _binned(contestants: dict[str, Figures], key: str, title: str, note: str) -> Sheet:
    rows, edges = [], []
    for name, density, one in _each(contestants, "density_per_um2"):
        if float(density) in TYPICAL_UM2 or len(contestants[name]["density_per_um2"]) == 1:
            edges = [(b["from"], b["to"]) for b in one[key]]
            cells = [f"{_shown(b['recall'], 2)}, {_rmse(b)}" for b in one[key]]
            if not cells:  # 2D has no z
                continue
            rows.append((name, density, *cells))
    columns = ("", "per um²", *(f"{low:.0f}.." + ("" if high is None else f"{high:.0f}") for low, high in edges))
    return Sheet(title, note, columns, tuple(rows))


def _uniformity(contestants: dict[str, Figures]) -> Sheet:
    rows = [
        (name, density, axis, str(one["n"]), _shown(one["kuiper_v"], 4), f"{one['p']:.2g}",
         _percent(one["modulation"]), "yes" if one["uniform"] else "NO")
        for name, density, axes in _each(contestants, "grid") for axis, one in axes.items()
    ]  # fmt: skip
    columns = ("", "per um²", "axis", "n", "Kuiper's V", "p", "modulation", "uniform")
    note = "Places within the pixel after the recommended filter, of emitters that are uniform; uniform is p > 0.01."
    return Sheet("Grid artefact", note, columns, tuple(rows))


def _reliability(contestants: dict[str, Figures]) -> Sheet:
    names = tuple(f"{k / 10:.1f}" for k in range(10))
    rows = []
    for name, figures in contestants.items():
        cells = {min(int(c["stated"] * 10), 9): c for c in figures["reliability"]}
        words = [f"{cells[k]['true']:.2f} ({cells[k]['n']})" if k in cells else "-" for k in range(10)]
        rows.append((name, *words, _shown(figures["calibration_error"])))
    note = "Share that is true (how many) of localizations whose stated probability begins so; up to 1 per um²."
    return Sheet("Reliability of the probability", note, ("", *names, "error"), tuple(rows))


def _each(contestants: dict[str, Figures], key: str) -> Iterator[tuple[str, str, Figures]]:
    for name, figures in contestants.items():
        for at, one in figures[key].items():
            yield name, at, one


def _lone(contestants: dict[str, Figures]) -> Iterator[tuple[str, str, Figures]]:
    for name, figures in contestants.items():
        for photons, one in figures["isolated"]["by_photons"].items():
            yield name, photons, one


def _joined(of: dict[str, Figures], key: str, digits: int) -> str:
    return " / ".join(_shown(one[key], digits) for one in of.values())


def _joined_flat(of: Figures) -> str:
    return " / ".join(_shown(value, 2) for value in of.values())


def _rmse(one: Figures) -> str:
    """Lateral / axial; lateral alone in 2D and where nothing was found."""
    axial = one["rmse_axial_nm"]
    return _shown(one["rmse_lateral_nm"], 0) + ("" if axial is None else f" / {axial:.0f}")


def _shown(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
