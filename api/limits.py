"""How much the holder of a key may ask: so many requests a second on average, with bursts, and so many a day.

The counts stand in the database, one row for each key, so that they are those of all server processes together, on however many machines.
Where no limit is set nothing is counted.
"""

import time

from api.problems import TooMany
from api.reader import Reader

__all__ = ["Limits"]

#: A token bucket and a count of the day (UTC) in one statement; the row's lock lets requests of one key follow each other.
_TAKE = """
INSERT INTO baige_sys.key_use AS u (key_id, tokens, at, day, used, granted)
VALUES (%(key)s, %(burst)s::float8 - 1, clock_timestamp(), (clock_timestamp() AT TIME ZONE 'UTC')::date, 1, true)
ON CONFLICT (key_id) DO UPDATE SET (tokens, at, day, used, granted) = (
  SELECT f.tokens - f.granted::int, f.now, f.today, f.used + f.granted::int, f.granted
  FROM (
    SELECT n.*, (%(rate)s::float8 = 0 OR n.tokens >= 1) AND (%(day)s::bigint = 0 OR n.used < %(day)s::bigint) AS granted
    FROM (
      SELECT c.now, c.today, CASE WHEN u.day = c.today THEN u.used ELSE 0 END AS used,
        least(%(burst)s::float8, u.tokens + greatest(0, extract(epoch FROM c.now - u.at))::float8 * %(rate)s::float8) AS tokens
      FROM (SELECT clock_timestamp() AS now, (clock_timestamp() AT TIME ZONE 'UTC')::date AS today) AS c
    ) AS n
  ) AS f
)
RETURNING granted, tokens, used, extract(epoch FROM (day + 1)::timestamp AT TIME ZONE 'UTC' - clock_timestamp())::float8
"""
_FORGET = "DELETE FROM baige_sys.key_use WHERE at < now() - interval '2 days' RETURNING 1"
_FORGET_EACH_S = 3600.0


class Limits:
    """A token bucket and a daily count for each key.

    Parameters
    ----------
    reader : Reader
        Of the database that is written to.
    rate_per_s : float
        Requests a second; 0 for no limit.
    burst : int
        Requests that may come at once after a pause.
    per_day : int
        Requests from midnight to midnight (UTC); 0 for no limit.
    """

    def __init__(self, reader: Reader, *, rate_per_s: float, burst: int, per_day: int = 0) -> None:
        self._reader = reader
        self.rate, self.burst, self.per_day = rate_per_s, burst, per_day
        self._forgotten = -_FORGET_EACH_S

    async def take(self, key: str) -> None:
        """Count a request of a key.

        Raises
        ------
        TooMany
            It has used up what it may ask; says when it may again.
        """
        if not (self.rate or self.per_day):
            return
        if time.monotonic() - self._forgotten > _FORGET_EACH_S:
            self._forgotten = time.monotonic()
            await self._reader.plain(_FORGET)
        asked = {"key": key, "rate": self.rate, "burst": self.burst, "day": self.per_day}
        granted, tokens, used, day_left_s = (await self._reader.plain(_TAKE, asked))[0]
        if granted:
            return
        if self.per_day and used >= self.per_day:
            raise TooMany(wait_s=day_left_s, limit=self.per_day, window_s=86_400, day=True)
        raise TooMany(wait_s=(1.0 - tokens) / self.rate, limit=self.burst, window_s=self.burst / self.rate)
