"""One point of a grid: what is to be counted, under which key it is kept, and the counting itself."""

import functools
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from perfmodel.comparison import meet
from perfmodel.counting import Counted, count_scenario
from perfmodel.errors import InputError, TooLargeError
from perfmodel.fingerprint import model_fingerprint
from perfmodel.life.calls import CALLS
from perfmodel.life.phases import Teardown
from perfmodel.life.plan import HUGE_LEAVES, LEAVES, SEPT_PAGES, Plan
from perfmodel.life.pricing import priced_phase
from perfmodel.life.runner import run_life
from perfmodel.life.scenario_file import Story
from perfmodel.names import ORDERS
from perfmodel.parameters import ParameterSet
from perfmodel.platform import static_pamt_bytes
from perfmodel.policies import POLICIES
from perfmodel.result import Leaves
from perfmodel.scaling.together import Scaling
from perfmodel.scenario import Scenario, able_interfaces
from perfmodel.workers import Progress

NOT_COUNTED = -1


class PointCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one point comes to, or why it cannot be.

    Attributes
    ----------
    schema, key : str
        The key is that of the point.
    counts : dict of str to int
        Integer variables of the Dataset by name; ``NOT_COUNTED`` where a life has no such count.
    seamcalls, tdcalls, refused_hugepages : dict of str to int
    phases : dict of str to dict of str to int
        Priced counters by kind of phase.
    refused : str
        Why the scenario cannot be run; empty where it can.
    model_seconds : float
    """

    key: str
    schema: str = "perfmodel/counts/1"
    counts: dict[str, int] = {}
    seamcalls: dict[str, int] = {}
    tdcalls: dict[str, int] = {}
    refused_hugepages: dict[str, int] = {}
    phases: dict[str, dict[str, int]] = {}
    refused: str = ""
    model_seconds: float = 0.0


class PointMeeting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the vCPUs of a point come to together with one set of parameters, and the seconds of each sample."""

    key: str
    scaling: Scaling | None
    seconds: list[float]
    schema: str = "perfmodel/meeting/1"


@dataclass(frozen=True)
class Point:
    """What is to be counted: a guest or, with ``story``, its life, under the one interface of ``scenario``.

    Attributes
    ----------
    scenario : Scenario
    story : Story, optional
    files : dict of str to (str, bytes)
        Name and content of each file that the scenario refers to, by its field: whoever counts needs no other.
    preset : str
        The processor whose caches are simulated; empty where none are.
    """

    scenario: Scenario
    story: Story | None = None
    files: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    preset: str = ""

    @classmethod
    def of(cls, scenario: Scenario, story: Story | None, read: Mapping[Path, bytes], preset: str) -> "Point":
        """Return the point with the files that ``scenario`` names out of those that have been read."""
        if scenario.backing == "host" and scenario.host is None:
            raise InputError("backing 'host': counts of a sweep depend on no machine; accepted is host FILE")
        files = {name: (path.name, read[path]) for name, path in named_files(scenario).items()}
        return cls(scenario, story, files, preset)

    @functools.cached_property
    def key(self) -> str:
        """Hash of everything that the counts depend on: the guest, its files' content, and the model's source."""
        what = self.scenario.describe() | {"seed": self.scenario.seed, "preset": self.preset}
        what |= {"model": model_fingerprint()}
        what |= {name: hashlib.sha256(content).hexdigest() for name, (_, content) in self.files.items()}
        if self.story is not None:
            what |= describe_life(self.story)
        return digest(what)

    @contextmanager
    def laid_out(self) -> "Iterator[Scenario]":
        """Lay the files out in a folder of their own for as long as the block runs."""
        with tempfile.TemporaryDirectory(prefix="perfmodel-") as folder:
            paths = {}
            for name, (called, content) in self.files.items():
                (Path(folder) / name).mkdir()
                paths[name] = Path(folder) / name / called
                paths[name].write_bytes(content)
            changed: dict[str, Any] = {n: str(p) if n == "order" else p for n, p in paths.items()}
            try:
                yield replace(self.scenario, **changed) if changed else self.scenario
            except InputError as error:
                message = str(error)
                for name in paths:
                    message = message.replace(f"{Path(folder) / name}/", "")
                raise type(error)(message) from None


def describe_life(story: Story) -> dict[str, Any]:
    """Return the knobs and phases of a life as JSON-able values; what its phases are called changes no count."""
    phases = [msgspec.to_builtins(phase) for phase in story.phases]
    for phase in phases:
        phase.pop("name", None)
    return {"what_if": msgspec.to_builtins(story.what_if), "phases": phases}


