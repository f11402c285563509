"""The notes service as a process, for the tests that stop one."""

from dataclasses import replace

from notes import definition

from quill_shared.platform.app import create_app
from quill_shared.platform.bus import EmbeddedTransport
from quill_shared.platform.testing.tokens import TokenMint

mint = TokenMint()
app = create_app(replace(definition, token_sources=lambda _: mint.sources), transport=EmbeddedTransport())
