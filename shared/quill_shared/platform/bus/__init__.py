"""The bus of events: a port and its two transports."""

from .embedded import EmbeddedTransport
from .parking import DatabaseParkingPlace
from .port import Deliver, DeliveryPaused, Message, Parked, ParkingPlace, Subscription, Tap, Transport
from .rabbitmq import RabbitMQTransport

__all__ = [
    "DatabaseParkingPlace",
    "Deliver",
    "DeliveryPaused",
    "EmbeddedTransport",
    "Message",
    "Parked",
    "ParkingPlace",
    "RabbitMQTransport",
    "Subscription",
    "Tap",
    "Transport",
]
