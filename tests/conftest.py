"""Fixtures that all tests share."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """LangGraph and vLLM are asyncio only."""
    return "asyncio"
