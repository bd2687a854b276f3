"""What the page computes with, as strict JSON: guests, parameters, and the samples behind every interval."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from perfmodel.costs import ALL_STAGES, INTERVAL, stages_of
from perfmodel.draws import cost_factors
from perfmodel.explore.guests import Guest, Guests
from perfmodel.explore.swatches import hatch_url, line_url
from perfmodel.explore.themes import THEMES
from perfmodel.looks import INTERFACE_LOOKS, STAGE_LOOKS
from perfmodel.parameters import (
    CLOCK_LIMITS_GHZ,
    Parameter,
    ParameterSet,
    confidence_legend,
    load_preset,
    parameters_toml,
)
from perfmodel.show import STAGE_TITLES

SAMPLES = 4096
"""As :func:`perfmodel.costs.price_many` takes by default."""

_AXIS_TITLES = {"shattered": "share shattered", "vcpus": "vCPUs"}


def page_data(guests: Guests, parameters: ParameterSet) -> dict[str, Any]:
    """Return everything that the page's script reads; its keys are described in docs/explore.md."""
    ledgers = [work.ledger for guest in guests.guests for work in guest.work.values()]
    stages = [stage for stage in stages_of(ledgers) if any(stage == used for one in ledgers for used, _ in one.units)]
    used = {unit for one in ledgers for _, unit in one.units}
    names = [name for name in parameters.names if name in used]
    prices, factors = _samples(parameters, guests.seed)
    column = {name: parameters.names.index(name) for name in names}
    return {
        "source": {
            "version": guests.version, "module": guests.module, "seed": guests.seed, "samples": SAMPLES,
            "parameters": parameters.name, "sha256": parameters.sha256,
        },
        "interval": list(INTERVAL),
        "axes": [
            {"name": name, "title": _AXIS_TITLES.get(name, name.replace("_", " ")), "labels": labels}
            for name, labels in guests.axes.items()
        ],
        "interfaces": [
            {"name": name, "colour": INTERFACE_LOOKS[name].colour, "sample": line_url(INTERFACE_LOOKS[name])}
            for name in guests.interfaces
        ],
        "stages": [
            {
                "name": stage, "title": STAGE_TITLES[stage], "colour": STAGE_LOOKS[stage].colour,
                "sample": hatch_url(STAGE_LOOKS[stage].hatch),
            }
            for stage in stages
        ],
        "guests": [_guest(guest, guests.axes, stages, parameters.names) for guest in guests.guests],
        "clock": _clock(parameters),
        "parameters": [_parameter(one) for one in parameters.parameters],
        "themes": [{"title": title, "names": list(names)} for title, names in THEMES.items()],
        "confidence": dict(confidence_legend()),
        "toml": parameters_toml(parameters),
        "samples_ns": {name: _base64(prices[:, column[name]]) for name in names},
        "stage_factors": (
            None if factors is None else [_base64(factors[:, ALL_STAGES.index(stage)]) for stage in stages]
        ),
    }  # fmt: skip


def _samples(
    parameters: ParameterSet, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:  # fmt: skip
    """Return sampled prices in ns, shape (samples, parameters), and what each stage is off by, if the set says so."""
    if parameters.joint is None:
        return parameters.sample_ns(SAMPLES, seed), None
    factors, stages = cost_factors(parameters.parameters, parameters.joint, len(ALL_STAGES), SAMPLES, seed)
    return factors * parameters.values_ns(), stages


def _base64(samples: npt.NDArray[np.float64]) -> str:
    return base64.b64encode(np.ascontiguousarray(samples, "<f8").tobytes()).decode()


def _guest(
    guest: Guest, axes: Mapping[str, Sequence[str]], stages: Sequence[str], names: Sequence[str]
) -> dict[str, Any]:  # fmt: skip
    stage_at, name_at = ({name: k for k, name in enumerate(some)} for some in (stages, names))
    return {
        "at": [axes[name].index(label) for name, label in guest.choice.items()],
        "bytes": guest.memory_bytes,
        "work": {
            interface: {
                "entries": sorted((stage_at[s], name_at[u], n) for (s, u), n in work.ledger.units.items()),
                "gib": work.mapped_pages / (1 << 18),
                "counts": work.counts,
            }
            for interface, work in guest.work.items()
        },
    }


def _clock(parameters: ParameterSet) -> dict[str, Any]:
    """Return the core clock in the shape of a parameter: cycles are divided by it."""
    preset = load_preset(parameters.preset).core_ghz
    as_preset = preset.value == parameters.core_ghz
    low, high = CLOCK_LIMITS_GHZ
    return {
        "name": "core_ghz", "value": parameters.core_ghz, "unit": "GHz", "low": low, "high": high, "log": True,
        "distribution": "fixed", "confidence": preset.confidence if as_preset else "",
        "meaning": "core clock: a price in cycles is divided by it",
        "source": preset.source if as_preset else "set by the user",
    }  # fmt: skip


def _parameter(one: Parameter) -> dict[str, Any]:
    return {
        "name": one.name, "value": one.value, "unit": one.unit, "low": one.low, "high": one.high,
        "log": one.low > 0 and one.distribution != "uniform", "distribution": one.distribution,
        "confidence": one.confidence, "meaning": one.meaning, "source": one.source,
    }  # fmt: skip


def to_script(data: object) -> str:
    """Return ``data`` as JSON that may stand in a script element: no text in it can end the element."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
