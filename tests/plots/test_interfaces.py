"""Does the figure show the numbers of its result, all of them, without anything cut or overlapping?"""

import hashlib
import itertools
import math
import subprocess
import sys

import matplotlib as mpl
import msgspec
import pytest
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer, ErrorbarContainer

from perfmodel import Scenario, compare
from perfmodel.costs import ALL_STAGES, STAGES
from perfmodel.result import to_json
from plots.interfaces import plot_interfaces
from plots.stacks import INTERVAL_LABEL, SMALL_SHARE, group_stages, time_unit
from plots.style import OTHER_LOOK, STAGE_LOOKS, render
from tests.support.figure_texts import draw, nothing_is_cut_or_overlaps, shown_ticks


@pytest.fixture(scope="module")
def two_gib():
    return compare(Scenario(memory="2GiB", shattered=0.5))


def with_rows(comparison, rows):
    return msgspec.structs.replace(comparison, rows=rows)


def scaled(row, factor, pages=1):
    """Return a row with ``factor`` times the time and ``pages`` times the pages of ``row``."""
    return msgspec.structs.replace(
        row,
        pages=msgspec.structs.replace(row.pages, mapped=row.pages.mapped * pages),
        ns=row.ns.times(factor),
        cycles=row.cycles.times(factor),
        seconds=row.seconds * factor,
        gib_per_s=row.gib_per_s * pages / factor if factor else 0.0,
    )


def unmapped(row):
    return scaled(row, 0, pages=0)


@pytest.fixture(
    scope="module",
    params=["as run", "one row", "tiny", "64 TiB", "100 times", "nothing mapped", "one row unmapped", "vcpus"],
)
def comparison(request, two_gib):
    rows = two_gib.rows
    match request.param:
        case "one row":
            rows = rows[3:]
        case "tiny":
            return compare(Scenario(memory="4KiB"))
        case "64 TiB":
            rows = [scaled(row, 32768, 32768) for row in rows]
        case "100 times":
            rows = [scaled(rows[0], 100.0), *rows[1:]]
        case "nothing mapped":
            rows = [unmapped(row) for row in rows]
        case "one row unmapped":
            rows = [rows[0], unmapped(rows[1])]
        case "vcpus":
            longest = {"shared_pages": 262143, "vcpus": 1024, "shatter_layout": "clustered"}
            return msgspec.structs.replace(two_gib, scenario=two_gib.scenario | longest)
    return with_rows(two_gib, rows)


@pytest.fixture(scope="module")
def figure(comparison):
    return plot_interfaces(comparison)


def bars(axes):
    return [c for c in axes.containers if isinstance(c, BarContainer)]


def error_ends(axes):
    (drawn,) = (c for c in axes.containers if isinstance(c, ErrorbarContainer))
    (lines,) = drawn.lines[2]
    return [tuple(point[0] for point in segment) for segment in lines.get_segments()]


def test_bars_sum_to_the_total_and_touch(comparison, figure):
    time, share, _ = figure.axes
    unit = time_unit(max(row.ns.total for row in comparison.rows))
    for y, row in enumerate(comparison.rows):
        for axes, total in ((time, unit.of_ns(row.ns.total)), (share, 100.0 if row.ns.total else 0.0)):
            pieces = [container[y] for container in bars(axes)]
            assert math.fsum(p.get_width() for p in pieces) == pytest.approx(total, rel=1e-9)
            for before, after in itertools.pairwise(pieces):
                assert after.get_x() == pytest.approx(before.get_x() + before.get_width(), rel=1e-9)
            assert all(p.get_y() + p.get_height() / 2 == pytest.approx(y) for p in pieces)


def test_each_segment_is_its_stages(comparison, figure):
    time, share, _ = figure.axes
    unit, parts = (
        time_unit(max(row.ns.total for row in comparison.rows)),
        group_stages([row.ns for row in comparison.rows]),
    )
    assert [c.get_label() for c in bars(time)] == [c.get_label() for c in bars(share)] == [p.label for p in parts]
    for part, container in zip(parts, bars(time), strict=True):
        for row, bar in zip(comparison.rows, container, strict=True):
            expected = sum(row.ns.by_stage[stage] for stage in part.keys) / 1e9 * unit.per_second
            assert bar.get_width() == pytest.approx(expected, rel=1e-9)
            assert bar.get_hatch() == (part.look.hatch or None)
            assert bar.get_facecolor()[:3] == to_rgb(part.look.colour)


