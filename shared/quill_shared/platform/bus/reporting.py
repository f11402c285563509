"""What the log may say of a message: its id and type, and whose queue it is in."""

from .port import Message


def about(message: Message, queue: str) -> dict[str, object]:
    """Log fields that name `message` without telling anything of its content."""
    return {"event_id": str(message.id), "event_type": message.type, "queue": queue}
