"""Hosts that a test makes on this machine, each with an address of its own.

Where they can be made, they are network namespaces, plugged into a switch that is one too, so that
each can be cut off from the others; elsewhere they are addresses of the loopback.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess

NETWORKS = itertools.count()


def can_be_made() -> bool:
    """Whether this process may make network namespaces."""
    if os.name != "posix" or shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"try-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("-netns", name, "link", "add", "hub", "type", "bridge")
    except subprocess.CalledProcessError:
        return False
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return True


def ip(*arguments: str) -> None:
    """Run iproute2's `ip`."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Network:
    """A network of this machine, host 0, and of others that are made as they are asked for."""

    def __init__(self) -> None:
        self.is_real = can_be_made()
        self._hosts: list[str] = []
        if not self.is_real:
            return
        number = next(NETWORKS)
        self._name = f"t{os.getpid()}-{number}"
        self._prefix = f"10.{192 + os.getpid() % 32}.{number}"
        ip("netns", "add", self._name)
        ip("-netns", self._name, "link", "add", "hub", "type", "bridge")
        ip("-netns", self._name, "link", "set", "hub", "up")
        ip("link", "add", self._name, "type", "veth", "peer", "name", "port0", "netns", self._name)
        ip("address", "add", f"{self._prefix}.1/24", "dev", self._name)
        ip("link", "set", self._name, "up")
        self._plug_in(0)

    def address(self, host: int) -> str:
        """The address of a host."""
        return f"{self._prefix}.{host + 1}" if self.is_real else f"127.0.0.{host + 1}"

    def on(self, host: int) -> list[str]:
        """What a command begins with that is to run there."""
        if not self.is_real or host == 0:
            return []
        name = f"{self._name}-{host}"
        if name not in self._hosts:
            ip("netns", "add", name)
            self._hosts.append(name)
            ip(
                *("-netns", self._name, "link", "add", f"port{host}", "type", "veth"),
                *("peer", "name", "eth0", "netns", name),
            )
            ip("-netns", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-netns", name, "link", "set", device, "up")
            self._plug_in(host)
        return ["ip", "netns", "exec", name]

    def _plug_in(self, host: int) -> None:
        ip("-netns", self._name, "link", "set", f"port{host}", "master", "hub", "up")

    def cut_off(self, host: int) -> None:
        """Let nothing through between a host and all others."""
        ip("-netns", self._name, "link", "set", f"port{host}", "down")

    def mend(self, host: int) -> None:
        """Let everything through again, if it did not."""
        if self.is_real:
            ip("-netns", self._name, "link", "set", f"port{host}", "up")

    def close(self) -> None:
        """Take all of it away; the devices go with their namespaces."""
        for name in [*self._hosts, *([self._name] if self.is_real else [])]:
            ip("netns", "delete", name)
