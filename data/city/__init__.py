"""The reference city: a seeded, synthetic Yichang on real county outlines.

``generate("small", seed=1)`` returns a `ReferenceCity`: all registers as GeoDataFrames, the terrain, and the key of what was made wrong
on purpose. Everything in it is synthetic and says so.
"""

from data.city.build import ReferenceCity, generate

__all__ = ["ReferenceCity", "generate"]
