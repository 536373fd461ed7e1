"""Maps and reports: one style per layer, standalone folium pages, the web portal, QGIS projects and PDF."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maps.pages import build_page, coverage_map, page_map

__all__ = ["build_page", "coverage_map", "page_map"]


def __getattr__(name: str) -> Any:
    # folium takes half a second to import: only who draws waits for it.
    if name in __all__:
        from maps import pages

        return getattr(pages, name)
    raise AttributeError(f"module 'maps' has no attribute {name!r}")
