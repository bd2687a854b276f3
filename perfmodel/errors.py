"""What can end a command before its time, and how it is said."""


class InputError(ValueError):
    """Bad input: the message is one line that names the key, the value and what would be accepted.

    The command line prints it and exits with status 2.
    """


class TooLargeError(InputError):
    """Input that is good, but not for the memory that this machine has left now."""


class ModelError(RuntimeError):
    """The model contradicts itself, for example by a law of conservation: a defect, never the user's doing."""


class Interrupted(KeyboardInterrupt):
    """The user has interrupted long work; the message says what is kept of it."""


_LONGEST = 900


def one_line(message: str) -> str:
    """Return ``message`` fit for a terminal: one line, nothing that acts on it, the middle of a long one left out."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(message.split()))
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} [...] {text[-half:]}"
