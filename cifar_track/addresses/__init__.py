"""Addresses: of stores, as people write them and as MLflow takes them, and as they may be shown."""

from cifar_track.addresses.shown import for_a_link, shown
from cifar_track.addresses.stores import (
    DATABASE_PORTS,
    REGISTRY,
    SQLITE_SUFFIXES,
    STORE,
    folder_address,
    is_databricks,
    is_server,
    place,
    registry_address,
    settled,
    sqlite_address,
    sqlite_path,
    tracking_address,
)

__all__ = [
    "DATABASE_PORTS",
    "REGISTRY",
    "SQLITE_SUFFIXES",
    "STORE",
    "folder_address",
    "for_a_link",
    "is_databricks",
    "is_server",
    "place",
    "registry_address",
    "settled",
    "shown",
    "sqlite_address",
    "sqlite_path",
    "tracking_address",
]
