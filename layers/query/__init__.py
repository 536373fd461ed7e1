"""Questions to layers: filters, pages, counts and tiles, each as SQL with bound values. Nothing here talks to a database."""
