"""`serve`: the champion over HTTP."""

from __future__ import annotations

import click

from cifar_track import preflight
from cifar_track.cli.options import DATASET, Number
from cifar_track.cli.verb import Verb
from cifar_track.config import registered_name


@click.command("serve", cls=Verb)
@DATASET
@click.option("--name", metavar="TEXT", help="The registered model.  [default: the data set's own]")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 listens everywhere.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5001, show_default=True, help="Port."
)
@click.option(
    "--max_images",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Images in a request.",
)
@click.option(
    "--max_megabytes",
    type=Number(min=0, min_open=True, max=1e6),
    default=64.0,
    show_default=True,
    help="The size of a request.",
)
@click.option(
    "--follow",
    type=Number(min=0.1, max=1e6),
    default=30.0,
    show_default=True,
    help="Seconds between two looks at who is the champion.",
)
def serve(
    *,
    dataset: str,
    name: str | None,
    host: str,
    port: int,
    max_images: int,
    max_megabytes: float,
    follow: float,
) -> None:
    """Serve the champion over HTTP, and go over to a new one without a restart.

    It is MLflow's scoring server, with limits in front of it, and one line for every mistake.

    \b
    Examples:
      mlflow run . -e serve
      python -m cifar_track serve --port 8080 --max_images 64
    """
    # A mistake is told before seconds of imports.
    preflight.require_champion(registered_name(dataset, name))
    from cifar_track import workflow

    workflow.serve_champion(
        dataset=dataset,
        name=name,
        host=host,
        port=port,
        max_images=max_images,
        max_megabytes=max_megabytes,
        follow=follow,
    )
