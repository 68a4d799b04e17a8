"""What each architecture takes: read from the signature of its `build`, without importing it."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from cifar_track.config.checks import CifarTrackError, nearest
from cifar_track.config.settings import Model
from cifar_track.config.values import Value, typed

MODELS_DIRECTORY = Path(__file__).resolve().parents[1] / "models"

_NOT_ARCHITECTURES = {"__init__", "layers"}
_NOT_SETTINGS = {"classes"}  # the data's
_KINDS = {kind.__name__: kind for kind in (bool, int, float, str)}


class ArchitectureSetting(NamedTuple):
    """A setting of an architecture: its type, and its default where a page need not give it."""

    kind: type
    default: Value | None


def architecture_names() -> tuple[str, ...]:
    """The architectures at hand, sorted: the files in `cifar_track/models` that hold a `build`."""
    files = MODELS_DIRECTORY.glob("*.py")
    return tuple(sorted({file.stem for file in files} - _NOT_ARCHITECTURES))


@functools.cache
def architecture_settings(architecture: str) -> Mapping[str, ArchitectureSetting]:
    """The settings of an architecture by name, in the order of its `build`.

    Raises:
        CifarTrackError: there is no such architecture.
    """
    names = architecture_names()
    if architecture not in names:
        raise CifarTrackError(f"no architecture {architecture!r}{nearest(architecture, names)}")
    # Importing it would import TensorFlow, for seconds, before a slip of the pen is told.
    source = (MODELS_DIRECTORY / f"{architecture}.py").read_text(encoding="utf-8")
    [build] = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == "build"
    )
    settings = {
        argument.arg: ArchitectureSetting(
            kind=_KINDS[ast.unparse(argument.annotation)],
            default=None if default is None else ast.literal_eval(default),
        )
        for argument, default in zip(build.args.kwonlyargs, build.args.kw_defaults, strict=True)
        if argument.arg not in _NOT_SETTINGS and argument.annotation is not None
    }
    return MappingProxyType(settings)


def complete_model(model: Model) -> Model:
    """The model with every setting of its architecture, each of its type.

    Raises:
        CifarTrackError: an unknown architecture or setting, a value of another type, or a setting
            that the architecture wants and the model lacks.
    """
    known = architecture_settings(model.architecture)
    for name in model.settings:
        if name not in known:
            raise CifarTrackError(
                f"architecture {model.architecture!r} has no setting {name!r}{nearest(name, known)}"
            )
    # In the order of the page, then what the page left out.
    given = {
        **model.settings,
        **{
            name: setting.default
            for name, setting in known.items()
            if name not in model.settings and setting.default is not None
        },
    }
    missing = [name for name in known if name not in given]
    if missing:
        raise CifarTrackError(
            f"architecture {model.architecture!r} wants {', '.join(missing)}; "
            f"give model.{missing[0]} on the page, or with -P set=model.{missing[0]}=VALUE"
        )
    return Model(
        model.architecture,
        **{
            name: typed(value, known[name].kind, name=f"model.{name}")
            for name, value in given.items()
        },
    )
