"""The nodes of a cluster, each looked at before it is given a trial."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import cifar_track
from cifar_track.config import Cluster

# How long a trial, or a node that is looked at, may say nothing.
SILENCE_SECONDS = 60.0
# What has to be the same on every node, for a trial to give the same everywhere.
PACKAGES = ("tensorflow", "keras", "numpy")


@dataclass
class _Node:
    """A node of the cluster, and whether it has been looked at."""

    slots: int
    check: Any = None  # what looks at it, under way
    differences: str | None = None  # in words; empty where it may run trials


@dataclass
class Nodes:
    """The nodes of a cluster, each looked at before it is given a trial."""

    cluster: Cluster
    known: dict[str, _Node] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)  # of those that are gone, too
    told: set[str] = field(default_factory=set)

    def look(self) -> bool:
        """Count the nodes, and go on looking at those that are new; whether that is under way."""
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        self.known = {name: node for name, node in self.known.items() if name in alive}
        for name, node in alive.items():
            if name not in self.known:
                self.hosts[name] = node["NodeManagerAddress"]
                self.known[name] = _Node(self._slots_of(node["Resources"]))
        for name, node in self.known.items():
            if node.slots and node.differences is None:
                self._look_at(name, node)
        return any(node.check is not None for node in self.known.values())

    def look_again(self, name: str) -> None:
        """Give a node no trial until it answers."""
        if name in self.known:
            self.known[name].differences = self.known[name].check = None

    def named(self, name: str) -> str:
        """A node as a person finds it; Ray's own name for it is 56 signs long."""
        return f"{self.hosts[name]} (node {name[:8]})" if name in self.hosts else "its node"

    @property
    def good(self) -> set[str]:
        """Those that may run trials."""
        return {name for name, node in self.known.items() if node.differences == ""}

    def slots(self) -> int:
        """How many trials they carry."""
        return sum(self.known[name].slots for name in self.good)

    def free_slots(self) -> int:
        """How many more the cluster carries beside what runs there, whoever's it is."""
        return self._slots_of(ray.available_resources())

    def notices(self) -> Iterator[str]:
        """A line for each node that differs and has not been named."""
        for name, node in self.known.items():
            if node.differences and name not in self.told:
                self.told.add(name)
                yield f"{self.named(name)} gets no trials: {node.differences}"

    def refusal(self) -> str:
        """Why no node can run a trial, in one line."""
        differing = list(self.notices())
        if differing:
            return f"{differing[0]}; expected the same versions as here on every node"
        asked = f"{self.cluster.cpus} CPUs and {self.cluster.gpus} GPUs"
        if any(node.slots for node in self.known.values()):
            return f"no node of the cluster has answered for {SILENCE_SECONDS:.0f} s; see its logs"
        return (
            f"no node of the cluster has {asked} for a trial; expected at least one: ask for less "
            "with --cpus and --gpus, or add nodes"
        )

    def _look_at(self, name: str, node: _Node) -> None:
        if node.check is None:
            task = ray.remote(max_retries=0, num_cpus=0)(versions)
            strategy = NodeAffinitySchedulingStrategy(name, soft=False)
            node.check = task.options(scheduling_strategy=strategy).remote()
            return
        ready, _ = ray.wait([node.check], timeout=0)
        if not ready:
            return
        try:
            found = ray.get(node.check)
        except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
            node.check = None  # it is about to be counted among the dead
            return
        except ray.exceptions.RayError as error:
            node.differences = " ".join(str(error).split())
        else:
            here = versions()
            node.differences = ", ".join(
                f"its {what} is {found.get(what)}, here it is {version}"
                for what, version in here.items()
                if found.get(what) != version
            )
        node.check = None

    def _slots_of(self, amounts: Mapping[str, float]) -> int:
        slots = [amounts.get("CPU", 0.0) / self.cluster.cpus]
        if self.cluster.gpus:
            slots.append(amounts.get("GPU", 0.0) / self.cluster.gpus)
        return int(min(slots))


def versions() -> dict[str, str]:
    """What has to be the same wherever trials run; on a node, a task."""
    found = {"python": platform.python_version(), "cifar_track": cifar_track.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
