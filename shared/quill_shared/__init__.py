"""What every Quill service stands on: the platform and the clinical kernel."""
