"""Inner loops of maximal covering: lazy greedy, ruin and recreate, Lagrangian bound.

Arrays in, arrays out, no input checks. Names used throughout: ``n`` sites, ``m`` demands. The coverage matrix is held twice, by site (``site_ptr``,
``site_idx``: the demands a site covers) and by demand (``demand_ptr``, ``demand_idx``: the sites that cover it).
``need[i]`` is how many more times demand ``i`` is worth covering and ``unit[i]`` what each of those times is worth, so
that a set of sites is worth ``sum(unit * minimum(need, cover))``: a submodular function, for which greedy is within 1 -
1/e of the best (Nemhauser, Wolsey and Fisher 1978).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

type Array = npt.NDArray[Any]

__all__ = ["greedy", "lagrangian", "ruin_and_recreate", "same_cover", "signatures", "walk_order"]


@njit(cache=True, nogil=True)
def _add(
    site: int,
    site_ptr: Array,
    site_idx: Array,
    demand_ptr: Array,
    demand_idx: Array,
    unit: Array,
    need: Array,
    cover: Array,
    gain: Array,
) -> Any:
    """Open ``site`` and keep ``gain`` up to date (worth of opening each site; -inf when open); returns what it adds."""
    added = 0.0
    for a in range(site_ptr[site], site_ptr[site + 1]):
        i = site_idx[a]
        before = cover[i]
        cover[i] = before + 1
        if before < need[i]:
            added += unit[i]
            if before + 1 == need[i]:
                for b in range(demand_ptr[i], demand_ptr[i + 1]):
                    gain[demand_idx[b]] -= unit[i]
    gain[site] = -np.inf
    return added


@njit(cache=True, nogil=True)
def _remove(
    site: int,
    site_ptr: Array,
    site_idx: Array,
    demand_ptr: Array,
    demand_idx: Array,
    unit: Array,
    need: Array,
    cover: Array,
    gain: Array,
) -> Any:
    """Close ``site``; returns what is lost, which is also its gain from now on."""
    lost = 0.0
    for a in range(site_ptr[site], site_ptr[site + 1]):
        i = site_idx[a]
        before = cover[i]
        cover[i] = before - 1
        if before <= need[i]:
            lost += unit[i]
            if before == need[i]:
                for b in range(demand_ptr[i], demand_ptr[i + 1]):
                    gain[demand_idx[b]] += unit[i]
    gain[site] = lost
    return lost


@njit(cache=True, nogil=True)
def walk_order(site_ptr: Array, site_idx: Array, demand_ptr: Array, demand_idx: Array) -> Any:
    """Number sites and demands breadth first, so that what is near in the problem is near in memory.

    Returns
    -------
    tuple of ndarray
        Site of each place, demand of each place.
    """
    n = site_ptr.size - 1
    m = demand_ptr.size - 1
    sites = np.empty(n, np.int64)
    demands = np.empty(m, np.int64)
    site_seen = np.zeros(n, np.bool_)
    demand_seen = np.zeros(m, np.bool_)
    tail = 0
    at = 0
    number = 0
    for start in range(n):
        if site_seen[start]:
            continue
        site_seen[start] = True
        sites[tail] = start
        tail += 1
        while at < tail:
            j = sites[at]
            at += 1
            for a in range(site_ptr[j], site_ptr[j + 1]):
                i = site_idx[a]
                if demand_seen[i]:
                    continue
                demand_seen[i] = True
                demands[number] = i
                number += 1
                for b in range(demand_ptr[i], demand_ptr[i + 1]):
                    t = demand_idx[b]
                    if not site_seen[t]:
                        site_seen[t] = True
                        sites[tail] = t
                        tail += 1
    for i in range(m):
        if not demand_seen[i]:
            demands[number] = i
            number += 1
    return sites, demands


@njit(cache=True, nogil=True)
def signatures(demand_ptr: Array, demand_idx: Array, keys: Array) -> Any:
    """A 64-bit number for the sites that cover each demand: equal sets, equal numbers; others differ but for chance."""
    m = demand_ptr.size - 1
    sign = np.zeros(m, np.uint64)
    for i in range(m):
        for b in range(demand_ptr[i], demand_ptr[i + 1]):
            sign[i] += keys[demand_idx[b]]
    return sign


@njit(cache=True, nogil=True)
def same_cover(demand_ptr: Array, demand_idx: Array, group: Array, first: Array) -> Any:
    """Whether each demand is covered by exactly the sites that cover ``first[group]``; rows must be sorted."""
    for i in range(group.size):
        other = first[group[i]]
        degree = demand_ptr[i + 1] - demand_ptr[i]
        if demand_ptr[other + 1] - demand_ptr[other] != degree:
            return False
        for k in range(degree):
            if demand_idx[demand_ptr[i] + k] != demand_idx[demand_ptr[other] + k]:
                return False
    return True


@njit(cache=True, nogil=True)
def _sift_down(heap: Array, key: Array, size: int, at: int) -> Any:
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        other = child + 1
        if other < size and key[heap[other]] > key[heap[child]]:
            child = other
        if key[heap[child]] <= key[heap[at]]:
            return
        heap[at], heap[child] = heap[child], heap[at]
        at = child


@njit(cache=True, nogil=True)
def greedy(
    site_ptr: Array,
    site_idx: Array,
    unit: Array,
    need: Array,
    cost: Array,
    allowed: Array,
    cover: Array,
    count: int,
    budget: float,
    by_cost: bool,
) -> Any:
    """Lazy greedy (Minoux 1978): open the site of greatest gain, or gain per cost, until nothing more may be opened.

    ``cover`` is updated in place. Returns the sites opened, in order.
    """
    n = allowed.size
    key = np.full(n, -1.0)
    heap = np.empty(n, np.int64)
    size = 0
    for j in range(n):
        if allowed[j]:
            total = 0.0
            for a in range(site_ptr[j], site_ptr[j + 1]):
                i = site_idx[a]
                if cover[i] < need[i]:
                    total += unit[i]
            key[j] = total / cost[j] if by_cost else total
            heap[size] = j
            size += 1
    for at in range(size // 2 - 1, -1, -1):
        _sift_down(heap, key, size, at)
    opened = np.empty(n, np.int64)
    number = 0
    spent = 0.0
    while size > 0 and number < count:
        j = heap[0]
        if key[j] <= 0.0:
            break
        if spent + cost[j] > budget:
            size -= 1
            heap[0] = heap[size]
            _sift_down(heap, key, size, 0)
            continue
        total = 0.0
        for a in range(site_ptr[j], site_ptr[j + 1]):
            i = site_idx[a]
            if cover[i] < need[i]:
                total += unit[i]
        fresh = total / cost[j] if by_cost else total
        if fresh < key[j]:
            key[j] = fresh
            _sift_down(heap, key, size, 0)
            continue
        for a in range(site_ptr[j], site_ptr[j + 1]):
            cover[site_idx[a]] += 1
        opened[number] = j
        number += 1
        spent += cost[j]
        size -= 1
        heap[0] = heap[size]
        _sift_down(heap, key, size, 0)
    return opened[:number].copy()


@njit(cache=True, nogil=True)
def _next(state: Array) -> Any:
    """SplitMix64: one random 64-bit number from ``state`` (a one-element array), the same on every machine."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def _below(state: Array, n: int) -> Any:
    return np.int64((_next(state) >> np.uint64(11)) % np.uint64(n))


