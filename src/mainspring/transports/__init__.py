"""Who carries hints and deliveries between processes: one small protocol, and who speaks it.

Here: the in-process bus, the database itself, Redis Streams, NATS; and what is sent over them. Not here: what is true of a run. A
message holds names and an instant, never a payload and never a state: a late, doubled, reordered or lost one changes latency only,
and behind each of them stands a poll.
"""

from mainspring.transports.choosing import EXAMPLES, is_silent, listen, native, open_transport
from mainspring.transports.local import LocalTransport
from mainspring.transports.message import Message
from mainspring.transports.outgoing import Notifier, published
from mainspring.transports.transport import Answer, OnHint, Subscription, Transport

__all__ = [
    "EXAMPLES",
    "Answer",
    "LocalTransport",
    "Message",
    "Notifier",
    "OnHint",
    "Subscription",
    "Transport",
    "is_silent",
    "listen",
    "native",
    "open_transport",
    "published",
]
