"""What the auth service does on others' events: it keeps the access facts that lists and `me` are made of."""

from quill_shared.kernel.access import feature_consumers, membership_consumers, organisation_consumers
from quill_shared.platform.events import Consumers

consumers = Consumers.joined([organisation_consumers, membership_consumers, feature_consumers])
