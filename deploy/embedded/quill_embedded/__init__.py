"""The whole of Quill on one machine, for development and evaluation."""
