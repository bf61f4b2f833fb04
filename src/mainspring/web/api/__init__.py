"""The endpoints, a file a noun. ``ENDPOINTS`` is the table of all of them, in the order in which they are told of."""

from mainspring.web import health
from mainspring.web.api import (
    alerts,
    backfills,
    batches,
    blackouts,
    bulk_actions,
    calendars,
    dead_letters,
    events,
    limits,
    logins,
    namespaces,
    queues,
    runs,
    schedule_documents,
    schedule_history,
    schedules,
    status,
    tasks,
    workers,
)
from mainspring.web.endpoints import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *runs.ENDPOINTS,
    *events.ENDPOINTS,
    *bulk_actions.ENDPOINTS,
    *dead_letters.ENDPOINTS,
    *queues.ENDPOINTS,
    *limits.ENDPOINTS,
    *schedule_documents.ENDPOINTS,
    *schedules.ENDPOINTS,
    *schedule_history.ENDPOINTS,
    *backfills.ENDPOINTS,
    *calendars.ENDPOINTS,
    *blackouts.ENDPOINTS,
    *alerts.ENDPOINTS,
    *batches.ENDPOINTS,
    *tasks.ENDPOINTS,
    *workers.ENDPOINTS,
    *namespaces.ENDPOINTS,
    *logins.ENDPOINTS,
    *status.ENDPOINTS,
    *health.ENDPOINTS,
)
