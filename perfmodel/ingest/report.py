"""What a reader counts: lines read, used and dropped, the renderer and the units that it found."""

from collections import Counter
from dataclasses import dataclass, field

_MOST_REASONS = 40


@dataclass
class Report:
    """Counts of one file.

    Attributes
    ----------
    kind, file : str
    renderer : str
        Which of the format's spellings it is.
    units : set of str
        Units of time and size found.
    lines, used : int
        Lines read; lines that something came of.
    dropped : Counter
        Lines that should have told something and did not, by reason. The rest is what the reader has no use for.
    warnings : list of str
    """

    kind: str
    file: str
    renderer: str = ""
    units: set[str] = field(default_factory=set)
    lines: int = 0
    used: int = 0
    dropped: "Counter[str]" = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)

    def drop(self, reason: str, lines: int = 1) -> None:
        """Count lines that are lost."""
        if reason not in self.dropped and len(self.dropped) >= _MOST_REASONS:
            reason = "of other reasons"
        self.dropped[reason] += lines

    def warn(self, text: str) -> None:
        """Keep a warning, each once."""
        if text not in self.warnings:
            self.warnings.append(text)

    @property
    def skipped(self) -> int:
        """Lines without use: headers, comments, other events."""
        return max(self.lines - self.used - self.dropped.total(), 0)
