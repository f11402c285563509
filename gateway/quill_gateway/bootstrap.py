"""What the gateway is made of."""

from typing import Final

from quill_shared.platform.service import ServiceDefinition

from . import api
from .edge import Edge
from .gateway import opened
from .protocol import GuardedProtocol
from .settings import GatewaySettings

__all__ = ["definition"]

definition: Final = ServiceDefinition(
    name="gateway",
    title="Quill gateway",
    package="quill_gateway",
    settings=GatewaySettings,
    routers=(api.router,),
    lifespan=opened,
    edge=Edge,
    protocol=GuardedProtocol,
    has_database=False,
    access_log=False,
)
