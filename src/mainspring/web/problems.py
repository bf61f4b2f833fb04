"""Errors as answers: problem details (RFC 9457) with our code, every wrong field, and the id of the request.

``STATUSES`` says which status each error of the tree has; a test holds it complete. Not here: when anything is refused.
"""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from mainspring import errors
from mainspring.errors import MainspringError

MEDIA_TYPE = "application/problem+json"

#: The status of each error, by its class or the nearest one above it.
STATUSES: Mapping[type[MainspringError], int] = {
    errors.NotAuthenticated: 401,
    errors.NotAllowed: 403,
    errors.UnknownTask: 404,
    errors.UnknownQueue: 404,
    errors.UnknownRun: 404,
    errors.UnknownReceipt: 404,
    errors.UnknownWorker: 404,
    errors.UnknownLimit: 404,
    errors.UnknownSchedule: 404,
    errors.UnknownCalendar: 404,
    errors.UnknownBlackout: 404,
    errors.UnknownToken: 404,
    errors.UnknownUser: 404,
    errors.UserExists: 409,
    errors.ScheduleConflict: 409,
    errors.NameTaken: 409,
    errors.CalendarInUse: 409,
    errors.BlackedOut: 409,
    errors.TargetRefused: 403,
    errors.AuditBroken: 409,
    errors.QueuePaused: 409,
    errors.KeyConflict: 409,
    errors.KeyActive: 409,
    errors.RunTerminal: 409,
    errors.NotTerminal: 409,
    errors.NotWaiting: 409,
    errors.DeadLetterClosed: 409,
    errors.LeaseLost: 409,
    errors.ForeignSqlite: 409,
    errors.ValueUnreadable: 409,
    errors.ChangedMeanwhile: 412,
    errors.PayloadTooLarge: 413,
    errors.CallerMistake: 422,
    errors.NoCapacity: 429,
    errors.QueueFull: 429,
    errors.LoginThrottled: 429,
    errors.RunUnsuccessful: 409,
    errors.ConfigurationInvalid: 503,
    errors.SchemaNewer: 503,
    errors.SchemaOlder: 503,
    errors.StorageUnwritable: 503,
    errors.WorldTrouble: 503,
    errors.ResultTimeout: 504,
    errors.BrokenInvariant: 500,
}


class FieldError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field that is wrong: where it is (``payload.to``, a query parameter, a header), what to write, and of documents what is
    there."""

    field: str
    message: str
    value: str | None = None


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was refused. Branch on ``code``; ``detail`` is for people."""

    title: str
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    code: str
    detail: str
    request_id: str
    type: str = "about:blank"
    errors: list[FieldError] = []
    retryable: bool = False


class Refused(Exception):  # noqa: N818  (named as the answer that it becomes)
    """A request that never became a call: its form is wrong. ``status`` and ``code`` say how."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        fields: list[FieldError] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.fields = fields or []
        self.headers = dict(headers or {})


def invalid(fields: list[FieldError]) -> Refused:
    """A request some of whose fields are wrong: all of them at once."""
    told = "; ".join(f"{each.field}: {each.message}" for each in fields[:3])
    more = f"; and {len(fields) - 3} more" if len(fields) > 3 else ""
    return Refused(422, "invalid_request", told + more, fields)


def status_of(error: MainspringError) -> int:
    """The status of an error."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def refusal_of(error: MainspringError) -> Refused:
    """An error of ours as a refusal."""
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.QueueFull | errors.LoginThrottled):
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    elif error.retryable:
        headers["Retry-After"] = "1"
    return Refused(status, error.code, error.message, _fields(error), headers=headers)


def problem(refused: Refused, request_id: str) -> Problem:
    """What is answered to a refused request."""
    return Problem(
        title=_title(refused.status),
        status=refused.status,
        code=refused.code,
        detail=refused.detail,
        request_id=request_id,
        errors=refused.fields,
        retryable=refused.status in {429, 503},
    )


def _title(status: int) -> str:
    return http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "Error"


def _fields(error: MainspringError) -> list[FieldError]:
    if isinstance(error, errors.PayloadInvalid):
        return [FieldError(field=_in_payload(each["field"]), message=each["message"]) for each in error.errors]
    if isinstance(error, errors.ScheduleInvalid | errors.RuleInvalid | errors.TargetInvalid):
        return [FieldError(field=each["path"], message=each["message"], value=each["value"]) for each in error.errors]
    if isinstance(error, errors.InvalidOption) and (option := _text(error.details.get("option"))):
        return [FieldError(field=option, message=error.message)]
    return []


def _in_payload(field: str) -> str:
    return "payload" if field == "$" else f"payload.{field}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
