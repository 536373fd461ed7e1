"""The layers that Baige comes with: one TOML declaration a file in this folder."""

from functools import lru_cache
from importlib import resources

from layers.declaration import LayerDeclaration, read_declaration

__all__ = ["built_in"]


@lru_cache(maxsize=1)
def built_in() -> dict[str, LayerDeclaration]:
    """The built-in declarations by name, in alphabetical order."""
    files = sorted((f for f in resources.files(__name__).iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    found = [read_declaration(f.read_text(encoding="utf-8"), name=f.name) for f in files]
    return {declaration.name: declaration for declaration in found}
