"""What coverage at a place means: from counts of cameras to a state that is never better than what is known."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gis.coverage import PRODUCTS, CoverageResult
from gis.coverage_sampling import at_points

__all__ = ["CONFIRMED", "NONE", "OFFLINE", "POSSIBLE", "Watch", "watch_points"]

CONFIRMED, POSSIBLE, OFFLINE, NONE = "confirmed", "possible", "offline", "none"

_CONFIRMED_ONLINE = PRODUCTS.index("confirmed_online")
_POSSIBLE_ONLINE = PRODUCTS.index("possible_online")
_CONFIRMED_INSTALLED = PRODUCTS.index("confirmed_installed")
_POSSIBLE_INSTALLED = PRODUCTS.index("possible_installed")


@dataclass(frozen=True)
class Watch:
    """How n places are watched at the coarsest density.

    Attributes
    ----------
    state : array of str (n,)
        ``confirmed``: an online camera with a known view sees it. ``possible``: an online camera, or one of unknown state, would see it
        in some direction. ``offline``: only cameras that are off would. ``none``: nobody.
    confirmed, possible, installed : int arrays (n,)
        Number of online cameras that surely see it, that may see it, and of all cameras that may.
    density_px_m : float array (n,)
        Best density of a confirmed online camera; where there is none, of a possible one; NaN when unseen.
    """

    state: npt.NDArray[np.str_]
    confirmed: npt.NDArray[np.int64]
    possible: npt.NDArray[np.int64]
    installed: npt.NDArray[np.int64]
    density_px_m: npt.NDArray[np.float64]


def watch_points(result: CoverageResult, x: npt.ArrayLike, y: npt.ArrayLike) -> Watch:
    """How points (metres, analysis system) are watched."""
    return watch_of_counts(result, at_points(result, x, y).counts)


def watch_of_counts(result: CoverageResult, counts: npt.NDArray[np.uint16]) -> Watch:
    """The same from counts (n, products, densities)."""
    confirmed = counts[:, _CONFIRMED_ONLINE, 0].astype(np.int64)
    possible = counts[:, _POSSIBLE_ONLINE, 0].astype(np.int64)
    installed = np.maximum(counts[:, _POSSIBLE_INSTALLED, 0], counts[:, _CONFIRMED_INSTALLED, 0]).astype(np.int64)
    state = np.select([confirmed > 0, possible > 0, installed > 0], [CONFIRMED, POSSIBLE, OFFLINE], NONE)
    levels = np.array([np.nan, *result.densities_px_m])
    sure = (counts[:, _CONFIRMED_ONLINE] > 0).sum(axis=1)
    maybe = (counts[:, _POSSIBLE_ONLINE] > 0).sum(axis=1)
    return Watch(
        np.asarray(state, dtype=np.str_), confirmed, possible, installed, levels[np.where(sure > 0, sure, maybe)]
    )
