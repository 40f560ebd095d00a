"""What the engine counts and measures."""

from typing import Final

from basalt.observe import Counter, Gauge, Histogram

QUEUED: Final = Counter(
    "basalt_notify_queued_total", "Rows that events were expanded into.", ("channel", "status")
)
EXPANDED: Final = Counter(
    "basalt_notify_expanded_total", "Events that were expanded, by how it ended.", ("status",)
)
DELIVERIES: Final = Counter(
    "basalt_notify_deliveries_total", "Attempts to deliver, by how they ended.", ("provider", "status")
)
DELIVERY_SECONDS: Final = Histogram(
    "basalt_notify_delivery_seconds", "Time from handing a batch to a provider to its answer.", ("provider",)
)
LAG_SECONDS: Final = Histogram(
    "basalt_notify_lag_seconds",
    "Age at which due messages were claimed, the oldest of each claim.",
    ("provider",),
)
IN_HAND: Final = Gauge("basalt_notify_in_hand", "Messages that this worker has claimed.", ("provider",))
OLDEST_DUE_SECONDS: Final = Gauge(
    "basalt_notify_oldest_due_seconds", "Age of the message that has been due for longest.", ("provider",)
)
REPORTS: Final = Counter(
    "basalt_notify_reports_total",
    "What providers told of messages later, by webhook or receipt, and what became of it.",
    ("provider", "outcome"),
)
