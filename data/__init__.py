"""The reference city, and adapters for sources of data."""
