"""Why a real server cannot be had or does not start."""


class BackendsError(Exception):
    """What was asked cannot be done; the message is one sentence for the person at the terminal."""
