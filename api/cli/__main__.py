"""``python -m api.cli`` is ``baige``."""

from api.cli import main

main()
