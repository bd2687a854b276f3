"""What a calibration knows beyond each price alone."""

from collections.abc import Sequence

import msgspec
import numpy as np

from perfmodel.errors import InputError

_LARGEST = 10.0


class Joint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fitted prices hang together, and what hosts and stages may be off by.

    Attributes
    ----------
    names : tuple of str
        Prices that were fitted.
    correlation : tuple of tuple of float, shape (names, names)
        Of their logarithms.
    host_scale : float
        Standard deviation of the logarithm of a scale that all costs of one host share.
    stage_scatter : float
        The same for what one stage of the model may be wrong by beyond its prices.
    """

    names: tuple[str, ...]
    correlation: tuple[tuple[float, ...], ...]
    host_scale: float
    stage_scatter: float


def check_joint(joint: Joint, known: Sequence[str]) -> Joint:
    """Return ``joint`` if a set of the parameters ``known`` can have it.

    Raises
    ------
    InputError
        A name that is not known, no correlation matrix, or a standard deviation that is none.
    """
    names = joint.names
    for name in names:
        if name not in known:
            raise InputError(f"joint.names {name!r}: accepted are {', '.join(known)}")
    square = all(len(row) == len(names) for row in joint.correlation) and len(joint.correlation) == len(names)
    matrix = np.array(joint.correlation) if square and names else np.eye(len(names))
    sound = square and len(set(names)) == len(names) and bool(np.isfinite(matrix).all())
    sound = sound and np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)
    if not sound or (names and np.linalg.eigvalsh(matrix)[0] <= 0):
        raise InputError("joint.correlation: accepted is a positive definite correlation matrix of joint.names")
    for key in ("host_scale", "stage_scatter"):
        if not 0 <= getattr(joint, key) <= _LARGEST:
            raise InputError(f"joint.{key} = {getattr(joint, key)!r}: accepted is 0 to {_LARGEST:g}")
    return joint
