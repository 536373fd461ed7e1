"""The engine: pure functions on geometries, arrays and rasters. No database, no HTTP."""
