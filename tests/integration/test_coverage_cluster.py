"""Coverage on a dask.distributed cluster of worker processes, some of which die."""

import os
import signal

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


def kill_when_half_done(address: str, *, victims: int):
    """Progress of a run that kills workers with SIGKILL while they compute a tile; and the pids of those that were killed."""
    from dask.distributed import Client

    killed: list[int] = []
    client = Client(address, set_as_default=False)
    pids = client.run(os.getpid)

    def progress(done: int, total: int) -> None:
        if done >= total // 3 and not killed:
            busy = [worker for worker, keys in client.processing().items() if keys]
            assert len(busy) >= victims and done < total
            for worker in busy[:victims]:
                os.kill(pids[worker], signal.SIGKILL)
                killed.append(pids[worker])

    return progress, killed, client


def test_two_of_four_workers_killed_in_the_middle_change_nothing_and_without_any_it_is_said():
    from dask.distributed import LocalCluster

    surface, table = town(side=700.0, buildings=60), prepare(register(n=40, side=700.0))
    here = compute(table, surface, workers=1)
    with LocalCluster(
        n_workers=4, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1", silence_logs=60
    ) as running:
        for nanny in running.workers.values():
            nanny.auto_restart = False  # nobody comes in their place
        progress, killed, client = kill_when_half_done(running.scheduler_address, victims=2)
        with client:
            there = compute(table, surface, scheduler=running.scheduler_address, tile_size=128, progress=progress)
            assert len(killed) == 2
            assert len(left := set(client.run(os.getpid).values())) == 2 and not set(killed) & left
        progress, killed, client = kill_when_half_done(running.scheduler_address, victims=2)
        with client, pytest.raises(BackendError, match="workers"):
            compute(table, surface, scheduler=running.scheduler_address, tile_size=128, progress=progress)
        assert len(killed) == 2
    assert there.same_as(here)
    assert there.fingerprint == here.fingerprint


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
