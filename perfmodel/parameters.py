"""Parameters: what one unit of work costs, with range, confidence and source.

The defaults are rows of ``data/parameters.toml``; a preset gives the clocks of a processor and the rows
in which it differs. A file and single ``name=value`` settings go on top. Nothing here knows what a unit is
used for.
"""

import difflib
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from perfmodel.draws import correlate, normal_cdf, normal_quantile, quantile
from perfmodel.errors import InputError
from perfmodel.files import read_whole
from perfmodel.joint import Joint, check_joint

Unit = Literal["cycles", "ns"]
Distribution = Literal["loguniform", "uniform", "logtriangular", "lognormal", "fixed"]
Confidence = Literal["A", "B", "C", "D", "U", "I", "F"]

DEFAULT_PRESET = "spr-8480p"
CLOCK_NAMES = ("core_ghz", "tsc_ghz")
CLOCK_LIMITS_GHZ = (0.1, 10.0)
_LARGEST_SIGMA = 10.0


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of one unit of work; fields are explained in ``data/parameters.toml``."""

    name: str
    value: float
    unit: Unit
    low: float
    high: float
    distribution: Distribution
    confidence: Confidence
    meaning: str
    source: str
    sigma: float | None = None


class Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frequency in GHz, where it comes from and how sure it is."""

    value: float
    confidence: Confidence
    source: str


class ParameterChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a preset or a user's file may say about one parameter; what it leaves out stays as it was."""

    value: float
    low: float | None = None
    high: float | None = None
    unit: Unit | None = None
    distribution: Distribution | None = None
    confidence: Confidence | None = None
    source: str | None = None
    sigma: float | None = None


