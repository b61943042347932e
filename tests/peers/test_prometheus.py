"""The Prometheus peer itself."""

from __future__ import annotations

import httpx2

from tests.peers.prometheus import Prometheus


def test_it_wants_its_password(prometheus: Prometheus) -> None:
    assert httpx2.get(f"{prometheus.url}/api/v1/query?query=up", trust_env=False).status_code == 401


def test_a_snapshot_can_be_counted(prometheus: Prometheus) -> None:
    before = prometheus.snapshots()
    with prometheus.client() as client:
        answer = client.post("/api/v1/admin/tsdb/snapshot")

    assert answer.status_code == 200
    assert [path.name for path in prometheus.snapshots() if path not in before] == [answer.json()["data"]["name"]]
