"""What the vCPUs of a run come to together: throughput, waits, limits. Part of several results."""

import msgspec


class Interval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value, and its 5 % and 95 % points over the parameters' ranges."""

    value: float
    low: float
    high: float


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Time that a unit of work waits for one resource, in ns.

    Attributes
    ----------
    queue : float
        Behind others on a line or for bandwidth.
    transfer : float
        For the line to come from another core, or for memory of another node.
    blocked : float
        For a lock, or for kicked vCPUs to answer.
    """

    queue: float
    transfer: float
    blocked: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.queue + self.transfer + self.blocked


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one resource allows at most; :class:`perfmodel.scaling.bounds.Bound` in the result's units.

    Attributes
    ----------
    resource : str
    per_unit : float
        Uses in one unit of work: atomic instructions, acquisitions, streams.
    ns_per_unit : float
        How long a unit keeps it.
    units_per_s, gib_per_s : float
        Of all TDs together.
    """

    resource: str
    per_unit: float
    ns_per_unit: float
    units_per_s: float
    gib_per_s: float


class ScalePoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One number of vCPUs; times are those of one unit of work as its vCPU sees it.

    Attributes
    ----------
    vcpus : int
        Of each TD.
    gib_per_s : Interval
        Of all TDs together.
    units_per_s : float
        Faults, or changed leaves.
    speed_up, efficiency : float
        Over one vCPU alone, and that over the number of vCPUs at work.
    cycle_ns, service_ns, wasted_ns : float
        All of it; its own work; work done again or for calls that failed, and of changes among vCPUs inside what
        remains: waiting at lines too.
    waits_ns : dict of str to Wait
        By resource.
    busy, calls : dict of str to float
        TDX_OPERAND_BUSY by operand, and calls, per unit.
    utilisation : dict of str to float
        Of the busiest instance of each resource.
    saturated : str
        The resource that limits the throughput, or ``none``.
    latency_ns : dict of str to float
        Percentiles.
    half_width : float
        Of the 95 % confidence interval of the throughput, as share of it.
    units : int
        Simulated.
    """

    vcpus: int
    gib_per_s: Interval
    units_per_s: float
    speed_up: float
    efficiency: float
    cycle_ns: float
    service_ns: float
    wasted_ns: float
    waits_ns: dict[str, Wait]
    busy: dict[str, float]
    calls: dict[str, float]
    utilisation: dict[str, float]
    saturated: str
    latency_ns: dict[str, float]
    half_width: float
    units: int


class Scaling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the vCPUs of one row of a comparison come to together.

    Attributes
    ----------
    seconds : Interval
        Time that passes until all TDs have their memory.
    point : ScalePoint
    limits : list of Limit
        The tightest first.
    knee_vcpus : float
        vCPUs of a TD at which unhindered vCPUs would reach the tightest limit.
    """

    seconds: Interval
    point: ScalePoint
    limits: list[Limit]
    knee_vcpus: float
