"""Turn ``pytest --benchmark-only --benchmark-json=FILE`` into the README's table.

``python bench/table.py FILE`` prints it, ``--write README.md`` puts it between the markers there. A benchmark without a
row in ``LABELS`` is an error: a table that leaves something out says more than it should.
"""

import json
from pathlib import Path
from typing import Any

import click

LABELS = {
    "test_walk.py::test_walk": "bulk S-EPT walks",
    "test_pamt_lookup.py::test_pamt_lookup": "bulk PAMT lookups",
    "test_populate.py::test_4k_calls": "calls on 4K pages",
    "test_populate.py::test_aug_2m": "AUG at 2M",
    "test_touch.py::test_populate_random": "4K faults touch by touch",
    "test_shrink.py::test_4k_calls": "calls on 4K pages",
    "test_shrink.py::test_demote": "DEMOTE",
    "test_populate.py::test_4k_against_2m": "a region by interface",
    "test_populate.py::test_folio_against_pfn": "a shattered region by interface",
    "test_populate.py::test_scaling": "a whole guest",
    "test_compare.py::test_compare": "`perfmodel compare`, four interfaces",
    "test_compile.py::test_compile": "first and later start",
    "test_peers.py::test_calls_against_c": "calls on 4K pages",
    "test_peers.py::test_walks_against_c": "bulk S-EPT walks",
    "test_peers.py::test_lookups_against_c": "bulk PAMT lookups",
    "test_peers.py::test_aug_against_numpy": "AUG at 4K",
    "test_peers.py::test_aug_against_python": "AUG at 4K",
}
"""What each benchmark measures, by file and function, in the order of the table."""

BEGIN, END = "<!-- benchmarks: made by bench/table.py -->\n", "<!-- end of benchmarks -->\n"
_HEAD = ("question", "measured", "case", "rate", "of the roofline", "of a peer")


def rate(benchmark: dict[str, Any]) -> str:
    """Return items a second, or the time of a round that has but one."""
    seconds, info = benchmark["stats"]["median"], benchmark["extra_info"]
    if info["items"] == 1:
        return f"{seconds:.3g} s"
    per_second = info["items"] / seconds
    scale, name = next((s, n) for s, n in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")) if per_second >= s or s == 1)
    return f"{per_second / scale:.3g} {name} {info['unit']}/s".replace("  ", " ")


def row(benchmark: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    """Return a benchmark's place in the table and its cells."""
    function, _, case = benchmark["fullname"].rpartition("/")[2].partition("[")
    if function not in LABELS:
        raise click.ClickException(f"{benchmark['fullname']}: no row for it; accepted are {', '.join(LABELS)}")
    info = benchmark["extra_info"]
    missing = [key for key in ("items", "unit", "thp") if key not in info]
    if missing:
        raise click.ClickException(f"{benchmark['fullname']}: extra_info lacks {', '.join(missing)}")
    roofline = f"{info['roofline_ratio']:.2f}" if "roofline_ratio" in info else ""
    peer = f"{info['peer_ratio']:.2f} ({info['peer']})" if "peer" in info else ""
    cells = (benchmark["group"] or "", LABELS[function], case.removesuffix("]"), rate(benchmark), roofline, peer)
    return list(LABELS).index(function), cells


def table(results: dict[str, Any]) -> str:
    """Return the results of pytest-benchmark as a table in Markdown."""
    rows = sorted((row(benchmark) for benchmark in results["benchmarks"]), key=lambda one: one[0])
    settings = {benchmark["extra_info"]["thp"] for benchmark in results["benchmarks"]}
    cpu = results["machine_info"]["cpu"]
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    lines += ["| " + " | ".join(cells) + " |" for _, cells in rows]
    lines += ["", f"{cpu['count']} cores, THP {', '.join(sorted(settings))}, {results['datetime'][:10]}."]
    return "\n".join(lines) + "\n"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--write", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Put it into this file.")
def main(results: Path, write: Path | None) -> None:
    """Make the README's table of benchmarks from RESULTS, the JSON of pytest-benchmark."""
    try:
        made = table(json.loads(results.read_bytes()))
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{results}: not a result of pytest --benchmark-json ({error!r})") from None
    if write is None:
        click.echo(made, nl=False)
        return
    text = write.read_text()
    if BEGIN not in text or END not in text:
        raise click.ClickException(f"{write}: lacks the lines {BEGIN.strip()!r} and {END.strip()!r}")
    before, rest = text.split(BEGIN, 1)
    write.write_text(before + BEGIN + made + END + rest.split(END, 1)[1])


if __name__ == "__main__":
    main()
