"""The openEHR server that keeps the letters."""

from .client import OpenEhr, OpenEhrServer

__all__ = ["OpenEhr", "OpenEhrServer"]
