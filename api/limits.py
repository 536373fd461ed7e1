"""How much the holder of a key may ask: so many requests a second on average, with bursts."""

import time

from api.problems import TooMany

__all__ = ["Limits"]

_KNOWN_MOST = 10_000


class Limits:
    """A token bucket for each key, in each worker: a key's share of a worker is the rate divided by the number of workers.

    Parameters
    ----------
    rate_per_s : float
        Requests a second over all workers; 0 for no limit.
    burst : int
        Requests that may come at once after a pause, over all workers.
    """

    def __init__(self, *, rate_per_s: float, burst: int, workers: int) -> None:
        self.rate = rate_per_s / workers
        self.most = max(1.0, burst / workers)
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str, *, now: float | None = None) -> None:
        """Count a request of a key.

        Raises
        ------
        TooMany
            It has used up what it may ask; says when it may again.
        """
        if not self.rate:
            return
        now = time.monotonic() if now is None else now
        left, then = self._buckets.get(key, (self.most, now))
        left = min(self.most, left + (now - then) * self.rate)
        if left < 1.0:
            self._buckets[key] = (left, now)
            raise TooMany(wait_s=(1.0 - left) / self.rate, limit=int(self.most), per_s=self.rate)
        if len(self._buckets) > _KNOWN_MOST:
            self._buckets.clear()
        self._buckets[key] = (left - 1.0, now)
