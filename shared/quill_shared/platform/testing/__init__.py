"""What the tests of every service share: a pytest plugin per need, loaded by the root ``conftest.py``."""
