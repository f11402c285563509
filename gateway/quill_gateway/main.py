"""The ASGI application of the gateway."""

from quill_shared.platform.app import create_app

from .bootstrap import definition

app = create_app(definition)
