"""What can end a command before its time."""


class InputError(ValueError):
    """Bad input: the message is one line that names the key, the value and what would be accepted.

    The command line prints it and exits with status 2.
    """


class ModelError(RuntimeError):
    """The model contradicts itself, for example by a law of conservation: a defect, never the user's doing."""


class Interrupted(KeyboardInterrupt):
    """The user has interrupted long work; the message says what is kept of it."""
