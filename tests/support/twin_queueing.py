"""The queueing simulation once more, in plain Python: threads, locks with named holders, streams, and a heap of events.

Written from the docstrings of ``kernels/queueing/layout.py``. It reads an unstarted ``Simulation`` for its script and
settings and keeps everything in objects. Who gives back a lock must hold it: a script in which one does not fails here,
where rows of integers would only count wrong.
"""

from twin_events import Events, Resource, Step, Stream, Thread

from kernels.queueing import layout as q
from kernels.queueing import memory as m
from kernels.queueing.layout import Op


class Twin(Events):
    """Runs the script of an unstarted simulation."""

    # locks that are tried once

    def _try(self, t: Thread, step: Step, now: int, free: bool, host: bool = True) -> None:
        done = self._reach(t, step.line, now)
        lock = self._at(t, step.lock)
        if host:
            lock.host_priority = not free
        if not free:
            self._tally(step.lock, q.BUSY)
            self._go_on(t, step.otherwise, done)
            return
        if step.op == Op.TRY_SHARED:
            lock.shared[t.number] += 1
        else:
            lock.shared.clear()
            lock.exclusive = t.number
        self._next(t, done)

    def _try_shared(self, t: Thread, step: Step, now: int) -> None:
        self._try(t, step, now, self._at(t, step.lock).exclusive is None)

    def _try_exclusive(self, t: Thread, step: Step, now: int) -> None:
        self._try(t, step, now, self._at(t, step.lock).state == 0)

    def _try_promote(self, t: Thread, step: Step, now: int) -> None:
        lock = self._at(t, step.lock)
        assert lock.shared[t.number], "only a reader is promoted"
        self._try(t, step, now, lock.readers == 1)

    def _try_guest(self, t: Thread, step: Step, now: int) -> None:
        lock = self._at(t, step.lock)
        self._try(t, step, now, lock.state == 0 and not lock.host_priority, host=False)

    def _drop_shared(self, t: Thread, step: Step, now: int) -> None:
        self._at(t, step.lock).leave(t.number, step.op == Op.DROP_EXCLUSIVE)
        self._next(t, self._reach(t, step.line, now))

    _drop_exclusive = _drop_shared

    # locks that are waited for

    def _lock(self, t: Thread, step: Step, now: int) -> None:
        done = self._reach(t, step.line, now)
        lock = self._at(t, step.line)
        free = lock.exclusive is None and (step.op == Op.READ_LOCK or not lock.readers)
        if free and (step.op == Op.SLEEP_LOCK or not lock.waiting):
            self._grant(lock, t.number, step.op, done)
            self._next(t, done)
        else:
            t.blocked_at = done
            lock.waiting.append((t.number, step.op))

    _read_lock = _write_lock = _sleep_lock = _lock

    def _grant(self, lock: Resource, thread: int, op: Op, time: int) -> None:
        if op == Op.READ_LOCK:
            lock.shared[thread] += 1
        else:
            lock.exclusive = thread
        lock.held_since = time

    def _unlock(self, t: Thread, step: Step, now: int) -> tuple[Resource, int]:
        done = self._reach(t, step.line, now)
        lock = self._at(t, step.line)
        lock.leave(t.number, step.op != Op.READ_UNLOCK)
        if step.op != Op.READ_UNLOCK:
            self._tally(step.line, q.HELD, done - lock.held_since)
        return lock, done

    def _write_unlock(self, t: Thread, step: Step, now: int) -> None:
        lock, done = self._unlock(t, step, now)
        reaches = done
        while lock.waiting:
            number, op = lock.waiting[0]
            if lock.exclusive is not None or (lock.readers and op != Op.READ_LOCK):
                break
            lock.waiting.popleft()
            reaches += self._distance(t.number, number)  # the queue's line goes on from one to the next
            lock.owner, lock.free_at = number, max(lock.free_at, reaches)
            self._grant(lock, number, op, reaches)
            other = self.threads[number]
            self._tally(step.line, q.BLOCKED, reaches - other.blocked_at)
            if other.broken_off is None:
                self._next(other, reaches)
            else:
                other.granted = True
        self._next(t, done)

    _read_unlock = _write_unlock

    def _sleep_unlock(self, t: Thread, step: Step, now: int) -> None:
        lock, done = self._unlock(t, step, now)
        if lock.waiting:
            other = self.threads[lock.waiting.popleft()[0]]
            wakes = done + self.settings[q.WAKE]
            self._tally(step.line, q.BLOCKED, wakes - other.blocked_at)
            self._wake(other, wakes)
        self._next(t, done)

    # bandwidth

    def _slowdown(self, where: int) -> int:
        return max(q.ONE, self.row(where % self.settings[q.NODES]).load, self.row(where).load)

    def _classes(self, where: int) -> tuple[int, int]:
        """Return the two classes of a node's memory: reached from the node, and from others."""
        home = where % self.settings[q.NODES]
        return home, home + self.settings[q.NODES]

    def _ask(self, stream: Stream, sign: int, now: int) -> None:
        for where in self._classes(stream.where):
            clock = self.row(where)
            clock.table += (now - clock.free_at) * q.ONE // self._slowdown(where)
            clock.free_at = now
        for server, share in stream.asks.items():
            self.row(server).load += sign * share

    def _find_first(self, stream: Stream, now: int) -> None:
        """Give the first stream to end in each class the only event."""
        for where in self._classes(stream.where):
            running = [
                (t.stream.end, t.number)
                for t in self.threads
                if t.stream is not None and t.stream.where == where and t.stream.end is not None
            ]
            for _, number in running:
                self.threads[number].due = None
            if running:
                end, number = min(running)
                left = max(end - self.row(where).table, 0)
                self._wake(self.threads[number], now - -left * self._slowdown(where) // q.ONE)

    def _join(self, t: Thread, left: int, now: int) -> None:
        assert t.stream is not None
        self._ask(t.stream, 1, now)
        t.stream.end = self.row(t.stream.where).table + left
        self._find_first(t.stream, now)

    def _part(self, stream: Stream, now: int) -> None:
        self._ask(stream, -1, now)
        stream.end = None
        self._find_first(stream, now)

    def _stream(self, t: Thread, step: Step, now: int) -> None:
        near, served = t.registers[step.line], step.arg
        far = t.registers[step.lock] if step.lock >= 0 else -1
        own = max(step.otherwise, served, 1)
        t.pc += 1
        self.worked += own
        if served == 0:
            self._wake(t, now + own)
            return
        self._tally(step.line, q.VISITS)
        self.row(near).occupied += served
        linked = 0
        if far >= 0:
            longer = served * self.settings[q.REMOTE_PACE] // 1024
            linked = served * self.settings[q.LINK_PACE] // 1024
            self._tally(step.lock, q.SERVED, longer)
            own = max(own + longer, linked)
            self.row(far).occupied += linked
        asks = {near: served * q.ONE // own} | ({far: linked * q.ONE // own} if far >= 0 else {})
        t.stream = Stream(far if far >= 0 else near, asks, now, own)
        self._join(t, own, now)

    def _stream_end(self, t: Thread, step: Step, now: int) -> None:
        stream, t.stream = t.stream, None
        if stream is not None:
            self._tally(step.line, q.QUEUED, max(now - stream.began - stream.own, 0))
            self._part(stream, now)
        self._next(t, now)

    # memory

    def _take(self, t: Thread, step: Step, now: int) -> None:
        s, td = self.settings, self.tds[t.td]
        if s[q.STRIPED]:
            stripe = max(s[q.UNITS_IN_GUEST] // len(td.threads), 1)
            unit = ((t.number - td.threads.start) * stripe + t.taken % stripe) % s[q.UNITS_IN_GUEST]
            t.taken += 1
        else:
            unit = td.next_unit % s[q.UNITS_IN_GUEST] * s[q.UNIT_STRIDE] % s[q.UNITS_IN_GUEST]
            td.next_unit += 1
        page = unit << s[q.UNIT_SHIFT]
        gib, within_gib = divmod(page, 1 << 18)
        gib %= s[q.GIBS]
        gib_base, one_g, _, lines = self.bases[t.td]
        first = gib_base + gib * m.GIB_RESOURCES
        if within_gib == 0:
            self.row(first + m.GIB_TABLE).table = self.row(first + m.GIB_FOLIO).table = q.ABSENT
        home = {q.ON_FIRST_NODE: 0, q.ON_OWN_NODE: t.node, q.INTERLEAVED: unit % s[q.NODES]}[s[q.PLACEMENT]]
        points = {
            m.TABLE_2M: first + m.GIB_TABLE, m.FOLIO: first + m.GIB_FOLIO, m.HUGETLB_MUTEX: first + m.GIB_MUTEX,
            m.FOLIO_LOCK: first + m.GIB_LOCK, m.PAGE_PAMT_1G: one_g + gib // 4, m.DRAM: home,
            m.LINK: -1 if home == t.node else s[q.NODES] + home,
        }  # fmt: skip
        if s[q.UNIT_SHIFT] == 0:
            points[m.PAGE_PAMT_4K] = lines + page // 4 % s[q.LINES] * m.LINE_RESOURCES + m.LINE_PAMT
            points[m.SEPT_LINE] = lines + page // 8 % s[q.LINES] * m.LINE_RESOURCES + m.LINE_SEPT
        for register, row in points.items():
            t.registers[register] = row
        self._go_to(t, page)
        self._next(t, now)

    def _move(self, t: Thread, step: Step, now: int) -> None:
        self._go_to(t, t.registers[m.PAGE] + step.arg)
        self._next(t, now)

    def _go_to(self, t: Thread, page: int) -> None:
        base = self.bases[t.td][2]
        number = page // 512 % self.settings[q.RANGES]

        def part(of_range: int, which: int) -> int:
            return base + of_range * m.RANGE_RESOURCES + which

        t.registers[m.PAGE] = page
        t.registers[m.RANGE] = part(number, m.RANGE_ENTRY)
        t.registers[m.TABLE_4K] = part(number, m.RANGE_TABLE)
        t.registers[m.RANGE_PAMT_LOCK] = part(number, m.RANGE_PAMT)
        t.registers[m.PAGE_PAMT_2M] = part(number - number % 4, m.RANGE_PAMT_LINE)
        t.registers[m.PAMT_REFERENCES] = part(number - number % 16, m.RANGE_REFERENCES)
        if page % 512 == 0:
            self.row(t.registers[m.TABLE_4K]).table = q.ABSENT

    def _freeze(self, t: Thread, step: Step, now: int) -> None:
        table = self._at(t, step.lock)
        if table.table == q.FROZEN:
            self._tally(step.lock, q.BUSY)
        goes_on = {q.ABSENT: t.pc + 1, q.PRESENT: step.otherwise, q.FROZEN: step.arg}[table.table]
        if table.table == q.ABSENT:
            table.table = q.FROZEN
        self._go_on(t, goes_on, now)

    def _set_state(self, t: Thread, step: Step, now: int) -> None:
        self._at(t, step.lock).table = step.arg
        self._next(t, now)

    # the TD: epochs, kicks, the gate

    def _enter(self, t: Thread, step: Step, now: int) -> None:
        td = self.tds[t.td]
        t.epoch = td.epoch
        td.references[t.epoch % 2] += 1
        self._next(t, self._reach(t, step.line, now))

    def _exit(self, t: Thread, step: Step, now: int) -> None:
        t.where = q.OUTSIDE
        self.tds[t.td].references[t.epoch % 2] -= 1
        self._next(t, self._reach(t, step.line, now))

    def _track(self, t: Thread, step: Step, now: int) -> None:
        td = self.tds[t.td]
        if td.references[(td.epoch - 1) % 2]:
            self._tally(step.lock, q.BUSY)
            self._go_on(t, step.otherwise, now)
        else:
            td.epoch += 1
            self._next(t, now)

    def _kick(self, t: Thread, step: Step, now: int) -> None:
        td = self.tds[t.td]
        inside = [self.threads[n] for n in td.threads if n != t.number and self.threads[n].where != q.OUTSIDE]
        if not inside:
            self._next(t, now)
            return
        assert td.pending == 0, "one kick at a time"
        td.pending, td.kicker, t.blocked_at = len(inside), t.number, now
        arrives = now + self.settings[q.IPI_DELIVERY]
        for other in inside:
            arrives += self.settings[q.IPI_SEND]
            if other.where == q.ENTERING:
                other.kick_pending = True
            else:
                self._wake(self.threads[self.settings[q.COURIERS] + other.number], arrives)

    def _interrupt(self, courier: Thread, step: Step, now: int) -> None:
        t = self.threads[courier.number - self.settings[q.COURIERS]]
        if t.where == q.ENTERING:
            t.kick_pending = True
        elif t.where == q.OUTSIDE:
            self._acknowledge(t, step, now)
        else:
            left = None if t.due is None else t.due - now
            if t.stream is not None:
                end = t.stream.end
                assert end is not None
                self._part(t.stream, now)
                t.stream.left = max(end - self.row(t.stream.where).table, 0)
                t.stream.began -= now
            self._break_off(t, left, now)

    def _break_off(self, t: Thread, left: int | None, time: int) -> None:
        if t.broken_off is None:
            t.broken_off = t.pc, left
        t.where, t.kick_pending, t.due = q.OUTSIDE, False, None
        self._begin_step(t, self.settings[q.KICKED], time)

    def _answer(self, t: Thread, step: Step, now: int) -> None:
        self._acknowledge(t, step, now)
        self._next(t, now)

    def _acknowledge(self, t: Thread, step: Step, now: int) -> None:
        td = self.tds[t.td]
        td.pending -= 1
        if td.pending == 0:
            kicker = self.threads[td.kicker]
            self._tally(step.line, q.BLOCKED, now - kicker.blocked_at)
            self._next(kicker, now)

    def _land(self, t: Thread, step: Step, now: int) -> None:
        if t.kick_pending:
            self._break_off(t, 0, now)
            return
        t.where = q.IN_GUEST
        self._next(t, now)

    def _resume(self, t: Thread, step: Step, now: int) -> None:
        assert t.broken_off is not None
        if t.kick_pending:
            self._break_off(t, None, now)
            return
        t.where = q.IN_GUEST
        (t.pc, left), t.broken_off = t.broken_off, None
        if t.granted:
            t.granted = False
            self._next(t, now)
        elif t.stream is not None:
            t.stream.began += now
            self._join(t, t.stream.left, now)
        elif left is not None:
            self._wake(t, now + left)

    def _gate(self, t: Thread, step: Step, now: int) -> None:
        if not self.tds[t.td].no_entry:
            t.where = q.ENTERING
            self._next(t, now)
            return
        self.polls += 1
        t.where = q.OUTSIDE
        if t.kick_pending:
            t.kick_pending = False
            self._acknowledge(t, step, now)
        self._wake(t, now + step.arg)

    def _flag(self, t: Thread, step: Step, now: int) -> None:
        self.tds[t.td].no_entry = step.arg
        self._next(t, now)

    def _park(self, t: Thread, step: Step, now: int) -> None:
        """Nothing more."""
