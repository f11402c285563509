"""Why the embedded stack does not start."""


class StackError(Exception):
    """The stack cannot do what was asked; the message is one sentence for the person at the terminal."""
