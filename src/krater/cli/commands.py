"""Every command: where it lives, and the line that `krater --help` shows for it.

A command's module is imported when the command is used, or its own help is asked for; the list of all of them, and
completing their names, imports none. `krater serve` brings a web server and a database along, `krater ps` must not.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import click

Sections = Mapping[str, Mapping[str, tuple[str, str]]]

SECTIONS: Sections = {
    "Containers": {
        "run": ("krater.cli.run:run", "Run a container and follow it."),
        "create": ("krater.cli.run:create", "Make a container without starting it."),
        "ps": ("krater.cli.containers:ps", "List containers."),
        "show": ("krater.cli.containers:show", "Show all about a container."),
        "logs": ("krater.cli.logs:logs", "Print what a container wrote."),
        "exec": ("krater.cli.execute:execute", "Run a command inside a container."),
        "cp": ("krater.cli.copy:cp", "Copy files out of a container, or into one."),
        "attach": ("krater.cli.execute:attach", "Talk to a container's first process."),
        "start": ("krater.cli.lifecycle:start", "Start containers."),
        "stop": ("krater.cli.lifecycle:stop", "Stop containers."),
        "restart": ("krater.cli.lifecycle:restart", "Restart containers."),
        "pause": ("krater.cli.lifecycle:pause", "Freeze containers."),
        "unpause": ("krater.cli.lifecycle:unpause", "Thaw containers."),
        "kill": ("krater.cli.lifecycle:kill", "Send a signal to containers."),
        "rebuild": ("krater.cli.lifecycle:rebuild", "Make containers anew from their image."),
        "rm": ("krater.cli.remove:rm", "Remove containers."),
        "rename": ("krater.cli.containers:rename", "Give a container another name."),
        "update": ("krater.cli.containers:update", "Change the limits of a container."),
        "top": ("krater.cli.usage:top", "Show the processes of a container."),
        "stats": ("krater.cli.usage:stats", "Show what containers use now."),
        "actions": ("krater.cli.actions:actions", "Show what was asked of a container."),
    },
    "Images": {
        "images": ("krater.cli.images:images", "List images."),
        "pull": ("krater.cli.images:pull", "Pull an image onto hosts."),
        "search": ("krater.cli.own_images:search", "Search for images."),
        "commit": ("krater.cli.own_images:commit", "Make an image of a container."),
        "save": ("krater.cli.own_images:save", "Write an image of the project to a file."),
        "push": ("krater.cli.own_images:push", "Upload an image of the project to a registry."),
        "rmi": ("krater.cli.images:rmi", "Remove images."),
        "registry": ("krater.cli.registry:registry", "Manage logins for registries of images."),
    },
    "Capsules": {
        "capsule": ("krater.cli.capsule:capsule", "Run and look after capsules: several containers as one."),
        "kube": ("krater.cli.kube:kube", "Run Kubernetes Pods as capsules."),
    },
    "Volumes": {
        "volume": ("krater.cli.volume:volume", "Manage volumes."),
    },
    "Krater itself": {
        "hosts": ("krater.cli.nodes:hosts", "List hosts."),
        "services": ("krater.cli.nodes:services", "List Krater's services on hosts."),
        "quota": ("krater.cli.quota:quota", "Show and set how much projects may have."),
        "zones": ("krater.cli.nodes:zones", "List availability zones."),
        "version": ("krater.cli.version:version", "Show the versions of this program and of the server."),
        "completion": ("krater.cli.completion:completion", "Print the completion script for a shell."),
    },
    "Operating Krater on this machine": {
        "serve": ("krater.cli.serve:serve", "Run Krater."),
        "account": ("krater.cli.account:account", "Manage users and projects."),
        "network": ("krater.cli.network:network", "Manage networks."),
        "security-group": ("krater.cli.security_group:security_group", "Manage who may talk to containers."),
        "node": ("krater.cli.node:node", "Look after this node."),
        "keys": ("krater.cli.keys:keys", "Look after the keys of this installation."),
        "config": ("krater.cli.config:config", "Look at settings."),
        "db": ("krater.cli.db:db", "Look after the database."),
    },
}

COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class LazyGroup(click.Group):
    """A group of commands that are imported when they are used: `krater` itself, unless told otherwise."""

    def __init__(self, *args: Any, sections: Sections = SECTIONS, **more: Any) -> None:
        super().__init__(*args, **more)
        self._sections = sections
        self._entries = {name: entry for section in sections.values() for name, entry in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help text."""
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it."""
        if cmd_name not in self._entries:
            return None
        place = self._entries[cmd_name][0]
        module, _, attribute = place.partition(":")
        try:
            command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise click.ClickException(f"`{ctx.command_path} {cmd_name}` is not part of this installation.") from None
        if not isinstance(command, click.Command):
            raise TypeError(f"{place} is no command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections of the table above."""
        for title, section in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in section.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Names of commands, without importing them."""
        from click.shell_completion import CompletionItem

        entries = self._entries.items()
        found = [CompletionItem(name, help=text) for name, (_, text) in entries if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)
