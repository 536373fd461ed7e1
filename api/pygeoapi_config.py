"""The configuration of pygeoapi, made from the catalogue: nobody writes YAML."""

from typing import Any

from api.crs import layer_crs
from api.jobs.definitions import available
from api.settings import ServeSettings
from gis.settings import CityConfig
from layers.declaration import LayerDeclaration
from layers.models import layer_srid

__all__ = ["collection_config", "pygeoapi_config"]

_CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"


def _both(en: str, zh: str) -> dict[str, str]:
    return {"en": en, "zh": zh}


def collection_config(
    layer: LayerDeclaration, *, storage_srid: int, analysis_srid: int, conninfo: str, bounds: tuple[float, float, float, float]
) -> dict[str, Any]:
    """The entry of one layer under ``resources``, with our providers for features and tiles."""
    srid = layer_srid(layer, storage_srid)
    feature = {
        "type": "feature",
        "name": "api.provider.LayerProvider",
        "data": {"conninfo": conninfo, "storage_srid": storage_srid},
        "table": layer.name,
        "id_field": "id",
        "title_field": layer.label,
        "editable": layer.kind != "result",
        "crs": list(layer_crs(srid, analysis_srid)),
        "storage_crs": f"http://www.opengis.net/def/crs/EPSG/0/{srid}",
    }
    providers = [feature]
    if layer.has_geometry:
        tile = {
            "type": "tile",
            "name": "api.provider.LayerTileProvider",
            "data": feature["data"],
            "table": layer.name,
            "options": {"zoom": {"min": 0, "max": 22}},
            "format": {"name": "pbf", "mimetype": "application/vnd.mapbox-vector-tile"},
        }
        providers.append(tile)
    return {
        "type": "collection",
        "title": _both(layer.title_en, layer.title_zh),
        "description": _both(layer.description_en or layer.title_en, layer.description_zh or layer.title_zh),
        "keywords": {"en": [layer.theme, layer.kind], "zh": [layer.theme, layer.kind]},
        "links": [],
        "extents": {"spatial": {"bbox": list(bounds), "crs": _CRS84}},
        "providers": providers,
    }


def pygeoapi_config(
    layers: dict[str, LayerDeclaration], *, serve: ServeSettings, city: CityConfig, storage_srid: int, conninfo: str
) -> dict[str, Any]:
    """The whole configuration."""
    resources: dict[str, Any] = {
        name: collection_config(
            layer, storage_srid=storage_srid, analysis_srid=city.analysis_srid, conninfo=conninfo, bounds=city.bounds
        )
        for name, layer in layers.items()
    }
    for name in available():
        resources[name] = {"type": "process", "processor": {"name": "api.jobs.processor.JobProcessor", "process": name}}
    contact = {"name": "Baige", "url": serve.base_url}
    return {
        "server": {
            "bind": {"host": serve.host, "port": serve.port},
            "url": serve.base_url,
            "mimetype": "application/json; charset=UTF-8",
            "encoding": "utf-8",
            "gzip": False,
            "languages": ["en", "zh"],
            "limits": {"default_items": serve.limit_default, "max_items": serve.limit_max, "on_exceed": "throttle"},
            "manager": {"name": "api.jobs.processor.QueueManager"},
            "map": {"url": "", "attribution": ""},
        },
        "logging": {"level": "WARNING"},
        "metadata": {
            "identification": {
                "title": _both(f"Baige – {city.name_en}", f"百格 · {city.name_zh}"),
                "description": _both(
                    f"Places of {city.name_en}: what there is, and what nobody watches.", f"{city.name_zh}的空间数据：有什么，以及看不到什么。"
                ),
                "keywords": {"en": ["GIS", "OGC API", "PostGIS"], "zh": ["地理信息", "OGC API", "PostGIS"]},
                "keywords_type": "theme",
                "terms_of_service": serve.base_url,
                "url": serve.base_url,
            },
            "license": {"name": "Apache-2.0 (software)", "url": f"{serve.base_url}/static/license.txt"},
            "provider": contact,
            "contact": {"name": "Baige"},
        },
        "resources": resources,
    }
