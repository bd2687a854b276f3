"""Question 3: what a conversion from private to shared costs, one and in a storm."""

from dataclasses import replace

from perfmodel.life.phases import Boot, Convert
from perfmodel.report.amounts import vcpus_text
from perfmodel.report.answer import Answer, Group, Row
from perfmodel.report.reproduce import command, story_command
from perfmodel.report.sampled import exact, table
from perfmodel.report.situation import Life, Situation, of_unit
from perfmodel.scaling.result import Curve, ScaleResult
from perfmodel.scaling.scale import ScaleOptions, scale
from perfmodel.workers import Progress

VCPUS = (1, 8, 64, 248)
STORM_VCPUS, STORM_SAMPLES = (1, 64, 248), 8
STORM = 1000
STATES = ("inside", "halted")

_ONE = (Boot(), Convert(count=1, pages=1, back=False))
_MANY = (Boot(), Convert(count=STORM, pages=1, placement="scattered", back=False))
_STORM_WORDS = ("--workload", "convert", "--counts", ",".join(map(str, STORM_VCPUS)), "--samples", f"{STORM_SAMPLES}")
_GIB_PAGES = 1 << 18


def answer(situation: Situation, progress: Progress | None = None) -> tuple[Answer, ScaleResult]:
    """Convert one page of a whole folio, many of them, and memory by 2 MiB a MapGPA among other vCPUs."""
    folio = situation.a_gib_of_folio()
    one, many = (
        {
            vcpus: situation.live(replace(folio, vcpus=vcpus, vcpu_state="inside" if vcpus > 1 else "working"), phases)
            for vcpus in VCPUS
        }
        for phases in (_ONE, _MANY)
    )
    names = situation.interfaces
    cost, storm = (
        situation.price_each(
            {(vcpus_text(n), name): life.ledgers(name)[1] for n, life in lives.items() for name in names}
        )
        for lives in (one, many)
    )
    split = situation.price_each({("any", name): of_unit(one[1].ledgers(name)[1], "split_page") for name in names})
    among = _among(situation, progress)
    most = VCPUS[-1]
    heads = {name: cost[vcpus_text(most), name] for name in names}
    return Answer(
        headline=f"One 4K page of a whole GiB on {folio.backing}, {most - 1} other vCPUs inside: "
        + ", ".join(f"{name} {head.text('s')}" for name, head in heads.items())
        + ".",
        groups=[
            table("One 4K page, by vCPUs of which all but one run inside", cost, "s", drawn=True),
            table("Of that, guest_memfd's split of the folio", split, "s"),
            Group("Exact counts of one", [row for name in names for row in _counts(one[1], name)]),
            table(f"{STORM:,} single pages scattered over one GiB, in all", storm, "s"),
            Group(
                "A guest like this one without shared pages, by 2 MiB a MapGPA: time per 4K page",
                [row for curve in among.curves for row in _per_page(curve)],
            ),
        ],
        hangs_on=situation.causes.of_each(
            {f"one page, {name}, {vcpus_text(most)}": head for name, head in heads.items()}
        ),
        notes=_notes(situation),
        command="\n".join(
            (
                story_command(one[most].plan.story, situation.words),
                command("scale", replace(situation.alone, shattered=0.0), situation.words, *_STORM_WORDS),
            )
        ),
    ), among


def _among(situation: Situation, progress: Progress | None) -> ScaleResult:
    """Simulate conversions by 2 MiB while the other vCPUs run inside, or wait."""
    return scale(
        replace(situation.scenario, shattered=0.0, vcpus=max(STORM_VCPUS), vcpu_state="working"),
        situation.parameters,
        ScaleOptions(vcpus=STORM_VCPUS, workloads=("convert",), states=STATES, samples=STORM_SAMPLES),
        threads=situation.threads,
        progress=progress,
    )


def _counts(life: Life, name: str) -> list[Row]:
    return [
        exact("2M leaves split (BLOCK, TRACK, kick, DEMOTE)", name, life.count(name, 1, "demote")),
        exact("TRACKs and kicks", name, life.count(name, 1, "mem_track")),
    ]


def _per_page(curve: Curve) -> list[Row]:
    rows = []
    for point in curve.points:
        slow, value, fast = (
            1 / (_GIB_PAGES * x) for x in (point.gib_per_s.low, point.gib_per_s.value, point.gib_per_s.high)
        )
        rows.append(Row(f"{vcpus_text(point.vcpus)}, others {curve.state}", curve.interface, value, fast, slow, "s"))
    return rows


def _notes(situation: Situation) -> list[str]:
    backing = situation.scenario.backing
    notes = [
        "How many vCPUs are inside the TD decides: each split and zap kicks those (tdx_track()); halted ones are "
        "only looked at.",
        "By 2 MiB a MapGPA vCPUs are simulated and queue at the TD's lines; single pages are priced without that.",
    ]
    if backing != "hugetlb-1g":
        return [f"{backing} has no 1G folios: what is split is the folio that the backing has.", *notes]
    return [
        "All interfaces are given 1G folios here. But for folio-lenient guest_memfd splits one into 262,144 pages, "
        "which pfn's level rule does not need; one that splits to 2M first, as folio-lenient assumes, makes 1,022. "
        "Mainline's has folios of order 0 and splits none.",
        *notes,
    ]
