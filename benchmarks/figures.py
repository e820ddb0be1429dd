"""What a benchmark finds, how it is judged against a bound, and how it is shown. Pure: no measuring here."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed, interpolated between neighbours."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


@dataclass(frozen=True, slots=True)
class Check:
    """A figure beside its bound. It is told, never enforced: a busy neighbour must not fail a build."""

    what: str
    value: float
    bound: float
    at_most: bool = True

    @property
    def is_kept(self) -> bool:
        """Whether the value keeps to the bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{_number(self.value)}{self.what} ({sign} {_number(self.bound)}) {'ok' if self.is_kept else 'OVER'}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: one contender in one situation.

    `value` is the median unless the figure says otherwise. `cpu` is CPU milliseconds of the whole machine for each
    container or request.
    """

    part: str
    figure: str
    who: str
    value: float
    unit: str
    p95: float | None = None
    cpu: float | None = None
    samples: int = 1
    checks: tuple[Check, ...] = ()


@dataclass(slots=True)
class Report:
    """All that one run found."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a line below the table, once."""
        if text not in self.notes:
            self.notes.append(text)


def milliseconds(
    part: str, figure: str, who: str, seconds: Sequence[float], cpu: float | None = None, checks: Iterable[Check] = ()
) -> Row:
    """A row of durations: median and 95th percentile."""
    p50, p95 = (percentile(seconds, share) * 1000 for share in (0.5, 0.95))
    return Row(part, figure, who, p50, "ms", p95, None if cpu is None else cpu * 1000, len(seconds), tuple(checks))


def ratio_checks(
    value: float, bounds: Iterable[tuple[str, float | None, float]], *, at_most: bool = True
) -> list[Check]:
    """Checks against references of the same run: (what it is, its value or None, how many times it is allowed)."""
    return [Check(f" x {what}", value / reference, bound, at_most) for what, reference, bound in bounds if reference]


def as_line(row: Row) -> str:
    """One row by itself, to be told as soon as it is found."""
    part, figure, who, value, p95, _, bound = as_cells(row)
    return "; ".join(text for text in (f"{part}, {figure}: {who} {value}", p95 and f"p95 {p95}", bound) if text)


HEADINGS = ("part", "figure", "who", "value", "p95", "CPU each", "bound")


def as_cells(row: Row) -> tuple[str, ...]:
    """The row as texts, under HEADINGS."""
    p95 = "" if row.p95 is None else f"{_number(row.p95)} ms"
    cpu = "" if row.cpu is None else f"{_number(row.cpu)} ms"
    bound = "; ".join(map(str, row.checks))
    return row.part, row.figure, row.who, f"{_number(row.value)} {row.unit}", p95, cpu, bound


def _number(value: float) -> str:
    """Three significant digits, which is more than such a machine repeats."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def as_table(report: Report) -> str:
    """For people: columns, what repeats left out, notes below."""
    cells = [as_cells(row) for row in report.rows]
    widths = [max(len(line[i]) for line in [HEADINGS, *cells]) for i in range(len(HEADINGS))]
    lines = [_line(HEADINGS, widths), "  ".join("-" * width for width in widths)]
    before: tuple[str, str] = ("", "")
    for line in cells:
        shown = list(line)
        if line[0] == before[0]:
            shown[0] = ""
            shown[1] = "" if line[1] == before[1] else line[1]
        before = line[0], line[1]
        lines.append(_line(shown, widths))
    return "\n".join([*lines, *(["", *(f"* {note}" for note in report.notes)] if report.notes else [])])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    right = (3, 4, 5)
    texts = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return "  ".join(texts).rstrip()


def as_markdown(report: Report) -> str:
    """For documents."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|---|---|---|---:|---:|---:|---|"]
    lines += [f"| {' | '.join(as_cells(row))} |" for row in report.rows]
    return "\n".join([*lines, "", *(f"* {note}" for note in report.notes)])


def as_json(report: Report) -> str:
    """For programs."""
    rows = [
        {
            "part": row.part,
            "figure": row.figure,
            "who": row.who,
            "value": row.value,
            "unit": row.unit,
            "p95_ms": row.p95,
            "cpu_ms_each": row.cpu,
            "samples": row.samples,
            "checks": [
                {
                    "what": check.what.strip(),
                    "value": check.value,
                    "bound": check.bound,
                    "kind": "at most" if check.at_most else "at least",
                    "ok": check.is_kept,
                }
                for check in row.checks
            ],
        }
        for row in report.rows
    ]
    return json.dumps({"rows": rows, "notes": report.notes}, indent=2)
