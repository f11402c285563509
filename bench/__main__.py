"""`make bench`: every measurement, one after the other. Arguments are for that of the gateway."""

import sys

from . import backends, gateway

if __name__ == "__main__":
    sys.exit(gateway.main() | backends.main([]))
