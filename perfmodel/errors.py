"""The one error that a user can cause."""


class InputError(ValueError):
    """Bad input: the message is one line that names the key, the value and what would be accepted.

    The command line prints it and exits with status 2.
    """


class ModelError(RuntimeError):
    """The model contradicts itself, for example by a law of conservation: a defect, never the user's doing."""
