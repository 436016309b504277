"""A client of ``clip-assets serve``, for programs: one that waits, and one for asyncio.

Needs httpx and numpy alone. What the fields mean is said by docs/service.md; the service itself is
the package ``service``.
"""

from clip_assets.client.clients import AsyncClient, Client
from clip_assets.client.found import QueryTerm, Result, Results, ServiceError, Terms

__all__ = ["AsyncClient", "Client", "QueryTerm", "Result", "Results", "ServiceError", "Terms"]
