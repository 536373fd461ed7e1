"""Coverage and siting candidates on a dask.distributed cluster of worker processes, some of which die."""

import os
import signal

import numpy as np
import pytest

from gis.cameras import prepare
from gis.coverage import compute
from gis.errors import BackendError, Cancelled
from grids.proposals import SiteTarget, choose
from grids.proposals_mounts import candidates
from grids.proposals_places import Places
from tests.unit.gis.test_coverage import register, town
from tests.unit.grids.test_proposals import OPTIONS, TYPES, block


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
    monkeypatch.setattr("gis.spreading.CONNECT_TIMEOUT_S", 1.0)
    with pytest.raises(BackendError, match="scheduler"):
        compute({"x": np.zeros(1), "y": np.zeros(1)}, scheduler="tcp://127.0.0.1:9")


def siting(seed: int, **options):
    """A choice among 450 candidates on 30 mounts, of places that 40 cameras see in part."""
    rng = np.random.default_rng(seed)
    surface = town(side=700.0, buildings=60)
    existing = prepare(register(n=40, side=700.0), densities_px_m=OPTIONS["densities_px_m"])
    possible = candidates(block(*rng.uniform(0, 700, (2, 30))), TYPES, orientations=14, **OPTIONS)
    xy = rng.uniform(0, 700, (4000, 2))
    kind = rng.integers(0, 2, len(xy))
    places = Places(xy[:, 0], xy[:, 1], rng.integers(1, 9, len(xy)).astype(float), kind, ("outfall", "road"), 10.0)
    return choose(existing, possible, surface, places, count=8, targets=[SiteTarget("outfall", 1, 40.0)], **options)


def same_choice(here, there) -> bool:
    arrays = [(here.coverage.indptr, there.coverage.indptr), (here.coverage.indices, there.coverage.indices), (here.columns, there.columns),
              (here.seen_before, there.seen_before), (here.seen_after, there.seen_after), (here.result.sites, there.result.sites),
              (here.result.added, there.result.added)]  # fmt: skip
    numbers = (here.result.value, here.result.upper_bound, here.met) == (there.result.value, there.result.upper_bound, there.met)
    return numbers and all(np.array_equal(one, other) for one, other in arrays)


def test_two_worker_processes_find_what_each_candidate_site_sees(cluster, monkeypatch):
    here = siting(1)
    assert here.coverage.nnz > 1000 and len(here.result.sites) == 8
    from dask.distributed import Client

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        done = client.run(lambda dask_worker: dask_worker.state.executed_count)
        monkeypatch.setattr("gis.coverage_sight.TILE", 100)  # more parts than the sides of this small town give
        there = siting(1, scheduler=cluster.scheduler_address)
        after = client.run(lambda dask_worker: dask_worker.state.executed_count)
    assert same_choice(here, there)
    assert not same_choice(here, siting(2))
    assert all(after[worker] > before for worker, before in done.items()), "both processes did part of the work"


def test_one_of_four_workers_killed_while_candidates_are_looked_at_changes_no_choice(monkeypatch):
    from dask.distributed import Client, LocalCluster

    here = siting(1)
    monkeypatch.setattr("gis.coverage_sight.TILE", 60)
    with LocalCluster(
        n_workers=4, threads_per_worker=1, processes=True, dashboard_address=":0", host="127.0.0.1", silence_logs=60
    ) as running:
        for nanny in running.workers.values():
            nanny.auto_restart = False
        killed: list[int] = []
        with Client(running.scheduler_address, set_as_default=False) as client:
            pids = client.run(os.getpid)

            def kill_one_at_work() -> bool:
                busy = [worker for worker, keys in client.processing().items() if keys]
                if busy and not killed:
                    killed.append(pids[busy[0]])
                    os.kill(killed[0], signal.SIGKILL)
                return False

            there = siting(1, scheduler=running.scheduler_address, cancel=kill_one_at_work)
            assert len(killed) == 1 and len(left := set(client.run(os.getpid).values())) == 3 and killed[0] not in left
    assert same_choice(here, there)


def test_looking_at_candidates_on_the_cluster_can_be_stopped(cluster):
    with pytest.raises(Cancelled):
        siting(1, scheduler=cluster.scheduler_address, cancel=lambda: True)
