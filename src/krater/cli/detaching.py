"""The keys that let go of a console, found in what is typed. Pure."""

import click

DEFAULT = "ctrl-p,ctrl-q"


def read_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q`, or single characters, as the bytes that a terminal sends; an empty text is no keys."""
    keys = bytearray()
    for word in text.split(",") if text else ():
        name = word.strip()
        control = name.lower().removeprefix("ctrl-") if name.lower().startswith("ctrl-") else ""
        if len(control) == 1 and "@" <= control.upper() <= "_":
            keys.append(ord(control.upper()) - 64)
        elif len(name) == 1 and name.isascii():
            keys += name.encode()
        else:
            raise click.BadParameter(f"{word!r} is no key; expected such as ctrl-p,ctrl-q.", param_hint="--detach-keys")
    return bytes(keys)


class DetachKeys:
    """Holds back what may become the keys, and gives it out when it does not."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What goes to the process, and whether the keys are complete."""
        if not self._keys:
            return typed, False
        content = self._held + typed
        at = content.find(self._keys)
        if at >= 0:
            return content[:at], True
        for length in range(min(len(self._keys) - 1, len(content)), 0, -1):
            if content.endswith(self._keys[:length]):
                self._held = content[-length:]
                return content[:-length], False
        self._held = b""
        return content, False
