"""``baige worker``: do the jobs of the queue."""

import os

import click

from api.cli.context import AppContext, pass_app

__all__ = ["command"]


@click.command("worker")
@click.option("--concurrency", type=click.IntRange(1, 64), default=1, show_default=True, help="Jobs at the same time. 同时执行的任务数。")
@click.option("--dead-after", "dead_s", type=click.FloatRange(1, 3600), default=20.0, show_default=True,
              help="Seconds of silence after which another worker's job is done again. 判定其他执行器失效的秒数。")  # fmt: skip
@click.option("--parent", type=int, hidden=True)
@pass_app
def command(app: AppContext, concurrency: int, dead_s: float, parent: int | None) -> None:
    """Do the jobs that clients queue; as many workers as you like. 执行任务队列。"""
    import signal

    from api.jobs.worker import run_worker
    from api.lifetime import end_with_parent

    if parent is not None:
        end_with_parent(signal.SIGTERM, parent=parent)
    database = app.database(pool_size=1)
    # jobs are processes of their own, which find home and database by the environment
    os.environ["BAIGE_HOME"] = str(app.settings.home)
    app.say("Worker started; Ctrl-C ends it.", "任务执行器已启动，按 Ctrl-C 结束。")
    run_worker(database.conninfo, app.settings.home, concurrency=concurrency, dead_s=dead_s)
