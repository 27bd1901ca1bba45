"""A house of fake services and an api in it, for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.api.house import Api, House, open_api


@pytest.fixture
async def house() -> AsyncIterator[House]:
    house = House()
    await house.open()
    yield house
    await house.close()


@pytest.fixture
async def api(house: House) -> AsyncIterator[Api]:
    async with open_api(house) as api:
        yield api
