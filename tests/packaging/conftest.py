"""The distributions are built once, and installed once with and once without extras."""

from __future__ import annotations

import pytest

from tests.packaging.building import Built, Installed, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def plain(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """As `pip install headrace` does: no Prefect, no Great Expectations, no pandas."""
    return Installed(built.wheel, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def with_flows(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """As `pip install 'headrace[flows]'` does, from the archive of the sources."""
    return Installed(built.wheel_of_sdist, tmp_path_factory.mktemp("flows"), extras=("flows",))
