"""Suites that hold a back end of your own to what Mainspring expects of one, and the unkind wrappers they use.

Here: plain classes of test methods. Subclass one, say how to make your back end, and have pytest, unittest or anything else that
collects ``test_…`` methods run it. Not here: our own back ends' servers (``tests/transports``).
"""

from mainspring.testing.conformance.faulty import FaultyTransport
from mainspring.testing.conformance.storage import StorageSuite
from mainspring.testing.conformance.transport import TransportSuite

__all__ = ["FaultyTransport", "StorageSuite", "TransportSuite"]
