#!/usr/bin/env python3
"""Run one command in several containers at once, print what each said, remove them all.

    .venv/bin/python examples/batch.py 5 -- sh -c 'echo "$(hostname) says hello"; sleep 1'

Address and login are found as `krater` finds them (docs/cli.md). The exit code is the largest one of the containers.
"""

import sys

from krater.client import Client, ClientError, exit_code

IMAGE = "busybox"
PATIENCE = 60.0


def main(count: int, command: list[str]) -> int:
    """Start all, then wait for each."""
    with Client.from_environment() as krater:
        made: list[str] = []
        try:
            for number in range(count):
                started = krater.containers.run(
                    image=IMAGE, name=f"batch-{number}", command=command, memory=64, labels={"example": "batch"}
                )
                made.append(started["uuid"])
            return max(finish(krater, container) for container in made)
        finally:
            for container in made:
                krater.containers.delete(container, stop=True)


def finish(krater: Client, container: str) -> int:
    """Wait for one to end; print its output, or the reason why there is none."""
    state = krater.containers.wait(container, "over", timeout=PATIENCE)
    if state is None:
        return 1  # somebody else removed it
    print(f"{state['name']}: {state['status_detail'] or state['status']}")
    if state["status"] == "Error":
        print(f"  {state['status_reason']}")
        return 125
    print("".join(f"  {line}\n" for line in krater.containers.logs(container).splitlines()), end="")
    return exit_code(state) or 0


if __name__ == "__main__":
    count, command = sys.argv[1:2], sys.argv[2:]
    if not count or not count[0].isdigit() or not command:
        sys.exit(__doc__)
    try:
        sys.exit(main(int(count[0]), command[1:] if command[0] == "--" else command))
    except ClientError as error:
        sys.exit(f"batch: {error}")
