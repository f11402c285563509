"""`python -m quill_cli`, the same as `quill`."""

from .app import app

if __name__ == "__main__":
    app(prog_name="quill")
