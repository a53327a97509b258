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

    None where NAME is not an architecture.
    """
    written = _written(name, "options")
    return None if written is None else ast.literal_eval(written)


def has_one_state(name: str) -> bool:
    """Whether the recursion of an architecture has a single state."""
    written = _written(name, "states")
    match written:
        case ast.Tuple(elts=[only]):
            return not isinstance(only, ast.Starred)
    return False


@cache
def _written(name: str, attribute: str) -> ast.expr | None:
    """What the class of an architecture writes for a class attribute; None where it does not.

    The class is read and not imported: an import would load torch, and a table of experiments is
    checked without it.
    """
    spec = find_spec(f"{MODELS}.{name}") if name.isidentifier() else None
    if spec is None:
        return None
    for statement in ast.parse(spec.loader.get_source(spec.name)).body:
        for line in getattr(statement, "body", ()):
            match line:
                case (
                    ast.Assign(targets=[ast.Name(id=found)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value)
                ) if found == attribute:
                    return value
    return None


def having(option: str) -> str:
    """The architectures that have an option, for a message: `arch=trm and arch=trm_separate`."""
    return " and ".join(
        f"arch={name}" for name in architecture_names() if option in options_of(name)
    )
