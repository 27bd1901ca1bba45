"""``GET /api/v1/jobs``: background jobs, for operators."""

from __future__ import annotations

from libs.shared.contracts.jobs import LIST_JOBS, Jobs, JobState, ListJobs
from services.api.access import Access
from services.api.pages import PageOf
from services.api.routing import Endpoint, PartsOf


async def list_jobs(parts: PartsOf, page: PageOf, state: JobState | None = None) -> Jobs:
    """Newest first."""
    return await parts.bus.request(LIST_JOBS, ListJobs(limit=page.limit, cursor=page.cursor, state=state))


ENDPOINTS = (
    Endpoint(method="GET", path="/api/v1/jobs", handler=list_jobs, access=Access.OPERATOR, options={"tags": ["jobs"]}),
)