def named_files(scenario: Scenario) -> dict[str, Path]:
    """Return the files that ``scenario`` refers to, by field."""
    named = {name: getattr(scenario, name) for name in ("extents", "host")}
    named["order"] = None if scenario.order in ORDERS else scenario.order
    return {name: Path(value) for name, value in named.items() if value}


def digest(what: object) -> str:
    """Return the SHA-256 of a JSON-able value."""
    text = json.dumps(what, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def count_point(point: Point, threads: int | None = None, progress: Progress | None = None) -> PointCounts:
    """Count one point; a scenario that cannot be run is a result too, one that does not fit here and now is none."""
    key = point.key
    try:
        with point.laid_out() as scenario:
            if point.story is not None:
                return _count_life(key, msgspec.structs.replace(point.story, scenario=scenario), threads, progress)
            counts = count_scenario(scenario, point.preset, threads=threads, progress=progress)
            return _of_counted(key, counts.interfaces[0])
    except TooLargeError:
        raise
    except InputError as error:
        return PointCounts(key, refused=str(error))


def _of_counted(key: str, one: Counted) -> PointCounts:
    counts = {
        "leaves_4k": one.leaves.size_4k, "leaves_2m": one.leaves.size_2m, "pages_asked": one.pages.asked,
        "pages_mapped": one.pages.mapped, "pages_refused": one.pages.refused, "pages_shared": one.pages.shared,
        "faults": one.faults, "td_exits": one.td_exits, "sept_pages": one.sept_pages,
        "host_table_pages": 2 * one.sept_pages, "pamt_bytes": one.pamt_bytes,
    }  # fmt: skip
    return PointCounts(
        key, counts=counts, seamcalls=one.seamcalls, tdcalls=one.tdcalls, refused_hugepages=one.refused_hugepages,
        phases={"boot": one.counters}, model_seconds=one.model_seconds,
    )  # fmt: skip


def _count_life(key: str, story: Story, threads: int | None, progress: Progress | None) -> PointCounts:
    """Count a life: leaves and tables are those before the tear-down, calls those of all phases."""
    plan = Plan.of(story)
    backing = plan.memory.backing
    names = able_interfaces(story.scenario.interfaces, backing.has_struct_page, story.scenario.backing)
    policy = POLICIES[names[0]]
    [tally] = run_life(plan, [policy], threads, progress)
    phases: dict[str, dict[str, int]] = {}
    for number, phase in enumerate(story.phases):
        into = phases.setdefault(phase.kind, {})
        for name, events in priced_phase(plan, policy, tally, number).items():
            into[name] = into.get(name, 0) + events
    total = {name: sum(one.get(name, 0) for one in phases.values()) for name in next(iter(phases.values()))}
    last = max(n for n, phase in enumerate(story.phases) if not isinstance(phase, Teardown))
    standing = tally.standing[last].tolist()
    counts = {
        "leaves_4k": standing[LEAVES], "leaves_2m": standing[HUGE_LEAVES],
        "pages_asked": NOT_COUNTED, "pages_mapped": standing[LEAVES] + 512 * standing[HUGE_LEAVES],
        "pages_refused": NOT_COUNTED, "pages_shared": NOT_COUNTED,
        "faults": total["fault"], "td_exits": total["td_exit"], "sept_pages": standing[SEPT_PAGES],
        "host_table_pages": 2 * standing[SEPT_PAGES], "pamt_bytes": static_pamt_bytes(backing.blocks().size << 30),
    }  # fmt: skip
    calls = {name: sum(total.get(part, 0) for part in parts) for name, parts in CALLS.items()}
    return PointCounts(
        key, counts=counts, phases=phases, model_seconds=tally.model_seconds,
        seamcalls={name: n for name, n in calls.items() if name.startswith("TDH")},
        tdcalls={name: n for name, n in calls.items() if name.startswith("TDG")},
    )  # fmt: skip


def meets(point: Point) -> bool:
    """Whether the point's vCPUs meet each other; those of a life do not, beyond kicks."""
    return point.story is None and point.scenario.vcpus * point.scenario.tds > 1


def meeting_key(counts_key: str, parameters: ParameterSet) -> str:
    """Return the key of what the vCPUs come to: a simulation depends on counts and prices."""
    return digest([counts_key, parameters.sha256, "meeting"])


def meet_point(
    point: Point, counts: PointCounts, parameters: ParameterSet, threads: int | None = None
) -> PointMeeting:  # fmt: skip
    """Simulate the vCPUs of a counted point."""
    scaling, seconds = meet(
        point.scenario, point.scenario.interfaces[0],
        Leaves(counts.counts["leaves_4k"], counts.counts["leaves_2m"]), counts.phases["boot"], parameters, threads,
    )  # fmt: skip
    return PointMeeting(meeting_key(counts.key, parameters), scaling, seconds.tolist())
