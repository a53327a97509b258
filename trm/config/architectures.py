"""Which architectures exist and which options each one has, read without importing torch.

An architecture NAME is the class in `trm/model/NAME.py` that lists its `options`. Its settings are
in `config/arch/NAME.yaml`.
"""

from __future__ import annotations

import ast
import pkgutil
from functools import cache
from importlib.util import find_spec

MODELS = "trm.model"


def architecture_names() -> list[str]:
    """The architectures, in alphabetical order."""
    folders = find_spec(MODELS).submodule_search_locations
    modules = sorted(module.name for module in pkgutil.iter_modules(folders))
    return [name for name in modules if options_of(name) is not None]


@cache
def options_of(name: str) -> tuple[str, ...] | None:
    """Options of the settings that not every architecture has, as the class NAME lists them.

    The class is read and not imported: an import would load torch, and a table of experiments is
    checked without it. None where NAME is not an architecture.
    """
    spec = find_spec(f"{MODELS}.{name}") if name.isidentifier() else None
    if spec is None:
        return None
    for statement in ast.parse(spec.loader.get_source(spec.name)).body:
        for line in getattr(statement, "body", ()):
            match line:
                case (
                    ast.Assign(targets=[ast.Name(id="options")], value=value)
                    | ast.AnnAssign(target=ast.Name(id="options"), value=ast.expr() as value)
                ):
                    return ast.literal_eval(value)
    return None


def having(option: str) -> str:
    """The architectures that have an option, for a message: `arch=trm and arch=trm_separate`."""
    return " and ".join(
        f"arch={name}" for name in architecture_names() if option in options_of(name)
    )
