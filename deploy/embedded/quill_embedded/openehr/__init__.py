"""An openEHR REST server for one machine: templates and EHRs, answering as EHRbase does."""

from .app import create_openehr_app
from .settings import OpenEhrSettings

__all__ = ["OpenEhrSettings", "create_openehr_app"]
