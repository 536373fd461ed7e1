"""Jobs: processes that take long, queued in PostgreSQL (procrastinate) and done by separate workers."""
