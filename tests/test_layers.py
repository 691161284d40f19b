"""Imports point down: no arrow up the layers, no cycle, and no import hidden in a function body."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kalman_em"

# From the bottom up. A name is a module or a package with all that is in it; a newcomer must be placed here.
LAYERS = [
    [
        "errors",
        "memory",
        "arrays",
        "compiled",
        "vectors",
        "linalg",
        "leaves",
        "version",
        "discretisation",
        "gaps",
        "threads",
    ],
    ["observations", "dynamics", "systems", "posteriors"],
    ["inference"],
    ["em"],
    ["models", "latent"],
    ["frames", "diagnostics", "panel_diagnostics"],
    ["forecasting"],
    ["fitting"],
    [
        "plotting",
        "crosscheck",
        "datasets",
        "persistence",
        "encoding",
        "export",
        "sklearn",
        "console",
        "cli",
        "__main__",
    ],
]
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}
TOP = len(LAYERS)
# The one door to the leaves loads them by name; `kalman_em/__init__.py` names them for type checkers.
DOOR = "kalman_em.leaves"


def sources_of(package):
    """Return the source of every module of a package by its dotted name; a package is the name of its folder."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def layer_of(module):
    """Return the layer of a module, TOP for the package itself, None for one that is not in the table."""
    parts = module.split(".")
    return TOP if len(parts) == 1 else LAYER_OF.get(parts[1])


def is_package(module, sources):
    return any(other.startswith(f"{module}.") for other in sources)


def imported(node, module, sources):
    """Yield the modules of the package that an import statement names, `from package import module` included."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif node.level:
        base = module.split(".")[: len(module.split(".")) - node.level + is_package(module, sources)]
        names = _named(".".join([*base, *([node.module] if node.module else [])]), node, sources)
    else:
        names = _named(node.module, node, sources)
    root = module.split(".")[0]
    yield from (name for name in names if name.split(".")[0] == root)


def _named(base, node, sources):
    inside = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in sources else base for name in inside]


def imports_of(module, source, sources):
    """Yield (line, imported module of the package, is in a function body, is for type checkers alone)."""

    def walk(node, in_function, for_types):
        if isinstance(node, ast.Import | ast.ImportFrom):
            targets = list(imported(node, module, sources))
            # An import from outside counts only where it hides.
            for target in targets or [None]:
                yield node.lineno, target, in_function, for_types
        if isinstance(node, ast.Call) and _calls_an_import(node) and module != DOOR:
            yield node.lineno, None, True, for_types
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for child in node.body:
                yield from walk(child, in_function, True)
            for child in node.orelse:
                yield from walk(child, in_function, for_types)
            return
        inner = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner, for_types)

    yield from walk(ast.parse(source), False, False)


def _calls_an_import(node):
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in ("import_module", "__import__")


def _is_type_checking(test):
    return (test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")) == "TYPE_CHECKING"


def violations(sources):
    """Return one line for every rule that is broken by the modules `sources` (dotted name to source)."""
    found, arrows = [], {}
    for module, source in sources.items():
        if layer_of(module) is None:
            found.append(f"{module}: not in the table of layers")
        arrows[module] = set()
        for line, target, in_function, for_types in imports_of(module, source, sources):
            if in_function and not for_types:
                found.append(f"{module}:{line}: an import hides in a function body")
            if target is None or for_types:
                continue
            arrows[module].add(target)
            above, here = layer_of(target), layer_of(module)
            if above is not None and here is not None and above > here:
                found.append(f"{module}:{line}: {target} lies above")
    # That importing a.b runs a/__init__.py first is no arrow: packages here hand on what is inside them.
    found += [f"cycle: {' -> '.join(cycle)}" for cycle in cycles(arrows)]
    return found


def cycles(arrows):
    """Return the cycles that a walk along the arrows meets, each from its first module back to it."""
    found, done = [], set()

    def follow(module, path):
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for target in sorted(arrows.get(module, ())):
                follow(target, [*path, module])
            done.add(module)

    for module in sorted(arrows):
        follow(module, [])
    return found


def test_imports_point_down():
    sources = sources_of(PACKAGE)
    assert len(sources) > 40
    assert violations(sources) == []


def test_the_walk_sees_the_imports_that_are_there():
    sources = sources_of(PACKAGE)
    arrows = {
        module: {target for _, target, _, _ in imports_of(module, source, sources) if target}
        for module, source in sources.items()
    }
    assert {"kalman_em.em.loop", "kalman_em.observations", "kalman_em.models.specification"} <= arrows[
        "kalman_em.fitting.learning"
    ]
    assert "kalman_em.frames.labels" in arrows["kalman_em.frames"]


CLEAN = {
    "kalman_em": "from kalman_em.em.loop import run_em\n",
    "kalman_em.errors": "import math\n",
    "kalman_em.em": "",
    "kalman_em.em.loop": "from kalman_em.errors import InputError\nfrom . import stopping\n",
    "kalman_em.em.stopping": "from __future__ import annotations\n",
    "kalman_em.fitting": "from kalman_em.fitting.fit import fit\n",
    "kalman_em.fitting.fit": "from kalman_em.em.loop import run_em\nfrom kalman_em.em import stopping\n",
}


def test_a_clean_package_passes():
    assert violations(CLEAN) == []


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("kalman_em.errors", "from kalman_em.em.loop import run_em\n", "kalman_em.em.loop lies above"),
        ("kalman_em.errors", "import kalman_em.em.loop\n", "kalman_em.em.loop lies above"),
        ("kalman_em.errors", "from kalman_em import run_em\n", "kalman_em lies above"),
        ("kalman_em.errors", "from kalman_em import fitting\n", "kalman_em.fitting lies above"),
        ("kalman_em.em.loop", "from ..fitting import fit\n", "kalman_em.fitting.fit lies above"),
        ("kalman_em.em.loop", "from ..fitting.fit import fit\n", "kalman_em.fitting.fit lies above"),
        ("kalman_em.em.loop", "try:\n    import kalman_em.fitting.fit\nexcept ImportError:\n    pass\n", "lies above"),
        ("kalman_em.em.stopping", "from kalman_em.em.loop import run_em\n", "cycle: "),
        ("kalman_em.em.stopping", "def f():\n    import math\n", "an import hides in a function body"),
        ("kalman_em.em.stopping", "class A:\n    def f(self):\n        from math import pi\n", "an import hides"),
        ("kalman_em.em.stopping", "def f():\n    return import_module('kalman_em.cli')\n", "an import hides"),
        ("kalman_em.em.stopping", "x = importlib.import_module('kalman_em.cli')\n", "an import hides"),
        ("kalman_em.newcomer", "", "not in the table of layers"),
    ],
)
def test_the_walk_bites(module, source, said):
    found = violations(CLEAN | {module: source})
    assert any(said in line and (module in line) for line in found), found


def test_imports_for_type_checkers_may_point_anywhere():
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from kalman_em.fitting.fit import fit\n"
    assert violations(CLEAN | {"kalman_em.em.stopping": source}) == []
    assert violations(CLEAN | {"kalman_em.em.stopping": f"{source}else:\n    from kalman_em import fitting\n"}) != []


def test_the_door_alone_may_load_by_name():
    source = "from importlib import import_module\ndef leaf(name):\n    return import_module(name)\n"
    assert violations(CLEAN | {DOOR: source}) == []
    assert violations(CLEAN | {"kalman_em.linalg": source}) != []
