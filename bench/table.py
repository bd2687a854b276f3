"""Turn ``pytest --benchmark-only --benchmark-json=FILE`` into the README's table.

``python bench/table.py FILE`` prints it, ``--write README.md`` puts it between the markers there. A benchmark without a
row in ``LABELS`` is an error: a table that leaves something out says more than it should.
"""

import json
import statistics
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
    "test_steady.py::test_accesses": "accesses on simulated TLBs and caches",
    "test_ingest.py::test_ingest": "traces of events, functions, records",
    "test_cache.py::test_faults": "faults on simulated caches",
    "test_cache.py::test_loads_against_pycachesim": "loads on simulated caches",
    "test_peers.py::test_calls_against_c": "calls on 4K pages",
    "test_peers.py::test_walks_against_c": "bulk S-EPT walks",
    "test_peers.py::test_lookups_against_c": "bulk PAMT lookups",
    "test_peers.py::test_aug_against_numpy": "AUG at 4K",
    "test_peers.py::test_aug_against_python": "AUG at 4K",
    "test_explore.py::test_answer": "a slider of `perfmodel explore`, moved",
    "test_sweep.py::test_pricing": "priced points of 2,000 samples",
    "test_queueing.py::test_faults_of_64_vcpus": "4K faults of 64 vCPUs that meet each other",
}
"""What each benchmark measures, by file and function, in the order of the table."""

BEGIN, END = "<!-- benchmarks: made by bench/table.py -->\n", "<!-- end of benchmarks -->\n"
_HEAD = ("question", "measured", "cases", "rate", "of the roofline", "of a peer")


def rate(benchmark: dict[str, Any]) -> float:
    """Return items a second."""
    return float(benchmark["extra_info"]["items"] / benchmark["stats"]["median"])


def spread(values: list[float]) -> str:
    """Return the median, and what lies around it."""
    if not values:
        return ""
    middle = f"{statistics.median(values):.2f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.2f} to {max(values):.2f})"


def rates(benchmarks: list[dict[str, Any]]) -> str:
    """Return the least and the highest rate, or the times of rounds of one item."""
    if all(one["extra_info"]["items"] == 1 for one in benchmarks):
        return " and ".join(f"{one['stats']['median']:.3g} s" for one in benchmarks)
    found = sorted(rate(one) for one in benchmarks)
    ends = [found[0]] if len(found) == 1 else [found[0], found[-1]]
    return " to ".join(_scaled(one) for one in ends) + f" {benchmarks[0]['extra_info']['unit']}/s"


def _scaled(per_second: float) -> str:
    scale, name = next(
        (s, n) for s, n in ((1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")) if per_second >= s or s == 1
    )
    return f"{per_second / scale:.3g}{name}"


def name_of(benchmark: dict[str, Any]) -> str:
    """Return file and function, and refuse what the table does not know."""
    name = str(benchmark["fullname"].rpartition("/")[2].partition("[")[0])
    if name not in LABELS:
        raise click.ClickException(f"{benchmark['fullname']}: no row for it; accepted are {', '.join(LABELS)}")
    missing = [key for key in ("items", "unit", "thp") if key not in benchmark["extra_info"]]
    if missing:
        raise click.ClickException(f"{benchmark['fullname']}: extra_info lacks {', '.join(missing)}")
    return name


def row(name: str, benchmarks: list[dict[str, Any]]) -> str:
    """Return the line of one function's benchmarks; of several guest sizes the largest stands for all."""
    sizes = [(one["params"] or {}).get("gib") for one in benchmarks]
    largest = max((size for size in sizes if size), default=None)
    shown = [one for one, size in zip(benchmarks, sizes, strict=True) if size == largest]
    peers = sorted({one["extra_info"]["peer"] for one in shown if "peer" in one["extra_info"]})
    cells = (
        shown[0]["group"] or "",
        LABELS[name],
        f"{len(shown)}" + (f" at {largest} GiB" if largest else ""),
        rates(shown),
        spread([one["extra_info"]["roofline_ratio"] for one in shown if "roofline_ratio" in one["extra_info"]]),
        spread([one["extra_info"]["peer_ratio"] for one in shown if "peer" in one["extra_info"]])
        + (f" {', '.join(peers)}" if peers else ""),
    )
    return "| " + " | ".join(cells) + " |"


def table(results: dict[str, Any]) -> str:
    """Return the results of pytest-benchmark as a table in Markdown."""
    found: dict[str, list[dict[str, Any]]] = {}
    for benchmark in results["benchmarks"]:
        found.setdefault(name_of(benchmark), []).append(benchmark)
    settings = {benchmark["extra_info"]["thp"] for benchmark in results["benchmarks"]}
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + " --- |" * len(_HEAD)]
    lines += [row(name, found[name]) for name in LABELS if name in found]
    cores = results["machine_info"]["cpu"]["count"]
    lines += [
        "",
        f"{cores} cores, THP {', '.join(sorted(settings))}, {results['datetime'][:10]}; median (least to most).",
    ]
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
