"""Question 3: what a conversion from private to shared costs, one and in a storm."""

from dataclasses import replace

from perfmodel.life.phases import Boot, Convert
from perfmodel.report.amounts import amount
from perfmodel.report.answer import Answer, Group, Row
from perfmodel.report.reproduce import command, story_command
from perfmodel.report.sampled import exact
from perfmodel.report.situation import Situation, of_unit
from perfmodel.scaling.result import Curve, ScaleResult
from perfmodel.scaling.scale import ScaleOptions, scale
from perfmodel.workers import Progress

VCPUS = (1, 8, 64, 248)
STORM_VCPUS = (1, 8, 64, 248)
STORM_SAMPLES = 8
STORM = 1000
STATES = ("inside", "halted")

_ONE = (Boot(), Convert(count=1, pages=1, back=False))
_MANY = (Boot(), Convert(count=STORM, pages=1, placement="scattered", back=False))
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
    cost = {(name, n): situation.price([life.ledgers(name)[1]])[0] for n, life in one.items() for name in names}
    split = {name: situation.price([of_unit(one[1].ledgers(name)[1], "split_page")])[0] for name in names}
    storm = {(name, n): situation.price([life.ledgers(name)[1]])[0] for n, life in many.items() for name in names}
    among = scale(
        replace(situation.scenario, vcpus=max(STORM_VCPUS), vcpu_state="working"), situation.parameters,
        ScaleOptions(vcpus=STORM_VCPUS, workloads=("convert",), states=STATES, samples=STORM_SAMPLES),
        threads=situation.threads, progress=progress,
    )  # fmt: skip
    most = VCPUS[-1]
    return Answer(
        headline=f"One 4K page of a whole GiB on {folio.backing}, {most - 1} other vCPUs inside: "
        + ", ".join(f"{name} {amount(cost[name, most].row('', '', 's'))}" for name in names) + ".",
        groups=[
            Group("One 4K page, by vCPUs of which all but one run inside",
                  [cost[name, n].row(_vcpus(n), name, "s") for n in VCPUS for name in names], drawn=True),
            Group("Of that, guest_memfd's split of the folio", [split[name].row("any", name, "s")
                                                                            for name in names]),
            Group("Exact counts of one", [row for name in names for row in (
                exact("2M leaves split (BLOCK, TRACK, kick, DEMOTE)", name, one[1].count(name, 1, "demote")),
                exact("TRACKs and kicks", name, one[1].count(name, 1, "mem_track")),
            )]),
            Group(f"{STORM:,} single pages scattered over one GiB, in all",
                  [storm[name, n].row(_vcpus(n), name, "s") for n in VCPUS for name in names]),
            Group("The guest's own memory by 2 MiB a MapGPA, time per 4K page",
                  [row for curve in among.curves for row in _per_page(curve)]),
        ],
        hangs_on=[one for name in names for one in situation.causes.most(f"one page, {name}, {most} vCPUs",
                                                                         cost[name, most])],
        notes=_notes(situation),
        command=story_command(situation.story(replace(folio, vcpus=most, vcpu_state="inside"), _ONE), situation.words)
        + "\n" + command("scale", situation.alone, situation.words, "--workload", "convert", "--counts",
                         ",".join(map(str, STORM_VCPUS)), "--samples", str(STORM_SAMPLES)),
    ), among  # fmt: skip


def _vcpus(count: int) -> str:
    return "1 vCPU" if count == 1 else f"{count} vCPUs"


def _per_page(curve: Curve) -> list[Row]:
    rows = []
    for point in curve.points:
        slow, value, fast = (1 / (_GIB_PAGES * x) for x in (point.gib_per_s.low, point.gib_per_s.value,
                                                            point.gib_per_s.high))  # fmt: skip
        rows.append(Row(f"{_vcpus(point.vcpus)}, others {curve.state}", curve.interface, value, fast, slow, "s"))
    return rows


def _notes(situation: Situation) -> list[str]:
    notes = [
        "How many vCPUs are inside the TD decides: each split and zap kicks those (tdx_track()); halted ones are only "
        "looked at.",
        "The storm by 2 MiB a MapGPA is simulated, vCPUs queue at the TD's lines; a single conversion is priced without "
        "their meeting.",
    ]
    if situation.scenario.backing != "hugetlb-1g":
        notes.insert(
            0, f"{situation.scenario.backing} has no 1G folios: what is split is the folio that the backing has."
        )
    else:
        notes.append("Under folio-strict and pfn guest_memfd splits the 1G folio into 262,144 pages; pfn's level rule does "
                     "not need that, and a guest_memfd that splits to 2M first, as folio-lenient assumes, makes 1,022.")  # fmt: skip
    return notes
