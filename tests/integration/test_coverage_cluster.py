"""Coverage on a dask.distributed cluster of two worker processes."""

import numpy as np
import pytest

from gis.cameras import prepare
from gis.coverage import compute
from gis.errors import BackendError, Cancelled
from tests.unit.gis.test_coverage import register, town


@pytest.fixture(scope="module")
def cluster():
    from dask.distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1", silence_logs=40
    ) as running:
        yield running


def test_two_worker_processes_give_the_same_bytes(cluster):
    surface, table = town(side=700.0, buildings=60), prepare(register(n=40, side=700.0))
    here = compute(table, surface, workers=1)
    steps = []
    there = compute(
        table,
        surface,
        scheduler=cluster.scheduler_address,
        tile_size=256,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert there.same_as(here)
    assert there.fingerprint == here.fingerprint
    assert steps[-1][0] == steps[-1][1] > 4
    from dask.distributed import Client

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        done = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert len(done) == 2
    assert all(count > 0 for count in done.values()), "both processes did part of the work"


def test_a_run_on_the_cluster_can_be_stopped(cluster):
    asked = []
    with pytest.raises(Cancelled):
        compute(
            prepare(register(n=20, side=700.0)),
            town(side=700.0),
            scheduler=cluster.scheduler_address,
            tile_size=256,
            cancel=lambda: asked.append(1) or len(asked) > 2,
        )


def test_a_scheduler_that_is_not_there_is_a_clear_error(monkeypatch):
    monkeypatch.setattr("gis.coverage_run.CONNECT_TIMEOUT_S", 1.0)
    with pytest.raises(BackendError, match="scheduler"):
        compute({"x": np.zeros(1), "y": np.zeros(1)}, scheduler="tcp://127.0.0.1:9")
