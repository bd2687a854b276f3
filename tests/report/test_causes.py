"""Does a number hang on what moves it?"""

import msgspec
import numpy as np
import pytest

from perfmodel.costs import ledger, sample_costs
from perfmodel.parameters import load_parameters
from perfmodel.report.causes import HOST, Causes
from perfmodel.report.sampled import Sampled

SAMPLES = 4096
PRIORS = load_parameters(calibrated=False)


def names(found):
    return [one.assumption for one in found]


def with_joint(host_scale, stage_scatter):
    joint = msgspec.structs.replace(load_parameters().joint, host_scale=host_scale, stage_scatter=stage_scatter)
    return msgspec.structs.replace(load_parameters(), joint=joint)


def test_a_price_alone_explains_all():
    drawn = PRIORS.sample_ns(SAMPLES, 0)[:, PRIORS.names.index("flush_line")]
    (found,) = Causes.of(PRIORS, SAMPLES, 0).most("flush", Sampled(10.0, drawn**3))
    p = PRIORS["flush_line"]
    assert found.share == pytest.approx(1.0)
    assert (found.assumption, found.low, found.high, found.confidence, found.source) == (
        "flush_line", p.low, p.high, p.confidence, p.source)  # fmt: skip


def test_shares_are_those_of_the_variance():
    """Two independent parts of variances 4 and 1, the second falling: 80 % and 20 %."""
    drawn = PRIORS.sample_ns(SAMPLES, 0)
    first, second = (np.log(drawn[:, PRIORS.names.index(name)]) for name in ("flush_line", "clear_line"))
    total = 2 * first / first.std() - second / second.std()
    causes = Causes.of(PRIORS, SAMPLES, 0)
    shares = dict(zip((one.name for one in causes.causes), causes.shares(total), strict=True))
    assert shares["flush_line"] == pytest.approx(0.8, abs=0.05)
    assert shares["clear_line"] == pytest.approx(0.2, abs=0.05)
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.1)


def test_the_host_and_a_stage():
    work = [ledger({"flush_pages": 1})]
    for joint, first in (((5.0, 0.1), HOST), ((0.1, 5.0), "stage flush")):
        parameters = with_joint(*joint)
        drawn = sample_costs(work, parameters, SAMPLES, 3)[:, 0]
        found = Causes.of(parameters, SAMPLES, 3).most("flush", Sampled(1.0, drawn))
        assert found[0].assumption == first
        assert found[0].share > 0.9
        assert found[0].low < 1 < found[0].high
        assert all(one.assumption in PRIORS.names for one in found[1:])


def test_the_seed_must_be_that_of_the_samples():
    drawn = sample_costs([ledger({"flush_pages": 1})], load_parameters(), SAMPLES, 3)[:, 0]
    assert Causes.of(load_parameters(), SAMPLES, 3).shares(drawn).max() > 0.5
    assert Causes.of(load_parameters(), SAMPLES, 4).shares(drawn).max() < 0.01


def test_chance_explains_nothing():
    rng = np.random.default_rng(12345)  # not the stream of the draws
    causes = Causes.of(load_parameters(), 128, 0)
    named = sum(bool(causes.most("noise", Sampled(1.0, rng.random(128)))) for _ in range(200))
    assert named <= 20  # one in twenty is expected


def test_what_does_not_move_hangs_on_nothing():
    causes = Causes.of(load_parameters(), 64, 0)
    assert causes.most("count", Sampled(5.0, np.full(64, 5.0))) == []
    fixed = load_parameters(calibrated=False)
    fixed = msgspec.structs.replace(
        fixed, parameters=tuple(msgspec.structs.replace(p, distribution="fixed", sigma=None) for p in fixed.parameters)
    )
    assert names(Causes.of(fixed, 64, 0).most("any", Sampled(1.0, np.arange(64.0)))) == []
