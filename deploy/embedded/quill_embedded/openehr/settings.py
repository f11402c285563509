"""What can be set about the openEHR stand-in."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenEhrSettings:
    """Settings of one openEHR stand-in; it owns the database it is given.

    Attributes:
        database_url: PostgreSQL DSN of a database that only this server uses.
        username: name asked by HTTP Basic authentication; None lets everybody in.
        password: the password that belongs to it.
        system_id: the system part of version ids, EHRbase's ``server.nodename``.
        pool_max_size: most connections kept to PostgreSQL.
        max_body_bytes: larger request bodies are refused (413).
    """

    database_url: str = field(repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    system_id: str = "local.ehrbase.org"
    pool_max_size: int = 3
    max_body_bytes: int = 10 * 1024 * 1024

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password are given together or not at all")
