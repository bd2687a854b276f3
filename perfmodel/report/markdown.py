"""A report as Markdown. Nothing here knows what is asked."""

import re
from collections.abc import Sequence

from perfmodel.parameters import confidence_legend
from perfmodel.report.amounts import amount
from perfmodel.report.answer import Answer, Group, HangsOn, Report, Row
from perfmodel.sizes import format_size

FIGURES = "figures"
"""Folder of the figures, beside the report."""


def to_markdown(report: Report) -> str:
    """Return the whole report; figures are links into :data:`FIGURES`."""
    parts = [
        f"# Eleven questions about a TD of {format_size(report.scenario['memory_bytes'])}",
        f"**{escape(report.headline)}**",
        _how_to_read(report),
        *(_answer(one) for one in report.answers),
        "---",
        source_line(report),
    ]
    return "\n\n".join(parts) + "\n"


def source_line(report: Report) -> str:
    """Return what made the report: version, parameters, seed, guest and module."""
    s = report.scenario
    guest = (
        f"{format_size(s['memory_bytes'])}, {s['backing']}, guest {s['guest']}, {s['order']}, layout {s['layout']}, "
        f"{s['levels']} S-EPT levels, {100 * s['shattered']:.3g} % of the 1G folios with {s['shared_pages']} shared "
        f"pages each, {s['vcpus']} vCPUs"
    )
    module = " + ".join((s["module"], *s["module_features"]))
    made_by = f"parameters {report.parameters.name} ({report.parameters.sha256[:12]}), seed {report.seed}"
    return escape(f"perfmodel {report.version}, {made_by}, module {module}; {guest}")


def escape(text: str) -> str:
    """Return ``text`` on one line, so that Markdown shows it as it is."""
    text = re.sub(r"([\\`*\[\]<>|~&])", r"\\\1", " ".join(text.split()))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # within a word it is no emphasis


def _how_to_read(report: Report) -> str:
    letters = {one.confidence for answer in report.answers for one in answer.hangs_on}
    legend = "; ".join(f"{letter} {escape(text)}" for letter, text in confidence_legend().items() if letter in letters)
    return (
        "Numbers in brackets span 5 % to 95 % over the ranges of the parameters; numbers without are exact. A number "
        "hangs most on the assumption whose draws explain the largest share of its variance over the samples."
        + (f" Confidence: {legend}." if legend else "")
    )


def _answer(answer: Answer) -> str:
    parts = [f"## {answer.number}. {escape(answer.question)}"]
    if answer.reason is not None:
        return "\n\n".join([*parts, escape(answer.reason)])
    parts.append(f"**{escape(answer.headline)}**")
    parts += [f"![{escape(answer.headline)}]({FIGURES}/{stem}.png)" for stem in answer.figures]
    by_assumption: dict[str, list[HangsOn]] = {}
    for one in answer.hangs_on:
        by_assumption.setdefault(one.assumption, []).append(one)
    if by_assumption:
        parts.append("Hangs most on:\n\n" + "\n".join(map(_hangs_on, by_assumption.values())))
    parts += [table for group in answer.groups if (table := _table(group))]
    parts += ["\n".join(f"- {escape(note)}" for note in answer.notes)] if answer.notes else []
    parts += [f"```sh\n{answer.command}\n```"] if answer.command else []
    return "\n\n".join(parts)


def _hangs_on(same: Sequence[HangsOn]) -> str:
    """Return a line about the numbers that hang on one assumption."""
    one = same[0]
    at = amount(Row("", "", one.value, one.low, one.high, one.unit))
    of = ", ".join(f"{100 * each.share:.0f} % ({each.number})" for each in same)
    return (
        f"- **{escape(one.assumption)}**: {escape(one.meaning)}; {escape(at)}, confidence {escape(one.confidence)}. "
        f"Share of the variance: {escape(of)}. Source: {escape(one.source)}"
    )


def _table(group: Group) -> str:
    """Return a group with a line for each label and a column for each interface, or whatever columns are."""
    if not group.rows:
        return ""
    columns = list(dict.fromkeys(row.column for row in group.rows))
    labels = list(dict.fromkeys(row.label for row in group.rows))
    cells = {(row.label, row.column): amount(row) for row in group.rows}
    lines = [[group.title, *columns], ["---", *["---:"] * len(columns)]]
    lines += [[label, *(cells.get((label, column), "") for column in columns)] for label in labels]
    return "\n".join(_line(cells, escaped=number != 1) for number, cells in enumerate(lines))


def _line(cells: Sequence[str], escaped: bool) -> str:
    return f"| {' | '.join(escape(cell) if escaped else cell for cell in cells)} |"
