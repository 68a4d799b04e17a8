"""The order in which modules may know each other, read from their imports."""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "cifar_track"

# Each may use what stands below it, and its neighbours as long as they don't use it.
LEVELS = (
    {"__main__"},
    {"cli"},
    {"workflow"},
    {"tuning", "registry", "tracking"},
    {"report", "plots", "comparison", "training"},
    {"models", "data", "augmentation", "evaluation", "statistics"},
    {"config"},
    {"__init__"},
)

# Which packages a module may import beside the standard library; absent, any but mlflow.
ALLOWED = {
    "__main__": set(),
    "cli": {"click"},
    "config": set(),
    "statistics": {"numpy", "scipy"},
    "evaluation": {"numpy", "sklearn"},
    "comparison": {"numpy"},
    "plots": {"numpy", "matplotlib"},
}
# Reading and writing has no place in what only computes.
SILENT = {"evaluation", "statistics", "comparison"}
READS_OR_WRITES = {"os", "io", "pathlib", "shutil", "socket", "subprocess", "tempfile", "urllib"}


def test_modules_know_only_what_they_may():
    level_of = {module: level for level, modules in enumerate(LEVELS) for module in modules}
    neighbours = graphlib.TopologicalSorter()
    faults = []
    for path in sorted(PACKAGE.rglob("*.py")):
        module, own = module_of(path), path.relative_to(REPOSITORY)
        if module not in level_of:
            faults.append(f"{own}: {module} is not in the design")
            continue
        for name in imports(path):
            top, _, rest = name.partition(".")
            if top == PACKAGE.name:
                other = rest.partition(".")[0] or "__init__"
                private = [part for part in rest.split(".") if part[:1] == "_" != part[:2][1:]]
                if private and other != module:
                    faults.append(f"{own}: {name} is private to another module")
                if not (PACKAGE / other).is_dir() and not (PACKAGE / f"{other}.py").is_file():
                    other = "__init__"  # a name in the package's own file, such as __version__
                if level_of.get(other, -1) < level_of[module]:
                    faults.append(f"{own}: {name} stands above it")
                elif other != module and level_of[other] == level_of[module]:
                    neighbours.add(module, other)
            elif top == "mlflow":
                if module not in ("tracking", "registry"):
                    faults.append(f"{own}: mlflow is known to tracking and registry alone")
            elif top in sys.stdlib_module_names:
                if module in SILENT and top in READS_OR_WRITES:
                    faults.append(f"{own}: {name} reads or writes")
            elif top not in ALLOWED.get(module, {top}):
                faults.append(f"{own}: {name} is not for {module}")
            if name.startswith("matplotlib.pyplot"):
                faults.append(f"{own}: pyplot keeps figures alive and wants a display")
    for path in sorted((REPOSITORY / "experiments").glob("*.py")):
        faults += [
            f"{path.relative_to(REPOSITORY)}: {name}; a page imports cifar_track.config alone"
            for name in imports(path)
            if not name.startswith("cifar_track.config.")
        ]
    assert faults == []
    neighbours.prepare()  # raises CycleError and names the cycle


def module_of(path):
    """The top-level module of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """The full name of everything that a file imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.parent.relative_to(REPOSITORY).parts
            near = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (near, node.module) if part)
            yield from (f"{origin}.{alias.name}" for alias in node.names)
