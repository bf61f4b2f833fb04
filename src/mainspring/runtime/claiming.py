"""How a worker gets its runs: what it asks for a claim. Not here: the claim itself (``operations/claims.py``), and its worker."""

from collections.abc import Callable
from typing import Protocol

from mainspring.operations import claims
from mainspring.operations.claims import Claimer
from mainspring.store.database import Transaction


class Claiming(Protocol):
    """How a worker gets its runs: ``claims.claim``, or what a worker of one does instead."""

    def __call__(
        self, tx: Transaction, who: Claimer, walk: claims.Walk, *, most: int, meanwhile: Callable[[], None]
    ) -> claims.Claim:
        """Lease up to ``most`` runs; what it learns of lanes goes into the walk."""


class Company(Claiming, Protocol):
    """A claim that also gets runs that need no place, since they join others."""

    @property
    def surplus(self) -> int:
        """How many of the runs that a worker holds take no place."""

    @property
    def is_wanted(self) -> bool:
        """Whether it has something to get although there may be no place."""
