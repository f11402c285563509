"""The ASGI application of the patients service."""

from quill_shared.platform.app import create_app

from .bootstrap import definition

app = create_app(definition)
