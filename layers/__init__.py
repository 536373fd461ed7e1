"""What is stored: layers, their database, loading, history, queries, access."""
