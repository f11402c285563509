"""What the patients service does on others' events: it keeps the facts by which it decides who sees whom."""

from quill_shared.kernel.access import account_consumers, grant_consumers, membership_consumers
from quill_shared.platform.events import Consumers

consumers = Consumers.joined([account_consumers, grant_consumers, membership_consumers])
