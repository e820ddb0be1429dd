"""Capsules as a node is told of them."""

from dataclasses import replace
from typing import Any

from krater.model.assignment import Assignment
from krater.model.workload import ContainerSpec, Resources
from tests.support.agent import assignment_of, spec_of


def member_of(name: str, *command: str, **more: Any) -> ContainerSpec:
    """One member, with no limit of its own."""
    return spec_of(name, *command, **more)


def capsule_of(capsule: str, *members: ContainerSpec, **more: Any) -> Assignment:
    """A capsule with one card, placed on the node."""
    wanted = assignment_of(capsule, containers=members, **more)
    return replace(wanted, whole=Resources(4.0, 256))
