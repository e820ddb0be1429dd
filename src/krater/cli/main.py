"""`krater`: one program for users and operators. This is its outermost layer: options, errors, exit codes."""

import os
import sys
from collections.abc import Sequence

import click

from krater import __version__
from krater.cli.commands import LazyGroup
from krater.cli.connection import Connection
from krater.cli.failures import FAILED, INTERRUPTED, complain, report
from krater.client import ClientError

EPILOG = (
    "Containers are named by name, id, or the beginning of an id; members of capsules as CAPSULE/MEMBER. "
    "`krater COMMAND --help` says more."
)


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="krater", message="%(prog)s %(version)s")
@click.option("--url", metavar="URL", help="Address of the API, such as http://host:9517 or unix:///socket.")
@click.option("--username", metavar="NAME", help="Who you are. The password comes from KRATER_PASSWORD.")
@click.option("--project", metavar="NAME", help="The project to work in, if not your first.")
@click.option("--cacert", metavar="FILE", help="Certificates to trust instead of the system's.")
@click.option("--client-file", metavar="FILE", help="File with address and login, instead of the usual ones.")
@click.option("--timeout", metavar="SECONDS", type=click.FloatRange(min=0.1), help="How long to wait for an answer.")
def krater(**_options: object) -> None:
    """Run containers, and run Krater.

    Address and login come from these options, else from KRATER_URL, KRATER_USERNAME, KRATER_PASSWORD, KRATER_PROJECT,
    KRATER_TOKEN and KRATER_CACERT, else from the file that KRATER_CLIENT_FILE names, ~/.config/krater/client.yaml or
    /var/lib/krater/client.yaml.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; its exit code. Nobody sees a traceback unless KRATER_DEBUG is set."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    connection = Connection()
    try:
        return _run(arguments, connection)
    except click.ClickException as error:
        return _show_click_error(error)
    except ClientError as error:
        _raise_if_debugging(error)
        report(error, connection.access)
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:  # `krater ps | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except Exception as error:
        _raise_if_debugging(error)
        complain(getattr(error, "message", "") or f"This should not happen: {type(error).__name__}: {error}")
        if not hasattr(error, "message"):
            print("  With KRATER_DEBUG=1 in the environment it says where.", file=sys.stderr)
        return FAILED
    finally:
        connection.close()


def _run(arguments: Sequence[str] | None, connection: Connection) -> int:
    """Commands answer with their exit code, or with nothing when all went well."""
    code = krater.main(
        None if arguments is None else list(arguments), prog_name="krater", obj=connection, standalone_mode=False
    )
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _show_click_error(error: click.ClickException) -> int:
    if isinstance(error, click.UsageError) and not isinstance(error, click.exceptions.NoArgsIsHelpError):
        complain(error.format_message())
        path = error.ctx.command_path if error.ctx else "krater"
        print(f"  `{path} --help` shows how it is used.", file=sys.stderr)
    elif isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    else:
        complain(error.format_message())
    return error.exit_code


def _raise_if_debugging(error: Exception) -> None:
    if os.environ.get("KRATER_DEBUG"):
        raise error
