"""What the tests of the store share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.redis_cluster import Cluster, redis_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Start a cluster; a relay is expected before each node."""
    with redis_cluster(relayed=True) as running:
        yield running
