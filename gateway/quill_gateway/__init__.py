"""The browser edge: one address in front of the five services."""
