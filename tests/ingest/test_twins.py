"""Do pairing of exits and self times agree with plain second implementations on made traces?"""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfmodel.ingest.contract import Options, bucket_mean
from perfmodel.ingest.lines import Lines
from perfmodel.ingest.readers import READERS
from perfmodel.ingest.report import Report


def read(kind, text, **options):
    report = Report(kind, "made")
    return READERS[kind].read(Lines(iter([text.encode()]), report), Options(**options))


STEP = st.tuples(
    st.integers(0, 2),  # vCPU
    st.sampled_from(["exit", "other exit", "fault", "shared", "level1", "level2", "entry"]),
    st.integers(0, 5000),  # ns since the line before
)


def lines_of(steps):
    now, lines = 10**12, []
    for number, (vcpu, what, wait) in enumerate(steps):
        now += wait
        gpa = (0x100000 + number) << 12
        text = {
            "exit": f"kvm_exit: vcpu {vcpu} reason EPT_VIOLATION rip 0x0 info1 0x2 info2 0x0 intr_info 0x0",
            "other exit": f"kvm_exit: vcpu {vcpu} reason HLT rip 0x0 info1 0x0 info2 0x0",
            "fault": f"kvm_page_fault: vcpu {vcpu} rip 0x0 address {gpa:#x} error_code 0x2",
            "shared": f"kvm_page_fault: vcpu {vcpu} rip 0x0 address {gpa | 1 << 47:#x} error_code 0x2",
            "level1": f"kvm_mmu_spte_requested: gfn {gpa >> 12:x} pfn {number:x} level 1",
            "level2": f"kvm_mmu_spte_requested: gfn {gpa >> 12:x} pfn {number:x} level 2",
            "entry": f"kvm_entry: vcpu {vcpu}, rip 0x0",
        }[what]
        lines.append(f"  CPU {vcpu}/KVM-{100 + vcpu} [00{vcpu}] d.... {now // 10**9}.{now % 10**9:09}: {text}")
    return "\n".join(lines)


def twin(steps):
    """Pair by looking back from each entry, quadratically, on its own vCPU only."""
    now, stamped = 10**12, []
    for vcpu, what, wait in steps:
        now += wait
        stamped.append((vcpu, what, now))
    durations = defaultdict(list)
    for end, (vcpu, what, then) in enumerate(stamped):
        if what != "entry":
            continue
        between = []
        for other, before, at in reversed(stamped[:end]):
            if other != vcpu:
                continue
            if before in ("entry", "other exit", "exit"):
                if before == "exit":
                    between.reverse()
                    pages = [one for one in between if one in ("fault", "shared")]
                    levels = [one for one in between if one.startswith("level")]
                    level = {"level1": "4K", "level2": "2M"}[levels[-1]] if levels else None
                    if pages and pages[-1] == "shared":
                        durations["shared fault", None].append(then - at)
                    elif pages or levels:
                        durations["private fault", level].append(then - at)
                    else:
                        durations["EPT violation", None].append(then - at)
                break
            between.append(before)
    return durations


@settings(deadline=None, max_examples=150)
@given(st.lists(STEP, max_size=60))
def test_exits_are_paired_as_by_looking_back(steps):
    reading = read("kvm-events", lines_of(steps))
    wanted = twin(steps)
    found = {(one.what, one.level): one for one in reading.measurements}
    assert found.keys() == wanted.keys()
    for key, durations in wanted.items():
        assert found[key].count == len(durations)
        assert found[key].mean_ns == pytest.approx(sum(durations) / len(durations))
        assert (found[key].low_ns, found[key].high_ns) == (min(durations), max(durations))
    assert reading.report.lines == reading.report.used + reading.report.skipped + reading.report.dropped.total()


TREE = st.recursive(
    st.tuples(st.sampled_from("abc"), st.integers(1, 9000), st.just([])),
    lambda children: st.tuples(
        st.sampled_from("abc"), st.integers(1, 9000), st.lists(children, min_size=1, max_size=4)
    ),
    max_leaves=25,
)


def total(node):
    return node[1] + sum(map(total, node[2]))


def graph(node, depth=0):
    name, _, children = node
    indent, ns = "  " * (depth + 1), total(node)
    mark = "!" if ns > 100_000 else "+" if ns > 10_000 else " "
    duration = f" 7) {mark} {ns / 1000:.3f} us".ljust(19)
    if not children:
        return [f"{duration}|{indent}{name}();"]
    inside = [line for child in children for line in graph(child, depth + 1)]
    return [f" 7)               |{indent}{name}() {{", *inside, f"{duration}|{indent}}}"]


