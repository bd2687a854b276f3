"""Do indices and gains agree with what algebra says of a sum and of Gaussian knowledge?"""

import numpy as np
import pytest

from perfmodel.calibration.information import _covariance, _slopes, value_of_information
from perfmodel.calibration.questions import RATIO
from perfmodel.calibration.sensitivity import Results, morris, results_of, sobol
from perfmodel.draws import quantile
from perfmodel.parameters import Parameter, load_parameters


@pytest.fixture(scope="module")
def asked():
    return results_of(load_parameters())


def test_results_are_the_questions_that_are_answers_and_the_ratio(asked) -> None:
    results, design = asked
    assert results.names == (*(one.id for one in design.rows if one.role == "both"), RATIO)
    central = results.at(np.array([[p.value] for p in results.varied]))[:, 0]
    by_name = dict(zip(results.names, central, strict=True))
    assert by_name[RATIO] == pytest.approx(512 * by_name["populate-4k"] / by_name["populate-2m"])
    assert 2 < by_name[RATIO] < 30


def test_first_order_indices_are_the_variances_of_a_sum(asked) -> None:
    results, _ = asked
    first, total = sobol(results, seed=1, samples=4096)
    u = (np.arange(20_000) + 0.5) / 20_000
    spread = np.array([quantile(price, u).var() for price in results.varied])
    for k in range(len(results.names) - 1):
        expected = results.units[k] ** 2 * spread
        expected /= expected.sum()
        np.testing.assert_allclose(first[k], expected, atol=0.06)
        np.testing.assert_allclose(total[k], expected, atol=0.06)
    assert total[-1].sum() >= 0.97  # the ratio is no sum: interactions count more than once


def test_morris_ranks_as_effects_of_a_sum(asked) -> None:
    """In a sum the effect of a price over its range is the same anywhere but for the curve of its distribution."""
    results, _ = asked
    mu_star, sigma = morris(results, seed=1)
    ends = np.stack([quantile(price, np.array([0.05, 0.95])) for price in results.varied])
    for k in range(len(results.names) - 1):
        effect = results.units[k] * (ends[:, 1] - ends[:, 0])
        top = int(np.argmax(effect))
        assert mu_star[k, top] >= 0.6 * mu_star[k].max()
        assert (mu_star[k] >= 0).all()
        assert (sigma[k][results.units[k] == 0] == 0).all()


def test_a_price_that_is_known_does_not_vary(asked) -> None:
    fewer, _ = results_of(load_parameters(overrides=["wrmsr=200"]))
    assert {p.name for p in asked[0].varied} - {p.name for p in fewer.varied} == {"wrmsr"}


def test_indices_of_a_small_case_by_hand() -> None:
    """Two answers of two prices, uniform on [1, 3] and [1, 2]: variances 1/3 and 1/12."""

    def price(name: str, high: float) -> Parameter:
        return Parameter(name, 1.5, "ns", 1.0, high, "uniform", "U", "", "")

    units = np.array([[1.0, 2.0], [1.0, 0.0]])
    results = Results(("populate-4k", "populate-2m", RATIO), (price("a", 3.0), price("b", 2.0)), units, np.zeros(2))
    first, _ = sobol(results, seed=0, samples=8192)
    np.testing.assert_allclose(first[:2], [[0.5, 0.5], [1.0, 0.0]], atol=0.03)


@pytest.fixture(scope="module")
def gains(asked):
    parameters = load_parameters()
    return value_of_information(parameters, asked[1], RATIO), parameters


def test_gains_are_those_of_conditioning_gaussians(asked, gains) -> None:
    """A twin: build the joint covariance of one answer and one measurement, and condition."""
    information, parameters = gains
    design = asked[1]
    slopes = _slopes(parameters, design)
    covariance = _covariance(parameters, slopes.shape[1])
    names = [one.id for one in design.rows]
    for answer, measured in (("populate-4k", "exit-entry"), ("convert-4k-busy", "kick-inside"), ("host-4k", "aug-4k")):
        a, m = slopes[names.index(answer)], slopes[names.index(measured)]
        joint = np.array([[a @ covariance @ a, a @ covariance @ m], [0, m @ covariance @ m]])
        joint[1, 0] = joint[0, 1]
        joint[1, 1] += design.errors[names.index(measured)] ** 2
        left = joint[0, 0] - joint[0, 1] ** 2 / joint[1, 1]
        k, j = information.measurements.index(measured), information.answers.index(answer)
        assert information.after[k, j] == pytest.approx(np.sqrt(left))
        assert information.before[j] == pytest.approx(np.sqrt(joint[0, 0]))


def test_measuring_never_widens_and_the_answer_itself_says_most(gains) -> None:
    information, _ = gains
    assert (information.gain >= -1e-12).all()
    assert (information.gain <= 1).all()
    for j, answer in enumerate(information.answers[:-1]):
        assert information.measurements[int(np.argmax(information.gain[:, j]))] in (answer, "convert-4k", "removal-4k")


def test_ranking_leaves_out_what_a_measurement_measures_itself(gains) -> None:
    information, _ = gains
    k = information.measurements.index("populate-4k")
    others = [information.gain[k, j] for j, name in enumerate(information.answers) if name != "populate-4k"]
    assert information.mean_gain[k] == pytest.approx(np.mean(others))
    order = information.ranking()
    assert [information.mean_gain[i] for i in order] == sorted(information.mean_gain, reverse=True)
