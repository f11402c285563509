"""What every service needs and no clinician has heard of: HTTP, transactions, events, upstreams, health.

Nothing in this package knows a clinical word; the kernel beside it does. Modules:

- `service`: the definition of a service, from which `app` builds its ASGI application
- `database`, `routing`: one request, one transaction, committed before the answer
- `events`, `outbox`, `relay`, `inbox`, `bus`: facts that leave a service and arrive exactly once in effect
- `intents`: writes to a system outside our transaction
- `http`: calling such a system with deadlines, retries, breaker and a cap
- `tokens`, `revocation`, `service_tokens`: who is calling
- `errors`, `problems`: what went wrong, and how a client reads it
- `context`, `logs`, `telemetry`, `health`: what an operator sees
"""
