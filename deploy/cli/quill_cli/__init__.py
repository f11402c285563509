"""The quill command."""
