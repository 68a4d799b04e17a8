"""The command line: a file a verb, and how each mistake is told in one line."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cifar_track import __version__, config
from cifar_track.cli.ablate import ablate
from cifar_track.cli.compare import compare
from cifar_track.cli.doctor import mend
from cifar_track.cli.ensemble import ensemble
from cifar_track.cli.export import export
from cifar_track.cli.move_runs import move_runs
from cifar_track.cli.register import register
from cifar_track.cli.repeat import repeat
from cifar_track.cli.runs import show_runs
from cifar_track.cli.serve import serve
from cifar_track.cli.study import run_study
from cifar_track.cli.train import SHORTCUTS, train
from cifar_track.config import CifarTrackError

__all__ = ["SHORTCUTS", "run", "verbs"]


def run(arguments: Sequence[str]) -> int:
    """Run one verb.

    Args:
        arguments: what follows `python -m cifar_track`.

    Returns:
        The exit status: 0, or 2 for a mistake of the person, told in one line on stderr, or what
        its kind says: 3 for a model that was refused, 75 for a run whose results could not be
        sent yet.
        Everything else is a bug or an interrupt and leaves as it came.
    """
    try:
        with verbs.make_context("python -m cifar_track", list(arguments) or ["--help"]) as context:
            verbs.invoke(context)
    except click.exceptions.Exit as leaving:  # --help and --version
        return leaving.exit_code
    except click.NoSuchOption as mistake:
        return _tell(_name_nearest_option(mistake))
    except click.ClickException as mistake:
        return _tell(mistake.format_message())
    except CifarTrackError as mistake:
        return _tell(str(mistake), status=mistake.exit_status)
    return 0


class _Verbs(click.Group):
    """The verbs in the order a person meets them; an unknown one is answered by the nearest."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0].replace("_", "-")  # the entry point is `move_runs`
        if name not in self.commands:
            raise CifarTrackError(f"no verb {args[0]!r}{config.nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, [name, *args[1:]])


@click.group(
    cls=_Verbs,
    # `--data-dir` is `--data_dir`: people type one, `-P data_dir=` the other.
    context_settings={
        "token_normalize_func": lambda token: token.replace("-", "_"),
        "help_option_names": ["--help", "-h"],
        "max_content_width": 100,
    },
    no_args_is_help=False,
)
@click.version_option(__version__, prog_name="cifar_track")
def verbs() -> None:
    """Run, compare and register every iteration of a CIFAR-100 study with MLflow.

    Each verb is an entry point of the MLflow Project too, and each of its options a parameter:

    \b
      python -m cifar_track train --experiment tune --trials 3
      mlflow run . -e tune -P trials=3

    `python -m cifar_track VERB --help` lists a verb's options.
    """


for verb in (
    run_study,
    train,
    ablate,
    compare,
    show_runs,
    ensemble,
    register,
    serve,
    export,
    repeat,
    mend,
    move_runs,
):
    verbs.add_command(verb)


def _name_nearest_option(mistake: click.NoSuchOption) -> str:
    command = mistake.ctx.command if mistake.ctx else verbs
    known = tuple(
        name.removeprefix("--")
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
        for name in option.opts
    )
    near = config.nearest(mistake.option_name.removeprefix("--"), known, sign="--")
    return f"no option {mistake.option_name!r}{near}"


def _tell(mistake: str, *, status: int = 2) -> int:
    click.echo(f"error: {' '.join(mistake.split())}", err=True)
    return status
