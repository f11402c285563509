"""The notes service as a process, for the tests that stop one."""

from notes import definition

from quill_shared.platform.app import create_app
from quill_shared.platform.bus import EmbeddedTransport

app = create_app(definition, transport=EmbeddedTransport())
