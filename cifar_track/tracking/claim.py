"""Who may go on with a run that is there already: of all who want it, one."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import mlflow
from mlflow.exceptions import MlflowException

from cifar_track.config import CifarTrackError
from cifar_track.tracking import store, tag
from cifar_track.tracking.process import identity_tags, is_alive, is_on_this_host

# A parameter of a run is written once: its run and its name are the table's primary key, and a
# second value is refused by the database itself, whether SQLite, PostgreSQL or one behind a server.
# So the first to write `cifar_track.claim.1` has the run, and the first to write the next number
# takes it over. Tags are overwritten without a word.
PARAMETER = "cifar_track.claim."


@dataclass(frozen=True)
class Holder:
    """Who works on a run.

    Attributes:
        host, pid: the process, and the machine it was started on.
        since: seconds since 1970; None where that is not recorded.
        lives: whether the process runs; None on another host, which alone can tell.
    """

    host: str
    pid: str
    since: float | None
    lives: bool | None

    def __str__(self) -> str:
        """In words, such as `process 4711 on bee since 14:03`."""
        words = f"process {self.pid} on {self.host}"
        if self.since is not None:
            words += f" since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.since))}"
        return words

    @property
    def way_on(self) -> str:
        """What to do for what it has."""
        if self.lives:
            return "wait for it, or end it"
        return (
            "if it is gone, run `doctor` there, or here with --older_than, and repeat the command"
        )


@dataclass(frozen=True)
class Claim:
    """A run that is this process's to go on with, until it ends or releases it.

    Attributes:
        run_id: MLflow's run id.
        number: how many had the run by a claim, this one included.
    """

    run_id: str
    number: int

    def release(self) -> None:
        """Let the run go, so that anybody may claim it; the end of the process does so too."""
        store.client().set_tag(self.run_id, tag.RELEASED, str(self.number))


def claim_run(run_id: str) -> Claim:
    """Claim a run that another process opened; of several at once, exactly one succeeds.

    A run is free when no living process holds it: nobody ever did, or who did has released it, or
    is a process of this host that is gone.

    Raises:
        CifarTrackError: another has it, and is named.
        MlflowException: the store has no such run, or does not answer.
    """
    client = store.client()
    run = client.get_run(run_id)
    holder = holder_of(run)
    if holder is not None:
        raise held_error(run, holder)
    number = _last_number(run.data.params) + 1
    # The nonce tells two claims of one process apart; the same value twice would be no conflict.
    mine = json.dumps({**identity_tags(), "since": time.time(), "nonce": secrets.token_hex(8)})
    failure: MlflowException | None = None
    try:
        client.log_param(run_id, f"{PARAMETER}{number}", mine, synchronous=True)
    except MlflowException as error:
        failure = error
    # What the store holds decides, not the answer: a claim may be written and its answer lost.
    run = client.get_run(run_id)
    written = run.data.params.get(f"{PARAMETER}{number}")
    if written == mine:
        return Claim(run_id, number)
    if written is None and failure is not None:
        raise failure
    raise held_error(run, _holder(json.loads(written or "{}")))


@contextlib.contextmanager
def released_at_the_end(claim: Claim | None) -> Iterator[None]:
    """A block in which a claim is held, if there is one."""
    try:
        yield
    finally:
        if claim is not None:
            # Without a store to say it to, the end of this process says it.
            with contextlib.suppress(Exception), store.short_patience():
                claim.release()


def release_run(run_id: str) -> None:
    """Let go of a run in the name of a holder that is known to be gone."""
    number = _last_number(store.client().get_run(run_id).data.params)
    if number:
        Claim(run_id, number).release()


def holder_of(run: mlflow.entities.Run) -> Holder | None:
    """Who works on a run, as far as can be told from here; None where nobody does.

    The newest claim counts. Without any, the process that opened the run has it while it is
    RUNNING.
    """
    number = _last_number(run.data.params)
    if number:
        if run.data.tags.get(tag.RELEASED) == str(number):
            return None
        holder = _holder(json.loads(run.data.params[f"{PARAMETER}{number}"]))
    elif run.info.status == "RUNNING" and tag.PID in run.data.tags:
        holder = _holder({**run.data.tags, "since": run.info.start_time / 1000})
    else:
        return None
    return None if holder.lives is False else holder


def was_ever_held(run: mlflow.entities.Run) -> bool:
    """Whether any process has ever worked on a run."""
    return tag.PID in run.data.tags or _last_number(run.data.params) > 0


def _last_number(parameters: Mapping[str, str]) -> int:
    texts = [name.removeprefix(PARAMETER) for name in parameters if name.startswith(PARAMETER)]
    return max((int(text) for text in texts if text.isdecimal()), default=0)


def _holder(facts: Mapping[str, object]) -> Holder:
    tags = {name: str(value) for name, value in facts.items()}
    since = tags.get("since")
    return Holder(
        host=tags.get(tag.HOST, "an unknown host"),
        pid=tags.get(tag.PID, "unknown"),
        since=None if since is None else float(since),
        lives=is_alive(tags) if is_on_this_host(tags) else None,
    )


def held_error(run: mlflow.entities.Run, holder: Holder) -> CifarTrackError:
    """The line that names the holder of a run, and what to do."""
    return CifarTrackError(
        f"run {run.info.run_id} ({run.info.run_name}) belongs to {holder}: {holder.way_on}"
    )
