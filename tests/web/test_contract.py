"""A sample of the campaign of ``contract.py``: every operation, right and wrong requests, nothing unexpected."""

from __future__ import annotations

import logging

import pytest

from mainspring.node import Node
from mainspring.web.api import ENDPOINTS
from mainspring.web.pages import documented
from tests.web.contract import campaign, furnish, listening


def test_no_request_that_the_document_can_mean_surprises(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="mainspring")
    known = furnish(url)
    with Node(url) as node, listening(node) as address:
        tally = campaign(address, known, cases=6)
    assert not tally.surprises
    assert len(tally.operations) == len(documented(ENDPOINTS))
    assert {200, 201, 202, 404, 422} <= set(tally.statuses)
