"""All tables, as SQLAlchemy Core knows them.

`migrations/` makes the same, step by step; a test holds the two together.
"""

from krater.store.sql.tables.departures import departures
from krater.store.sql.tables.kinds import metadata, to_cores, to_micros, to_millionths
from krater.store.sql.tables.networks import addresses, networks, ports, subnets
from krater.store.sql.tables.nodes import claims, images, nodes
from krater.store.sql.tables.own_images import own_images
from krater.store.sql.tables.projects import quota_limits, quota_usage, revoked_tokens
from krater.store.sql.tables.registries import registries, registry_uses
from krater.store.sql.tables.security_groups import security_groups, security_members, security_rules
from krater.store.sql.tables.volumes import injected_files, volumes
from krater.store.sql.tables.workloads import action_events, actions, members, workloads

__all__ = [
    "action_events",
    "actions",
    "addresses",
    "claims",
    "departures",
    "images",
    "injected_files",
    "members",
    "metadata",
    "networks",
    "nodes",
    "own_images",
    "ports",
    "quota_limits",
    "quota_usage",
    "registries",
    "registry_uses",
    "revoked_tokens",
    "security_groups",
    "security_members",
    "security_rules",
    "subnets",
    "to_cores",
    "to_micros",
    "to_millionths",
    "volumes",
    "workloads",
]
