"""`krater completion`."""

import click

INSTALL = {
    "bash": "krater completion bash > /etc/bash_completion.d/krater",
    "zsh": "krater completion zsh > ~/.zfunc/_krater   (with ~/.zfunc in fpath before compinit)",
    "fish": "krater completion fish > ~/.config/fish/completions/krater.fish",
}


@click.command(epilog="\b\n" + "\n".join(INSTALL.values()))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes a shell complete commands, options and names of containers.

    Try it with `source <(krater completion bash)`, or install it for good:
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"There is no completion for {shell}.")
    root = context.find_root().command
    complete = kind(root, {}, "krater", "_KRATER_COMPLETE")
    print(complete.source_template % complete.source_vars())
