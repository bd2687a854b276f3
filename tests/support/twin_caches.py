"""Three levels of caches in plain Python: sets are lists of lines, the last used first, and dirty lines a set."""

from kernels.cache import DROP, LOAD, MEMORY, MODIFY, STORE

HITS, MISSES, EVICTIONS, WRITE_BACKS = "hits", "misses", "evictions", "write-backs"


class TwinCaches:
    """The caches of :mod:`kernels.cache`, told level by level."""

    def __init__(self, geometry):
        self.sizes = geometry
        self.sets = [[[] for _ in range(sets)] for sets, _ in geometry]
        self.dirty = [set() for _ in geometry]
        self.counts = [dict.fromkeys((HITS, MISSES, EVICTIONS, WRITE_BACKS), 0) for _ in geometry]

    def _set(self, level, line):
        return self.sets[level][line % self.sizes[level][0]]

    def load(self, level, line):
        """Return the level where the line was, and leave it in this one and all that were asked."""
        if level == len(self.sizes):
            return MEMORY
        held = self._set(level, line)
        if line in held:
            self.counts[level][HITS] += 1
            held.remove(line)
            held.insert(0, line)
            return level
        self.counts[level][MISSES] += 1
        found = self.load(level + 1, line)
        held.insert(0, line)
        if len(held) > self.sizes[level][1]:
            self._evict(level, held.pop())
        return found

    def _evict(self, level, line):
        self.counts[level][EVICTIONS] += 1
        if line in self.dirty[level]:
            self.dirty[level].remove(line)
            self.counts[level][WRITE_BACKS] += 1
            self.store(level + 1, line)

    def store(self, level, line):
        """Return the level where the line was."""
        if level == len(self.sizes):
            return MEMORY
        found = level if line in self._set(level, line) else self.load(level, line)
        self.dirty[level].add(line)
        return found

    def drop(self, line):
        """Return the level where the line was."""
        having = [level for level in range(len(self.sizes)) if line in self._set(level, line)]
        dirty = [level for level in having if line in self.dirty[level]]
        if dirty:
            self.counts[dirty[0]][WRITE_BACKS] += 1
        for level in having:
            self._set(level, line).remove(line)
            self.dirty[level].discard(line)
        return having[0] if having else MEMORY

    def pass_page(self, line, lines):
        """Push as many lines out of each set as the page brings."""
        for level, (sets, ways) in enumerate(self.sizes):
            for s in range(min(sets, lines)):
                held = self._set(level, line + s)
                kept = max(ways - len(range(s, lines, sets)), 0)
                gone = held[kept:]
                del held[kept:]
                for one in gone:
                    self._evict(level, one)
        return MEMORY

    def access(self, op, line, lines=0):
        """Execute one access of a stream."""
        if op == LOAD:
            return self.load(0, line)
        if op == STORE:
            return self.store(0, line)
        if op == MODIFY:
            found = self.load(0, line)
            self.store(0, line)
            return found
        return self.drop(line) if op == DROP else self.pass_page(line, lines)


def contents(twin):
    """Return the lines of each level by set, the last used first, with whether they are dirty."""
    return [[[(line, line in dirty) for line in one] for one in sets]
            for sets, dirty in zip(twin.sets, twin.dirty, strict=True)]  # fmt: skip