def test_throughput_of_vcpus_that_meet_is_that_of_the_time_that_passes():
    result = compare(Scenario(memory="64MiB", vcpus=4, interfaces=("page-4k", "pfn")))
    time, _, speed = plot_interfaces(result).axes
    assert time.get_xlabel().startswith("work of all 4 vCPUs, waits left out, ")
    (throughput,) = bars(speed)
    for row, bar, ends in zip(result.rows, throughput, error_ends(speed), strict=True):
        interval = row.scaling.point.gib_per_s
        assert bar.get_width() == row.gib_per_s == interval.value
        assert ends == pytest.approx((interval.low, interval.high), rel=1e-9)
        assert row.gib_per_s * row.seconds == pytest.approx(1 / 16)


def test_stages_that_are_small_everywhere_are_one_segment(two_gib):
    parts = group_stages([row.ns for row in two_gib.rows])
    assert sorted(stage for part in parts for stage in part.keys) == sorted(
        stage for stage in STAGES if any(row.ns.by_stage[stage] for row in two_gib.rows)
    )
    assert parts[-1].look is OTHER_LOOK
    for row in two_gib.rows:
        assert all(row.ns.by_stage[stage] < SMALL_SHARE * row.ns.total for stage in parts[-1].keys)
    for part in parts[:-1]:
        assert len(part.keys) == 1
        assert max(part.of(row.ns.by_stage) / row.ns.total for row in two_gib.rows) >= SMALL_SHARE


def test_a_small_stage_alone_keeps_its_name(two_gib):
    row = two_gib.rows[0]
    stages = dict.fromkeys(STAGES, 0.0) | {"exit": 1000.0, "module_fill": 1.0}
    cost = msgspec.structs.replace(row.ns, total=1001.0, by_stage=stages)
    assert [p.keys for p in group_stages([cost])] == [("exit",), ("module_fill",)]


def test_stages_beyond_populating_are_drawn(two_gib):
    row = two_gib.rows[0]
    stages = dict.fromkeys(ALL_STAGES, 0.0) | {"exit": 600.0, "block": 400.0}
    cost = msgspec.structs.replace(row.ns, total=1000.0, low=900.0, high=1100.0, by_stage=stages)
    drawn = plot_interfaces(with_rows(two_gib, [msgspec.structs.replace(row, ns=cost)]))
    assert [container.get_label() for container in bars(drawn.axes[0])] == ["TD exit", "RANGE.BLOCK"]


def test_error_bars_end_at_low_and_high(comparison, figure):
    time, _, speed = figure.axes
    unit = time_unit(max(row.ns.total for row in comparison.rows))
    for row, ends in zip(comparison.rows, error_ends(time), strict=True):
        assert ends == pytest.approx((unit.of_ns(row.ns.low), unit.of_ns(row.ns.high)), rel=1e-9)
    for row, ends in zip(comparison.rows, error_ends(speed), strict=True):
        gib = row.pages.mapped / (1 << 18)
        expected = (gib / row.ns.high * 1e9, gib / row.ns.low * 1e9) if gib else (0.0, 0.0)
        assert ends == pytest.approx(expected, rel=1e-9)
    (throughput,) = bars(speed)
    assert [bar.get_width() for bar in throughput] == [row.gib_per_s for row in comparison.rows]


@pytest.mark.parametrize(
    ("seconds", "unit"), [(3e5, "s"), (1.001, "s"), (0.5, "ms"), (2e-5, "µs"), (3e-7, "ns"), (0.0, "s")]
)
def test_unit_fits_the_longest_time(two_gib, seconds, unit):
    row = two_gib.rows[0]
    rows = [scaled(row, seconds / row.seconds), scaled(row, 0)]
    found = time_unit(max(row.ns.total for row in rows))
    assert found.name == unit
    assert found.of_ns(1e9) == found.per_second
    time = plot_interfaces(with_rows(two_gib, rows)).axes[0]
    assert time.get_xlabel() == f"time to populate, {unit}"