@njit(cache=True, nogil=True)
def _uniform(state: Array) -> Any:
    return np.float64(_next(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def _best_site(gain: Array, cost: Array, left: float, by_cost: bool) -> Any:
    """The closed site of greatest gain (per cost) that fits into ``left``; -1 if none gains anything."""
    best = -1
    best_key = 0.0
    if not by_cost:
        for j in range(gain.size):
            if gain[j] > best_key:
                best_key = gain[j]
                best = j
        return best
    for j in range(gain.size):
        if gain[j] > best_key * cost[j] and cost[j] <= left:
            best_key = gain[j] / cost[j]
            best = j
    return best


@njit(cache=True, nogil=True)
def ruin_and_recreate(
    site_ptr: Array,
    site_idx: Array,
    demand_ptr: Array,
    demand_idx: Array,
    unit: Array,
    need: Array,
    cost: Array,
    cover: Array,
    gain: Array,
    open_sites: Array,
    where: Array,
    n_open: int,
    n_open_best: int,
    best_sites: Array,
    count: int,
    left: float,
    by_cost: bool,
    value: float,
    best_value: float,
    state: Array,
    hot: float,
    cold: float,
    done: int,
    total: int,
    rounds: int,
    ruin_max: int,
    blink: float,
) -> Any:
    """Close a few neighbouring sites, open the best ones instead, keep what is better (or, while hot, a little worse).

    Neighbours are found by a random walk site → demand → site, so that the sites closed compete for the same demands.
    Everything but the numbers is updated in place; ``where[j]`` is the place of site ``j`` in ``open_sites`` (-1
    closed, -2 never to be closed or opened).

    Returns
    -------
    tuple
        ``(n_open, n_open_best, left, value, best_value)``.
    """
    closed = np.empty(ruin_max, np.int64)
    opened = np.empty(open_sites.size + ruin_max + 1, np.int64)
    for step in range(rounds):
        if n_open == 0:
            break
        warmth = hot * (cold / hot) ** (min(1.0, (done + step) / total))
        wanted = 1 + _below(state, ruin_max)
        n_closed = 0
        seed = open_sites[_below(state, n_open)]
        start = seed
        lost = 0.0
        before_left = left
        tries = 0
        while n_closed < wanted and tries < 60 * wanted:
            tries += 1
            if where[start] >= 0:
                lost += _remove(start, site_ptr, site_idx, demand_ptr, demand_idx, unit, need, cover, gain)
                last = open_sites[n_open - 1]
                open_sites[where[start]] = last
                where[last] = where[start]
                where[start] = -1
                n_open -= 1
                left += cost[start]
                closed[n_closed] = start
                n_closed += 1
                if n_open == 0:
                    break
            degree = site_ptr[start + 1] - site_ptr[start]
            if degree == 0:
                start = open_sites[_below(state, n_open)]
                continue
            i = site_idx[site_ptr[start] + _below(state, degree)]
            start = demand_idx[demand_ptr[i] + _below(state, demand_ptr[i + 1] - demand_ptr[i])]
        won = 0.0
        n_opened = 0
        while n_open < count:
            j = _best_site(gain, cost, left, by_cost)
            if j < 0:
                break
            if _uniform(state) < blink:  # a blink: pass the best by this once (Christiaens and Vanden Berghe 2020)
                passed = gain[j]
                gain[j] = -np.inf
                second = _best_site(gain, cost, left, by_cost)
                gain[j] = passed
                if second >= 0:
                    j = second
            won += _add(j, site_ptr, site_idx, demand_ptr, demand_idx, unit, need, cover, gain)
            open_sites[n_open] = j
            where[j] = n_open
            n_open += 1
            left -= cost[j]
            opened[n_opened] = j
            n_opened += 1
        change = won - lost
        if change >= 0.0 or change > warmth * np.log(_uniform(state) + 1e-300):
            value += change
            if value > best_value * (1.0 + 1e-12) + 1e-12:
                best_value = value
                n_open_best = n_open
                best_sites[:n_open] = open_sites[:n_open]
            continue
        for a in range(n_opened - 1, -1, -1):
            j = opened[a]
            _remove(j, site_ptr, site_idx, demand_ptr, demand_idx, unit, need, cover, gain)
            last = open_sites[n_open - 1]
            open_sites[where[j]] = last
            where[last] = where[j]
            where[j] = -1
            n_open -= 1
        for a in range(n_closed - 1, -1, -1):
            j = closed[a]
            _add(j, site_ptr, site_idx, demand_ptr, demand_idx, unit, need, cover, gain)
            open_sites[n_open] = j
            where[j] = n_open
            n_open += 1
        left = before_left
    return n_open, n_open_best, left, value, best_value


@njit(cache=True, nogil=True)
def _relaxed_choice(profit: Array, cost: Array, count: int, budget: float, by_cost: bool, take: Array) -> Any:
    """Best fractional choice of sites for the given profits: ``take`` (0…1 a site) and its worth."""
    take[:] = 0.0
    worth = 0.0
    if by_cost:
        left = budget
        for j in np.argsort(-profit / cost):
            if profit[j] <= 0.0 or left <= 0.0:
                break
            share = min(1.0, left / cost[j])
            take[j] = share
            worth += share * profit[j]
            left -= share * cost[j]
        return worth
    if count <= 0:
        return worth
    threshold = -1.0
    if count < profit.size:
        threshold = np.partition(profit, profit.size - count)[profit.size - count]
    number = 0
    for j in range(profit.size):
        if profit[j] > threshold and profit[j] > 0.0:
            take[j] = 1.0
            worth += profit[j]
            number += 1
    for j in range(profit.size):
        if number >= count:
            break
        if profit[j] == threshold and profit[j] > 0.0:
            take[j] = 1.0
            worth += profit[j]
            number += 1
    return worth


@njit(cache=True, nogil=True)
def lagrangian(
    site_ptr: Array,
    site_idx: Array,
    unit: Array,
    need: Array,
    is_target: Array,
    cost: Array,
    count: int,
    budget: float,
    by_cost: bool,
    lower: float,
    price: Array,
    best_price: Array,
    best_bound: float,
    direction: Array,
    theta: float,
    stale: int,
    rounds: int,
) -> Any:
    """Subgradient steps on the prices of demands.

    Every price vector gives an upper bound of the worth of any choice of sites. The coupling "a demand counts only as
    often as open sites cover it" is relaxed with prices ``0 <= price <= unit``; what remains is a choice of sites by
    their summed prices (Galvão and ReVelle 1996). For a target (``is_target``: must be covered ``need`` times) the
    price is any number ≥ 0. ``lower`` is the worth of a known solution (for Polyak's step). ``price``, ``best_price``
    and ``direction`` are updated in place.

    Returns
    -------
    tuple
        ``(best_bound, theta, stale)``.
    """
    m = unit.size
    n = cost.size
    profit = np.zeros(n)
    take = np.zeros(n)
    cover = np.zeros(m)
    for _ in range(rounds):
        for j in range(n):
            total = 0.0
            for a in range(site_ptr[j], site_ptr[j + 1]):
                total += price[site_idx[a]]
            profit[j] = total
        bound = _relaxed_choice(profit, cost, count, budget, by_cost, take)
        for i in range(m):
            if is_target[i]:
                bound -= price[i] * need[i]
            else:
                bound += (unit[i] - price[i]) * need[i]
        if bound < best_bound - 1e-9 * abs(best_bound):
            if bound < best_bound - 1e-4 * (best_bound - lower):
                stale = 0
            best_bound = bound
            best_price[:] = price
        else:
            stale += 1
        if stale > 15:
            theta *= 0.7
            stale = 0
        if best_bound - lower <= 1e-9 * max(1.0, abs(lower)) or theta < 1e-4:
            break
        cover[:] = 0.0
        for j in range(n):
            if take[j] > 0.0:
                for a in range(site_ptr[j], site_ptr[j + 1]):
                    cover[site_idx[a]] += take[j]
        norm = 0.0
        for i in range(m):
            slope = cover[i] - need[i]
            if (slope > 0.0 and price[i] <= 0.0) or (slope < 0.0 and price[i] >= unit[i] and not is_target[i]):
                slope = 0.0
            direction[i] = 0.65 * direction[i] + 0.35 * slope
            norm += direction[i] * direction[i]
        if norm <= 0.0:
            break
        step = theta * (bound - lower) / norm
        for i in range(m):
            moved = price[i] - step * direction[i]
            if moved < 0.0:
                moved = 0.0
            if moved > unit[i] and not is_target[i]:
                moved = unit[i]
            price[i] = moved
    return best_bound, theta, stale
