"""`krater capsule`: where its commands live."""

import click

from krater.cli.commands import LazyGroup, Sections

_SECTIONS: Sections = {
    "Capsules": {
        "create": ("krater.cli.capsules.creation:create", "Make a capsule of a template, and start it."),
        "ls": ("krater.cli.capsules.showing:ls", "List capsules."),
        "show": ("krater.cli.capsules.showing:show", "Show all about a capsule, and why it is as it is."),
        "events": ("krater.cli.capsules.history:events", "Show what happened to a capsule and its members."),
        "start": ("krater.cli.capsules.lifecycle:start", "Start capsules, or members of them."),
        "stop": ("krater.cli.capsules.lifecycle:stop", "Stop capsules, or members of them."),
        "restart": ("krater.cli.capsules.lifecycle:restart", "Restart capsules, or members of them."),
        "rm": ("krater.cli.capsules.removal:rm", "Remove capsules."),
    },
    "Inside": {
        "logs": ("krater.cli.capsules.logs:logs", "Print what the members of a capsule wrote."),
        "exec": ("krater.cli.capsules.inside:execute", "Run a command inside a member."),
        "attach": ("krater.cli.capsules.inside:attach", "Talk to a member's first process."),
        "top": ("krater.cli.capsules.inside:top", "Show the processes of the members."),
        "stats": ("krater.cli.capsules.inside:stats", "Show what the members use now."),
    },
    "Templates": {
        "lint": ("krater.cli.capsules.files:lint", "Check templates without sending them."),
        "convert": ("krater.cli.capsules.files:convert", "Turn a Kubernetes Pod into a template."),
    },
}


@click.group(
    cls=LazyGroup,
    sections=_SECTIONS,
    epilog="Members are named CAPSULE/MEMBER, here and in `krater exec`, `krater cp` and all the others.",
)
def capsule() -> None:
    """Run and look after capsules: several containers that share addresses, volumes and limits.

    Capsules are named by name, id, or the beginning of an id.
    """
