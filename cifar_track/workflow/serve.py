"""The champion served."""

from __future__ import annotations

from cifar_track import tracking
from cifar_track.config import DEFAULT_DATASET, registered_name
from cifar_track.workflow.terminal import load_tensorflow, tell


def serve_champion(
    *,
    dataset: str = DEFAULT_DATASET,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 5001,
    max_images: int = 1000,
    max_megabytes: float = 64.0,
    follow: float = 30.0,
) -> None:
    """Serve the champion over HTTP until the process is ended, and whoever follows it.

    Args:
        dataset: whose champion.
        name: of the registered model; the data set's own unless given.
        host: where to listen; everywhere is 0.0.0.0.
        port: where to listen.
        max_images: in a request.
        max_megabytes: the size of a request.
        follow: seconds between two looks at who is the champion.

    Raises:
        CifarTrackError: there is no champion.
    """
    from cifar_track import registry, serving

    tracking.open_store()
    model = registered_name(dataset, name)
    registry.champion_run_id(model)
    load_tensorflow()
    place = f"[{host}]" if ":" in host else host  # of the protocol's sixth version
    serving.serve(
        model,
        registry.CHAMPION,
        host=host,
        port=port,
        max_images=max_images,
        max_bytes=int(max_megabytes * 1e6),
        follow_seconds=follow,
        on_version=lambda version: tell(
            f"{model} version {version}: http://{place}:{port}/invocations"
        ),
    )