def self_times(node, into):
    into[node[0]].append((total(node), total(node) - sum(map(total, node[2]))))
    for child in node[2]:
        self_times(child, into)


@settings(deadline=None, max_examples=150)
@given(st.lists(TREE, min_size=1, max_size=4), st.data())
def test_self_time_is_total_less_direct_children(forest, data):
    wanted = defaultdict(list)
    lines = []
    for tree in forest:
        self_times(tree, wanted)
        lines += graph(tree)
    # lines of another CPU may come anywhere
    for _ in range(data.draw(st.integers(0, 5))):
        lines.insert(data.draw(st.integers(0, len(lines))), "26)   2.214 us    |  z();")
    found = {one.what: one for one in read("function-graph", "\n".join(lines)).measurements}
    found.pop("z", None)
    assert found.keys() == wanted.keys()
    for name, times in wanted.items():
        assert found[name].count == len(times)
        assert found[name].mean_ns == pytest.approx(sum(t for t, _ in times) / len(times))
        assert found[name].self_ns == pytest.approx(sum(own for _, own in times) / len(times), abs=1e-6)


def test_lost_lines_do_not_reach_other_functions():
    text = """\
 3)               |  outer() {
 3)               |    middle() {
 3)   1.000 us    |      leaf();
 3)   9.000 us    |  }
 3)   2.000 us    |  }
 3)               |  next() {
 3)   1.500 us    |    leaf();
 3)   2.500 us    |  }
"""
    reading = read("function-graph", text)
    found = {one.what: one for one in reading.measurements}
    assert found.keys() == {"outer", "leaf", "next"}  # middle's end is missing
    assert found["next"].self_ns == pytest.approx(1000)
    assert reading.report.dropped == {"that close a function not seen open": 1}


def test_calls_that_an_interrupt_came_into_are_left_out():
    text = """\
 3)               |  tdh_mem_page_aug() {
 3)   ==========> |
 3)   7.000 us    |    sysvec_apic_timer_interrupt();
 3)   <========== |
 3)   9.000 us    |  }
 3)   3.000 us    |  tdh_mem_page_aug();
"""
    reading = read("function-graph", text)
    assert next(one for one in reading.measurements if one.what == "tdh_mem_page_aug").mean_ns == 3000
    assert reading.facts["interrupted_calls"] == 1


def test_level_of_an_aug_is_that_of_the_event_before_it():
    text = """\
 3)               |  kvm_tdp_mmu_map [kvm]() {
 3)               |  /* kvm_mmu_spte_requested: gfn 1c8000 pfn 9c4200 level 2 */
 3)   9.000 us    |    tdh_mem_page_aug();
 3)   10.00 us    |  }
 3)               |  /* kvm_mmu_spte_requested: gfn 1c8200 pfn 9c4400 level 1 */
 3)   3.000 us    |  tdh_mem_page_aug();
"""
    found = {(one.what, one.level): one.mean_ns for one in read("function-graph", text).measurements}
    assert found["tdh_mem_page_aug", "2M"] == 9000
    assert found["tdh_mem_page_aug", "4K"] == 3000


@settings(deadline=None, max_examples=150)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=200))
def test_mean_of_a_histogram_is_within_what_its_buckets_allow(values):
    buckets = defaultdict(int)
    for value in values:
        buckets[value.bit_length() - 1] += 1
    mean, error = bucket_mean([(float(1 << k), float(2 << k), n) for k, n in buckets.items()])
    true = sum(values) / len(values)
    assert mean / 2**0.5 * 0.999 <= true <= mean * 2**0.5 * 1.001
    assert 0.199 < error < 0.201


def test_nothing_is_keyed_on_columns():
    base = "CPU 1/KVM-5 [001] {t}: kvm_exit: vcpu 1 reason {r} rip 0x0 info1 0x2 info2 0x1, seq = 0x4c1\n"
    for reason in ("EPT_VIOLATION", "48", "0x30", "0x80000030"):
        text = (
            base.format(t="1.000001", r=reason) + "x y <...>-5 [002] d... 1.000003: kvm_entry: vcpu 1, rip 0x0 more\n"
        )
        one = read("kvm-events", text).measurements
        assert [(m.what, m.mean_ns) for m in one] == [("private fault", 2000)], reason
