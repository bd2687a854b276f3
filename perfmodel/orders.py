"""The order in which a guest takes up the 4 MiB chunks of a region."""

import numpy as np
import numpy.typing as npt

from perfmodel.names import ORDERS
from perfmodel.traced_order import traced_chunks

CHUNKS_PER_REGION = 256
_STREAM = 0x0DE4  # keeps this draw apart from the others of the same seed


def chunk_order(name: str, region: int, seed: int, vcpus: int) -> npt.NDArray[np.int64]:
    """Return the order of a region's chunks.

    Parameters
    ----------
    name : {"sequential", "random", "striped"} or str
        ``striped`` gives each vCPU an equal stripe of the region; all proceed in step. Any other is the path of a
        recorded order, see :mod:`perfmodel.traced_order`.
    region, seed, vcpus : int

    Returns
    -------
    ndarray of int64, shape (256,)
        A permutation of the chunk numbers.
    """
    chunks = np.arange(CHUNKS_PER_REGION, dtype=np.int64)
    if name == "random":
        return np.random.default_rng([_STREAM, seed, region]).permutation(chunks)
    if name == "striped":
        stripe = _stripe(vcpus)
        return chunks[np.lexsort((chunks // stripe, chunks % stripe))]
    return chunks if name in ORDERS else traced_chunks(name, region)


def by_vcpu(name: str, chunks: npt.NDArray[np.int64], vcpus: int) -> list[npt.NDArray[np.int64]]:
    """Split an order of chunks by the vCPU that takes them; all but ``striped`` are one vCPU's."""
    if name != "striped":
        return [chunks]
    owner = chunks // _stripe(vcpus)
    return [chunks[owner == vcpu] for vcpu in range(int(owner.max()) + 1)]


def _stripe(vcpus: int) -> int:
    """Return how many chunks of a region each vCPU takes."""
    return -(-CHUNKS_PER_REGION // min(vcpus, CHUNKS_PER_REGION))
