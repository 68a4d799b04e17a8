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
    {"tuning", "registry", "serving", "tracking"},
    {"report", "plots", "comparison", "training"},
    {
        "models",
        "optimizers",
        "schedules",
        "data",
        "augmentation",
        "evaluation",
        "statistics",
        "blending",
    },
    {
        "addresses",
        "child",
        "environment",
        "folders",
        "interrupts",
        "preflight",
        "quiet",
        "seeds",
        "streams",
    },
    {"config"},
    {"__init__"},
)
LEVEL_OF = {module: level for level, modules in enumerate(LEVELS) for module in modules}

# Which packages a module may import beside the standard library; absent, any but those below.
ALLOWED = {
    "__main__": set(),
    "cli": {"click"},
    "config": set(),
    "addresses": set(),
    "preflight": set(),
    "child": set(),
    "environment": {"keras"},
    "folders": {"platformdirs"},
    "interrupts": {"psutil"},
    "quiet": {"click"},
    "seeds": {"numpy"},
    "streams": set(),
    "statistics": {"numpy", "scipy"},
    "blending": {"numpy", "scipy"},
    "evaluation": {"numpy", "sklearn"},
    "comparison": {"numpy", "sklearn"},
    "plots": {"numpy", "matplotlib"},
}
# Whose packages are known in these places alone.
KNOWN_ALONE = {
    "mlflow": [PACKAGE / "tracking", PACKAGE / "registry", PACKAGE / "serving"],
    "ray": [PACKAGE / "tuning" / "executors" / "ray"],
}
# Reading and writing has no place in what only computes.
SILENT = {"evaluation", "statistics", "blending", "comparison"}
READS_OR_WRITES = {"os", "io", "pathlib", "shutil", "socket", "subprocess", "tempfile", "urllib"}


def test_modules_know_only_what_they_may():
    faults = [fault for path in sorted(PACKAGE.rglob("*.py")) for fault in faults_of(path)]
    assert faults == []


def test_neighbours_do_not_know_each_other_both_ways():
    known = graphlib.TopologicalSorter()
    for path in PACKAGE.rglob("*.py"):
        for name in imports(path):
            if name.startswith(f"{PACKAGE.name}.") and owner(name) != module_of(path):
                known.add(module_of(path), owner(name))
    known.prepare()  # raises CycleError and names the cycle


def test_a_page_knows_the_configuration_alone():
    for path in (REPOSITORY / "experiments").glob("*.py"):
        assert [n for n in imports(path) if not n.startswith("cifar_track.config.")] == [], path


def faults_of(path):
    """What a file of the package imports against the rules, a line each."""
    module = module_of(path)
    if module not in LEVEL_OF:
        yield f"{path}: {module} is not in the design"
        return
    for name in imports(path):
        top = name.partition(".")[0]
        if top == PACKAGE.name:
            yield from (f"{path}: {name} {fault}" for fault in faults_within(module, name))
        elif top in KNOWN_ALONE:
            if not any(path.is_relative_to(place) for place in KNOWN_ALONE[top]):
                yield f"{path}: {top} is not known there"
        elif top in sys.stdlib_module_names:
            if module in SILENT and top in READS_OR_WRITES:
                yield f"{path}: {name} reads or writes"
        elif top not in ALLOWED.get(module, {top}):
            yield f"{path}: {name} is not for {module}"
        elif name.startswith("matplotlib.pyplot"):
            yield f"{path}: pyplot keeps figures alive and wants a display"


def faults_within(module, name):
    """What is wrong with a module's import of another part of the package."""
    if LEVEL_OF.get(owner(name), -1) < LEVEL_OF[module]:
        yield "stands above it"
    private = [part for part in name.split(".") if part.startswith("_") and part[:2] != "__"]
    if private and owner(name) != module:
        yield "is private to another module"


def owner(name):
    """The top-level module of the package that a full name belongs to."""
    module = name.split(".")[1] if "." in name else "__init__"
    is_module = (PACKAGE / module).is_dir() or (PACKAGE / f"{module}.py").is_file()
    return module if is_module else "__init__"  # such as __version__, a name in the package's file


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
