"""``ctx.transaction()``: user code's writes and the success of its attempt in one transaction.

Here: whose connection it is, when the success is written, and what the worker is told meanwhile. Not here: the move itself
(``operations/concluding``), and connections (``store``).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from mainspring.core.attempts import Succeeded
from mainspring.errors import InvalidOption
from mainspring.operations.concluding import conclude
from mainspring.runtime.worker import Assignment, Worker
from mainspring.store.database import Transaction
from mainspring.store.foreign import awaited, transaction_in
from mainspring.store.lending import TextTransaction, alent, as_text, lent

#: Encodes the result, once user code has said what it is.
Result = Callable[[], bytes]


class Concluding:
    """One attempt that may end in a transaction of its own making. ``outcome`` is set once that is certain."""

    def __init__(self, worker: Worker, assignment: Assignment) -> None:
        self._database: Any = worker.database
        self._worker = worker
        self._assignment = assignment
        self._is_used = False
        self.outcome: Succeeded | None = None

    @contextmanager
    def transaction(self, using: Any, result: Result) -> Iterator[Any]:
        """See ``Context.transaction``."""
        self._begin()
        try:
            if using is not None:
                transaction_in(self._database, using)  # refused now, and not after the work
                yield using
                self._conclude(as_text(transaction_in(self._database, using)), result())
                return
            encoded: list[bytes] = []
            with lent(self._database) as connection:
                yield connection
                encoded.append(result())
                self._conclude(as_text(transaction_in(self._database, connection)), encoded[0])
            self.outcome = Succeeded(encoded[0])
        except BaseException:
            self._undo()
            raise

    @asynccontextmanager
    async def atransaction(self, using: Any, result: Result) -> AsyncIterator[Any]:
        """See ``Context.atransaction``."""
        self._begin()
        try:
            if using is not None:
                await self._answering(using)
                yield using
                await self._aconclude(using, result())
                return
            encoded: list[bytes] = []
            async with alent(self._database) as connection:
                yield connection
                encoded.append(result())
                await self._aconclude(connection, encoded[0])
            self.outcome = Succeeded(encoded[0])
        except BaseException:
            self._undo()
            raise

    # -- the success ------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._is_used:
            raise InvalidOption("an attempt succeeds once; put everything into one ctx.transaction()", option="transaction")
        self._database.capabilities.require("transactional_enqueue", "write first, and return the result")
        self._is_used = True

    def _undo(self) -> None:
        """It was rolled back: the attempt goes on as any other."""
        self._is_used = False
        self._worker.concluding.discard(self._fence)

    @property
    def _fence(self) -> tuple[str, int]:
        return self._assignment.claimed.id, self._assignment.claimed.token

    def _conclude(self, tx: Transaction, result: bytes) -> None:
        """From here on the run may be found ended, and that is no lost lease."""
        self._worker.concluding.add(self._fence)
        claimed, policy = self._assignment.claimed, self._assignment.policy
        conclude(tx, claimed, result, policy, actor=f"worker:{self._worker.id}")

    async def _aconclude(self, using: Any, result: bytes) -> None:
        """The same on a connection that is awaited: in a thread, which asks for each answer in the loop."""
        answer, loop = await self._answering(using), asyncio.get_running_loop()
        tx = TextTransaction(
            lambda query: asyncio.run_coroutine_threadsafe(_answered(answer, query), loop).result(), self._database.capabilities
        )
        await asyncio.to_thread(self._conclude, tx, result)

    async def _answering(self, using: Any) -> Callable[[Any], Any]:
        answer = await awaited(self._database, using)
        if answer is None:
            raise InvalidOption("this connection is not awaited; write `with ctx.transaction(using=…):`", option="using")
        return answer


async def _answered(answer: Callable[[Any], Any], query: Any) -> Any:
    return await answer(query)
