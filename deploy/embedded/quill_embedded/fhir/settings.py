"""What can be set about the FHIR stand-in."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class FhirSettings:
    """Settings of one FHIR stand-in; it owns the database it is given.

    Attributes:
        database_url: PostgreSQL DSN of a database that only this server uses.
        base_url: base of every link it gives (``http://host:port/fhir``). By default it is built from
            the request's Host header, as HAPI does, so that links also hold behind a port forward.
        pool_max_size: most connections kept to PostgreSQL.
        default_page_size: entries in a page when ``_count`` is absent.
        max_page_size: larger values of ``_count`` are reduced to this.
        search_retention_seconds: how long the pages of a search can be followed; later they are gone (410).
        client_ids: HAPI's strategies. With ``alphanumeric`` ids of digits only are the server's (400), which
            counts them; with ``any`` a client may choose every id and the server assigns UUIDs.
        reuse_search_seconds: HAPI answers an identical search from its stored result for 60 s. 0 turns
            that imitation off.
        stale_if_match_status: 409 as HAPI answers a stale ``If-Match``, or 412 as the specification asks.
        max_body_bytes: larger request bodies are refused (413).
    """

    database_url: str = field(repr=False)
    base_url: str | None = None
    pool_max_size: int = 5
    default_page_size: int = 20
    max_page_size: int = 1000
    search_retention_seconds: float = 3600.0
    client_ids: Literal["alphanumeric", "any"] = "alphanumeric"
    reuse_search_seconds: float = 0.0
    stale_if_match_status: int = 409
    max_body_bytes: int = 10 * 1024 * 1024
