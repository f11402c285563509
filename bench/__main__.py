"""`make bench`: every measurement, one after the other."""

from . import gateway

if __name__ == "__main__":
    gateway.main()
