"""An assembler for the scripts of :mod:`kernels.queueing`: steps with names for registers and places to go on at."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from kernels.queueing.layout import STEP_FIELDS, Op

PS_PER_NS = 1000


class Label:
    """A place in a script that steps before it may name."""

    def __init__(self) -> None:
        self.at = -1


class Script:
    """Steps of all threads, one after the other.

    Durations are given in ns. Work given to :meth:`work` is done before the step that follows.
    """

    def __init__(self) -> None:
        self._steps: list[list[int | Label]] = []
        self._pending_ns = 0.0

    @property
    def here(self) -> int:
        """Number of the next step."""
        return len(self._steps)

    def work(self, ns: float) -> None:
        """Let ``ns`` of work be done before the next step that takes time."""
        self._pending_ns += ns

    def add(
        self, op: Op, line: int = -1, lock: int = -1, arg: "int | Label" = 0, otherwise: "int | Label" = 0
    ) -> int:  # fmt: skip
        """Append a step and return its number; a step without time leaves pending work to the next."""
        work = 0
        if op < Op.JUMP:
            work, self._pending_ns = round(self._pending_ns * PS_PER_NS), 0.0
        elif self._pending_ns:
            self.add(Op.NOTHING)
        self._steps.append([int(op), line, lock, work, arg, otherwise])
        return len(self._steps) - 1

    def place(self, label: Label) -> None:
        """Let ``label`` name the next step."""
        if self._pending_ns:
            self.add(Op.NOTHING)
        label.at = self.here

    def stream(self, own_ns: float, server: int, server_ns: float, link: int) -> None:
        """Move bytes at the thread's own pace, through ``server`` and perhaps ``link``."""
        self.add(Op.STREAM, server, link, round(server_ns * PS_PER_NS), round(own_ns * PS_PER_NS))
        self.add(Op.STREAM_END, server)

    @contextmanager
    def repeat(self, register: int, times: int) -> Iterator[Label]:
        """Run the steps in the block ``times`` times, counted in ``register``; the block gets its own place."""
        self.add(Op.SET, register)
        again, end = Label(), Label()
        self.place(again)
        yield again
        self.add(Op.ADD, register, arg=1)
        self.add(Op.IF_LESS, register, arg=times, otherwise=end)
        self.add(Op.JUMP, arg=again)
        self.place(end)

    def assemble(self) -> npt.NDArray[np.int64]:
        """Return the steps as an array, shape (steps, STEP_FIELDS)."""
        table = np.zeros((self.here, STEP_FIELDS), np.int64)
        for row, step in enumerate(self._steps):
            for column, field in enumerate(step):
                table[row, column] = field.at if isinstance(field, Label) else field
                if isinstance(field, Label) and field.at < 0:
                    raise ValueError(f"step {row} goes on at a label that was never placed")
        return table