class _Defaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    legend: dict[str, str]
    parameter: list[Parameter]


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A processor: its clocks and the parameters in which it differs from the defaults."""

    name: str
    processor: str
    core_ghz: Clock
    tsc_ghz: Clock
    parameters: dict[str, ParameterChange] = {}


class _UserFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str | None = None
    preset: str | None = None
    core_ghz: Any = None
    tsc_ghz: Any = None
    parameters: dict[str, Any] = {}
    joint: Joint | None = None
    calibrated: bool = True
    provenance: Any = None


class ParameterSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All prices of one run.

    Attributes
    ----------
    name : str
        Preset or file, with ``+set`` when single values were changed.
    core_ghz, tsc_ghz : float
        Core clock, by which cycles become ns, and TSC clock, by which results in ns become TSC cycles.
    parameters : tuple of Parameter
        In the order of ``data/parameters.toml``, whatever the order of the changes.
    joint : Joint, optional
        Of a calibrated set.
    preset : str
        The processor whose caches they go with; no price, and not part of the hash.
    """

    name: str
    core_ghz: float
    tsc_ghz: float
    parameters: tuple[Parameter, ...]
    joint: Joint | None = None
    preset: str = DEFAULT_PRESET

    def __post_init__(self) -> None:
        for key in CLOCK_NAMES:
            _check_clock(key, getattr(self, key))
        for parameter in self.parameters:
            _check_parameter(parameter)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names, in the order of every array of this set."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def sha256(self) -> str:
        """Hex digest over every number that results depend on; names of sets and sources do not count."""
        content = {
            "core_ghz": self.core_ghz,
            "tsc_ghz": self.tsc_ghz,
            "parameters": {p.name: [p.unit, p.distribution, p.value, p.low, p.high, p.sigma] for p in self.parameters},
            "joint": msgspec.to_builtins(self.joint),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def __getitem__(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)

    def values_ns(self) -> npt.NDArray[np.float64]:
        """Central prices in ns, shape (n,)."""
        values = np.array([parameter.value for parameter in self.parameters], dtype=np.float64)
        return values * self._ns_per_unit()

    def sample_ns(self, samples: int, seed: int) -> npt.NDArray[np.float64]:
        """Prices drawn from their distributions, in ns, shape (samples, n); the same for the same seed."""
        draws = np.random.default_rng(seed).random((len(self.parameters), samples))  # one added last moves no other
        if self.joint is not None:
            draws = normal_cdf(correlate(normal_quantile(draws), self.names, self.joint))
        columns = [quantile(parameter, draws[j]) for j, parameter in enumerate(self.parameters)]
        return np.column_stack(columns) * self._ns_per_unit()

    def _ns_per_unit(self) -> npt.NDArray[np.float64]:
        return np.array([1.0 / self.core_ghz if p.unit == "cycles" else 1.0 for p in self.parameters])


def _check_clock(key: str, value: float) -> None:
    low, high = CLOCK_LIMITS_GHZ
    if not low <= value <= high:
        raise InputError(f"{key} = {value!r}: accepted is a clock of {low:g} to {high:g} GHz")


def _check_parameter(p: Parameter) -> None:
    if not all(math.isfinite(x) for x in (p.value, p.low, p.high)):
        raise InputError(f"{p.name} = {p.value!r} (low {p.low!r}, high {p.high!r}): accepted are finite numbers")
    if p.low > p.high:
        raise InputError(f"{p.name}: low {p.low:g} is above high {p.high:g}; accepted is low <= high")
    if not p.low <= p.value <= p.high:
        raise InputError(
            f"{p.name} = {p.value:g}: accepted is {p.low:g} to {p.high:g} {p.unit} "
            "(a parameter file may give low and high)"
        )
    if (p.distribution == "lognormal") != (p.sigma is not None) or not 0 <= (p.sigma or 0) <= _LARGEST_SIGMA:
        raise InputError(
            f"{p.name}: sigma {p.sigma!r} with {p.distribution}; accepted is lognormal with a sigma of 0 to "
            f"{_LARGEST_SIGMA:g}, the standard deviation of the logarithm"
        )
    if p.low < 0 or (p.low == 0 and p.distribution.startswith("log")):
        least = "above 0" if p.distribution.startswith("log") else "0 or more"
        raise InputError(f"{p.name}: low {p.low:g} with {p.distribution}; accepted is a low of {least}")


def _number(key: str, value: object, accepted: str) -> float:
    """`value`, a number or the text of one, as a finite float."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise InputError(f"{key} = {value!r}: not a number; accepted is {accepted}") from None
    if not math.isfinite(number):
        raise InputError(f"{key} = {value!r}: not finite; accepted is {accepted}")
    return number


def _range_text(parameter: Parameter) -> str:
    return f"{parameter.low:g} to {parameter.high:g} {parameter.unit}"


def _clock_text() -> str:
    return f"a clock of {CLOCK_LIMITS_GHZ[0]:g} to {CLOCK_LIMITS_GHZ[1]:g} GHz"


def _unknown(name: str, known: Iterable[str]) -> InputError:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return InputError(f"{name!r} is not a parameter; the nearest name is {near[0] if near else names[0]!r}")


def _changed(old: Parameter, change: ParameterChange) -> Parameter:
    """`old` with `change`; a new unit needs its own range, and a lone value is taken as known exactly."""
    ranged = change.low is not None or change.high is not None
    was = "loguniform" if old.distribution == "lognormal" else old.distribution  # a new range ends what a fit has found
    if change.unit not in (None, old.unit) and (change.low is None or change.high is None):
        raise InputError(f"{old.name}: unit {change.unit!r} instead of {old.unit!r}; accepted with low and high")
    distribution = change.distribution or (was if ranged else "fixed")
    given = {
        key: value
        for key in ("low", "high", "unit", "confidence", "source")
        if (value := getattr(change, key)) is not None
    }
    return msgspec.structs.replace(old, value=change.value, distribution=distribution, sigma=change.sigma, **given)


def _change_of(parameter: Parameter, entry: object) -> ParameterChange:
    """What a user's file says about `parameter`: a number, or a table of fields."""
    accepted = _range_text(parameter)
    if not isinstance(entry, dict):
        return ParameterChange(value=_number(parameter.name, entry, accepted))
    fields: dict[str, Any] = dict(entry)
    for key in ("value", "low", "high"):
        if key in fields:
            label = parameter.name if key == "value" else f"{parameter.name}.{key}"
            fields[key] = _number(label, fields[key], accepted if key == "value" else "a number")
    try:
        change = msgspec.convert(fields, ParameterChange)
        _check_text(f"{parameter.name}.source", change.source)
        return change
    except msgspec.ValidationError as error:
        keys = ", ".join(ParameterChange.__struct_fields__)
        raise InputError(f"{parameter.name} = {entry!r}: {_one_line(error)}; accepted keys are {keys}") from None


def _check_text(key: str, text: str | None) -> None:
    if text is not None and not text.replace("\n", "").isprintable():
        raise InputError(f"{key} = {text!r}: accepted is text without control characters")


def parameters_toml(parameters: ParameterSet) -> str:
    """A parameter file that gives back the same set, on top of any preset."""
    lines = [f"{key} = {_toml(getattr(parameters, key))}" for key in ("name", "preset", *CLOCK_NAMES)]
    lines += ["calibrated = false"] if parameters.joint is None else []
    for p in parameters.parameters:
        lines += ["", f"[parameters.{p.name}]"]
        fields = {key: getattr(p, key) for key in ParameterChange.__struct_fields__}
        lines += [f"{key} = {_toml(value)}" for key, value in fields.items() if value is not None]
    if parameters.joint is not None:
        lines += ["", "[joint]"]
        lines += [f"{key} = {_toml(value)}" for key, value in msgspec.to_builtins(parameters.joint).items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Return a number, a text or a list on one line; JSON's surrogate pairs and bare DEL are not TOML."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


@functools.cache
def default_parameters() -> tuple[Parameter, ...]:
    """The rows of ``data/parameters.toml``, in file order."""
    text = (resources.files("perfmodel") / "data" / "parameters.toml").read_bytes()
    return tuple(msgspec.toml.decode(text, type=_Defaults).parameter)


@functools.cache
def confidence_legend() -> Mapping[str, str]:
    """What the confidence letters mean."""
    text = (resources.files("perfmodel") / "data" / "parameters.toml").read_bytes()
    return msgspec.toml.decode(text, type=_Defaults).legend


@functools.cache
def preset_names() -> tuple[str, ...]:
    """Names that `load_parameters` takes, sorted."""
    folder = resources.files("perfmodel") / "data" / "presets"
    return tuple(sorted(x.name.removesuffix(".toml") for x in folder.iterdir() if x.name.endswith(".toml")))


def load_preset(name: str) -> Preset:
    """One preset as its file gives it; `InputError` for a name that does not exist."""
    if name not in preset_names():
        raise InputError(f"preset {name!r} does not exist; accepted are {', '.join(preset_names())}")
    text = (resources.files("perfmodel") / "data" / "presets" / f"{name}.toml").read_bytes()
    return msgspec.toml.decode(text, type=Preset)


def _read_user_file(path: Path) -> _UserFile:
    accepted = (
        "accepted is a TOML file of name, preset, core_ghz, tsc_ghz, [parameters] and what 'perfmodel calibrate' writes"
    )
    try:
        return msgspec.toml.decode(read_whole(path), type=_UserFile)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _one_line(error)
        raise InputError(f"parameter file {str(path)!r}: {reason}; {accepted}") from None


def load_parameters(
    preset: str = DEFAULT_PRESET,
    file: str | Path | None = None,
    overrides: Iterable[str] = (),
    calibrated: bool = True,
) -> ParameterSet:
    """Defaults, then what was fitted to public observations, then preset, then `file`, then `overrides`.

    Parameters
    ----------
    preset : str
        One of `preset_names`.
    file : path, optional
        TOML with ``name``, ``core_ghz``, ``tsc_ghz`` and ``[parameters]``: ``name = number``, or a table of
        ``value, low, high, unit, distribution, source, confidence``; ``preset``, the processor whose caches they
        go with; and ``calibrated = false`` for a set without `joint`.
    overrides : iterable of str
        ``name=value``, also for ``core_ghz`` and ``tsc_ghz``; each name once.
    calibrated : bool
        Without it the priors of ``data/parameters.toml`` stand as they are, and so does a set without `joint`.

    Returns
    -------
    ParameterSet
        A value given without a range counts as known exactly (distribution ``fixed``); its limits stay.

    Raises
    ------
    InputError
        One line, for anything unknown, not finite, or outside its range.
    """
    chosen = load_preset(preset)
    known = {parameter.name: parameter for parameter in default_parameters()}
    joint = None
    if calibrated:
        fitted = _calibration()
        joint = fitted.joint
        for key, entry in fitted.parameters.items():
            known[key] = _changed(known[key], _change_of(known[key], entry))
    clocks = {"core_ghz": chosen.core_ghz.value, "tsc_ghz": chosen.tsc_ghz.value}
    name = caches_of = chosen.name
    for key, change in chosen.parameters.items():
        if key not in known:
            raise _unknown(key, known)
        known[key] = _changed(known[key], change)

    if file is not None:
        content = _read_user_file(Path(file))
        _check_text("name", content.name)
        name = content.name or f"{name}+file"
        caches_of = load_preset(content.preset or caches_of).name
        joint = joint if content.calibrated else None
        joint = check_joint(content.joint, tuple(known)) if content.joint else joint
        for key in CLOCK_NAMES:
            if (value := getattr(content, key)) is not None:
                clocks[key] = _number(key, value, _clock_text())
        for key, entry in content.parameters.items():
            if key not in known:
                raise _unknown(key, known)
            known[key] = _changed(known[key], _change_of(known[key], entry))

    seen: set[str] = set()
    for text in overrides:
        key, equals, number = (part.strip() for part in text.partition("="))
        if not equals or not key:
            raise InputError(f"{text!r}: accepted is name=value")
        if key in seen:
            raise InputError(f"{text!r}: {key} is given twice; accepted is each name once")
        seen.add(key)
        if key in clocks:
            clocks[key] = _number(key, number, _clock_text())
        elif key in known:
            value = _number(key, number, _range_text(known[key]))
            known[key] = _changed(known[key], ParameterChange(value=value))
        else:
            raise _unknown(key, [*known, *CLOCK_NAMES])
    return ParameterSet(
        f"{name}+set" if seen else name, parameters=tuple(known.values()), joint=joint, preset=caches_of, **clocks
    )


def change_parameters(parameters: ParameterSet, changes: Mapping[str, ParameterChange]) -> ParameterSet:
    """Return ``parameters`` with ``changes``; `InputError` for a name that does not exist or a value out of range."""
    known = {parameter.name: parameter for parameter in parameters.parameters}
    for name, change in changes.items():
        if name not in known:
            raise _unknown(name, known)
        known[name] = _changed(known[name], change)
    return msgspec.structs.replace(parameters, parameters=tuple(known.values()))


@functools.cache
def _calibration() -> _UserFile:
    """``data/calibrated.toml``, which ``perfmodel calibrate`` has written."""
    text = (resources.files("perfmodel") / "data" / "calibrated.toml").read_bytes()
    return msgspec.toml.decode(text, type=_UserFile)