def test_words(two_gib):
    figure = plot_interfaces(two_gib)
    time, share, speed = figure.axes
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "time to populate, s", "share of the time, %", "throughput, GiB/s",
    ]  # fmt: skip
    assert [t.get_text() for t in time.get_yticklabels()] == ["page-4k", "folio-strict", "folio-lenient", "pfn"]
    assert time.get_ylim() == share.get_ylim() == speed.get_ylim()
    assert time.get_ylim()[0] > time.get_ylim()[1]  # the first row on top
    (legend,) = figure.legends
    labels = [part.label for part in group_stages([row.ns for row in two_gib.rows])]
    assert [t.get_text() for t in legend.get_texts()] == [*labels, INTERVAL_LABEL]
    assert "2 GiB" in figure.get_suptitle()
    line = next(t for t in figure.texts if t.get_gid() == "scenario").get_text()
    for word in ("hugetlb-1g", "50 %", "1 shared page each", "linux-lazy"):
        assert word in line
    source = next(t for t in figure.texts if t.get_gid() == "source").get_text()
    for word in (two_gib.version, two_gib.parameters.name, two_gib.parameters.sha256[:12], "seed 0", "TDX_1.5.01"):
        assert word in source
    assert two_gib.parameters.sha256[:13] not in source


def test_rows_without_cost_say_so(two_gib):
    rows = [two_gib.rows[0], unmapped(two_gib.rows[1])]
    time, share, speed = plot_interfaces(with_rows(two_gib, rows)).axes
    assert time.texts[1].get_text() == "0 s, nothing mapped"
    assert speed.texts[1].get_text() == "nothing mapped"
    assert all(bar[1].get_width() == 0 for bar in bars(share))


def test_values_are_written(two_gib):
    time, _, speed = plot_interfaces(two_gib).axes
    for row, text, rate in zip(two_gib.rows, time.texts, speed.texts, strict=True):
        written = [
            float(number) for number in text.get_text().replace(" s (", " ").rstrip(")").split(" to ")[0].split()
        ]
        assert written == pytest.approx([row.seconds, row.ns.low / 1e9], rel=6e-3)
        assert rate.get_text().startswith(f"{row.gib_per_s:#.3g} GiB/s (")


def test_nothing_is_cut_or_overlaps(figure):
    draw(figure)
    texts = [*figure.legends[0].get_texts(), *figure.axes[0].get_yticklabels()]
    for axes in figure.axes:
        texts += [*axes.texts, axes.xaxis.label, axes._left_title, *shown_ticks(axes.xaxis)]
    nothing_is_cut_or_overlaps(figure, texts)


ELSEWHERE = """
import hashlib, pathlib, sys
from perfmodel.result import load_comparison
from plots.interfaces import plot_interfaces
from plots.style import render

figure = plot_interfaces(load_comparison(pathlib.Path(sys.argv[1])))
print(*(hashlib.sha256(render(figure, fmt)).hexdigest() for fmt in ("png", "svg", "pdf")))
print("matplotlib.pyplot" in sys.modules)
"""


def test_bytes_depend_on_the_result_alone(two_gib, tmp_path):
    made = {fmt: render(plot_interfaces(two_gib), fmt) for fmt in ("png", "svg", "pdf")}
    assert [file[:4] for file in made.values()] == [b"\x89PNG", b"<?xm", b"%PDF"]
    with mpl.rc_context({"font.size": 20, "svg.hashsalt": "another", "savefig.dpi": 30}):
        assert {fmt: render(plot_interfaces(two_gib), fmt) for fmt in made} == made
    (tmp_path / "result.json").write_bytes(to_json(two_gib))
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "result.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *hashes, pyplot = done.stdout.split()
    assert hashes == [hashlib.sha256(file).hexdigest() for file in made.values()]
    assert pyplot == "False"


def test_other_formats_are_refused(two_gib):
    with pytest.raises(ValueError, match=r"format 'gif': accepted are png, svg, pdf"):
        render(plot_interfaces(two_gib), "gif")


def test_settings_are_left_alone(two_gib):
    before = dict(mpl.rcParams)
    render(plot_interfaces(two_gib), "png")
    assert dict(mpl.rcParams) == before


def test_looks_tell_stages_apart_in_grey():
    assert set(STAGE_LOOKS) == set(ALL_STAGES)
    looks = [*STAGE_LOOKS.values(), OTHER_LOOK]

    def grey(look):
        return sum(weight * part for weight, part in zip((0.299, 0.587, 0.114), to_rgb(look.colour), strict=True))

    for one, other in itertools.combinations(looks, 2):
        assert one.hatch != other.hatch or abs(grey(one) - grey(other)) > 0.12, (one, other)
