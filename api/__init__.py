"""The ways in: OGC API server and command line."""
