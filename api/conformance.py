"""The requirements classes that this server meets; each is held by tests."""

__all__ = ["CONFORMANCE"]

_FEATURES_1 = "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf"
_FEATURES_3 = "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf"
_FEATURES_4 = "http://www.opengis.net/spec/ogcapi-features-4/1.0/conf"
_FEATURES_5 = "http://www.opengis.net/spec/ogcapi-features-5/1.0/conf"
_CQL2 = "http://www.opengis.net/spec/cql2/1.0/conf"
_MAPS = "https://www.opengis.net/spec/ogcapi-maps-1/1.0/conf"
_STYLES = "http://www.opengis.net/spec/ogcapi-styles-1/1.0/conf"
_TILES = "http://www.opengis.net/spec/ogcapi-tiles-1/1.0/conf"

#: By URI. The draft names of Part 3 and Part 5 stand beside the final ones because clients look for them.
CONFORMANCE = (
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/landing-page",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/json",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/html",
    "http://www.opengis.net/spec/ogcapi-common-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-common-2/1.0/conf/collections",
    "http://www.opengis.net/spec/ogcapi-common-3/1.0/conf/schemas",
    *(f"{_FEATURES_1}/{name}" for name in ("core", "oas30", "html", "geojson")),
    "http://www.opengis.net/spec/ogcapi-features-2/1.0/conf/crs",
    *(f"{_FEATURES_3}/{name}" for name in ("queryables", "queryables-query-parameters", "filter", "features-filter")),
    *(f"{_FEATURES_4}/{name}" for name in ("create-replace-delete", "update", "optimistic-locking-etags", "features")),
    *(f"{_FEATURES_5}/{name}" for name in (
        "schemas", "core-roles-features", "queryables", "sortables", "references", "advanced-property-roles")),
    *(f"{_CQL2}/{name}" for name in (
        "cql2-text", "cql2-json", "basic-cql2", "advanced-comparison-operators", "case-insensitive-comparison",
        "accent-insensitive-comparison", "basic-spatial-functions", "basic-spatial-functions-plus", "basic-spatial-operators",
        "spatial-functions", "temporal-functions", "array-functions", "property-property", "functions", "arithmetic")),
    "http://www.opengis.net/spec/ogcapi-features-8/1.0/conf/sorting",
    *(f"{_TILES}/{name}" for name in ("core", "tileset", "tilesets-list", "geodata-tilesets", "mvt", "tilejson")),
    "http://www.opengis.net/spec/tms/2.0/conf/tilematrixset",
    "http://www.opengis.net/spec/tms/2.0/conf/json-tilematrixset",
    "http://www.opengis.net/spec/json-fg-1/1.0/conf/core",
    *(f"{_MAPS}/{name}" for name in (
        "core", "background", "scaling", "display-resolution", "spatial-subsetting", "crs", "png")),
    *(f"{_STYLES}/{name}" for name in ("core", "collection-styles", "mapbox-styles", "sld-10")),
    "http://www.opengis.net/spec/ogcapi-records-1/1.0/conf/record-core",
)  # fmt: skip
