"""One calibration to the public observations, shared by the tests that look at it."""

import pytest

from perfmodel.calibration.calibrated import Calibration, calibrate
from perfmodel.calibration.observations import built_in
from perfmodel.parameters import ParameterSet, load_parameters


@pytest.fixture(scope="session")
def prior() -> ParameterSet:
    """The set before any fit."""
    return load_parameters(calibrated=False)


@pytest.fixture(scope="session")
def done(prior: ParameterSet) -> Calibration:
    """The fit to the public observations."""
    return calibrate(built_in(), prior)
