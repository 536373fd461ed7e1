"""Work in parts that do not hang on each other, on a dask.distributed cluster of processes, maybe of other machines."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

from gis.errors import BackendError

__all__ = ["spread"]

CONNECT_TIMEOUT_S = 10.0


def spread[S, P, R](
    work: Callable[[S, P], R],
    shared: S,
    parts: Sequence[P],
    *,
    scheduler: str,
    check: Callable[[], None] | None = None,
) -> Generator[tuple[P, R]]:
    """Do ``work(shared, part)`` for each part on a cluster; give part and result in the order in which they are done.

    Parts of a worker that dies are done again by another: ``work`` must give the same however often it is called.

    Parameters
    ----------
    work : callable
        A function of a module that the workers have, too.
    shared : object
        Sent once to every worker.
    scheduler : str
        ``tcp://host:port``.
    check : callable, optional
        Called before each result is given; raises where the run is to end, and what was not begun is not begun any more.

    Raises
    ------
    BackendError
        dask.distributed is not installed, the scheduler cannot be reached, or no worker is left.
    """
    try:
        from dask import distributed
    except ImportError as error:  # the extra `cluster` is not installed
        raise BackendError(
            "A scheduler is set but dask.distributed is not installed.", zh="已设置调度器，但未安装 dask.distributed。"
        ) from error
    if check is not None:
        check()
    try:
        cluster: Any = distributed  # it comes without types
        client = cluster.Client(scheduler, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise BackendError("The scheduler cannot be reached.", zh="无法连接调度器。") from error
    with client:
        sent: Any = client.scatter(shared, broadcast=True, hash=False)
        futures = {client.submit(work, sent, part, pure=False): part for part in parts}
        try:
            for future in cluster.as_completed(list(futures), loop=client.loop):
                if check is not None:
                    check()
                try:
                    result = future.result()
                except (distributed.scheduler.KilledWorker, distributed.client.FutureCancelledError) as error:
                    raise BackendError("The workers of the cluster have died.", zh="集群的工作进程已全部退出。") from error
                yield futures.pop(future), result
        finally:
            if futures:
                client.cancel(list(futures))
