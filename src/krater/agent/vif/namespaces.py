"""Network namespaces, and to which sandbox each belongs, as files.

    <directory>/                 a small tmpfs of its own, shared, so that no private copy of the mount table
                                 (a conmon's, say) keeps a namespace alive that was unmounted here
        spaces/<id>              a namespace, bind-mounted, complete from the moment it is mounted
        sandboxes/<sandbox>      -> ../spaces/<id>, made in one step: this is what "belongs" means

A space without a sandbox is a spare. To remove a sandbox its space is unmounted first: a namespace that was
in use can never be taken for a spare, wherever the power goes.
"""

import ctypes
import errno
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from krater.agent.vif import links
from krater.agent.vif.marks import checked
from krater.agent.vif.netlink import Netlink
from krater.errors import Conflict, NotFound

log = logging.getLogger(__name__)

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC = 2, 4, 8, 4096, 16384
_MS_PRIVATE, _MS_SHARED = 1 << 18, 1 << 20
_MNT_DETACH = 2
_OWN = "/proc/thread-self/ns/net"
_SYSCTLS = {
    "ipv6/conf/default/disable_ipv6": "1",  # `cards` turns it on where a card has such an address
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/dad_transmits": "0",
    "ipv6/conf/default/ndisc_notify": "1",
    "ipv4/conf/default/arp_notify": "1",
}


def set_sysctl(name: str, value: str) -> bool:
    """Set `net/<name>` of the namespace this thread is in. False when the kernel has no such knob."""
    try:
        path = Path("/proc/sys/net", name)
        if path.read_text().strip() != value:
            path.write_text(value)
    except FileNotFoundError:
        return False
    return True


class Namespaces:
    """The namespaces under one directory. Blocking; any thread may call, and is at home again after."""

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._spaces = directory / "spaces"
        self._sandboxes = directory / "sandboxes"
        self._home = -1

    def open(self) -> None:
        """Mount the directory if it is not, and take away what is broken in it."""
        if self._home < 0:
            self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.ismount(self._root):
            flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
            _mount("krater", self._root, "tmpfs", flags, "mode=0700,size=8m")
        # Private first: a tmpfs under a shared parent would otherwise stay in its parent's group.
        _mount("none", self._root, "", _MS_PRIVATE, "")
        _mount("none", self._root, "", _MS_SHARED, "")
        self._spaces.mkdir(exist_ok=True)
        self._sandboxes.mkdir(exist_ok=True)
        self.mend()

    def close(self) -> None:
        """Forget the way home, and unmount the directory when no namespace is left in it."""
        if self._home < 0:
            return
        if os.path.ismount(self._root) and not os.listdir(self._spaces):
            _unmount(self._root)
            with suppress(OSError):  # files from before the mount are not ours to judge
                self._root.rmdir()
        os.close(self._home)
        self._home = -1

    def mend(self) -> None:
        """Take away files that are no namespaces, links that lead to none, and links of which no name was made."""
        for space in self._spaces.iterdir():
            if not self._is_namespace(space):
                _remove_file(space)
        for link in self._sandboxes.iterdir():
            if link.name.startswith(".") or not self._is_namespace(link):
                link.unlink(missing_ok=True)

    def make(self) -> str:
        """A new spare namespace with loopback up. Returns its id."""
        space = self._spaces / secrets.token_hex(6)
        space.touch(0o400, exist_ok=False)
        try:
            with self._coming_home():
                if _libc.unshare(_CLONE_NEWNET):
                    _fail("unshare")
                for name, value in _SYSCTLS.items():
                    set_sysctl(name, value)
                with Netlink() as inner:
                    inner.do(links.link_up(1))
                _mount(_OWN, space, "", _MS_BIND, "")
        except OSError:
            space.unlink(missing_ok=True)
            raise
        return space.name

    def adopt(self, pid: int) -> str:
        """The namespace that a process is in, as a spare. NotFound; Conflict when it is ours, or has a name already."""
        try:
            found = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound("The process whose network namespace was asked for has ended.") from None
        try:
            named = [os.stat(space).st_ino for space in self._spaces.iterdir() if self._is_namespace(space)]
            if os.fstat(found).st_ino in (os.fstat(self._home).st_ino, *named):
                raise Conflict("The process has no network namespace of its own.")
            space = self._spaces / secrets.token_hex(6)
            space.touch(0o400, exist_ok=False)
            try:
                _mount(f"/proc/self/fd/{found}", space, "", _MS_BIND, "")
            except OSError:
                space.unlink(missing_ok=True)
                raise
        finally:
            os.close(found)
        return space.name

    def give(self, space: str, sandbox: str) -> str:
        """Have a spare belong to a sandbox. Returns the path by which everybody knows it."""
        link = self._sandboxes / checked(sandbox, "a sandbox")
        fresh = self._sandboxes / f".{space}"
        os.symlink(f"../spaces/{space}", fresh)
        os.replace(fresh, link)
        return str(link)

    def path(self, sandbox: str) -> str | None:
        """Path of a sandbox's namespace; None when there is none."""
        link = self._sandboxes / checked(sandbox, "a sandbox")
        return str(link) if self._is_namespace(link) else None

    def taken(self) -> dict[str, str]:
        """All sandboxes with the paths of their namespaces."""
        found = (link for link in self._sandboxes.iterdir() if not link.name.startswith("."))
        return {link.name: str(link) for link in found if self._is_namespace(link)}

    def is_whole(self, space: str) -> bool:
        """Whether a namespace is still there."""
        return self._is_namespace(self._spaces / space)

    def spares(self) -> list[str]:
        """Namespaces that belong to no sandbox."""
        used = {os.path.basename(os.readlink(link)) for link in self._sandboxes.iterdir()}
        return [space.name for space in self._spaces.iterdir() if space.name not in used]

    def remove(self, sandbox: str) -> None:
        """Let a sandbox's namespace go. The kernel takes it apart when its last process has ended."""
        link = self._sandboxes / checked(sandbox, "a sandbox")
        try:
            space = os.path.basename(os.readlink(link))
        except FileNotFoundError:
            return
        self.remove_spare(space)
        link.unlink(missing_ok=True)

    def remove_spare(self, space: str) -> None:
        """Let a namespace go that no sandbox has."""
        path = self._spaces / space
        if self._is_namespace(path):
            _unmount(path)
        path.unlink(missing_ok=True)

    @contextmanager
    def inside(self, path: str) -> Iterator[int]:
        """Within this block the thread, and each socket it opens, is in that namespace; yields its fd."""
        space = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with self._coming_home():
                _set_namespace(space)
                yield space
        finally:
            os.close(space)

    @contextmanager
    def _coming_home(self) -> Iterator[None]:
        try:
            yield
        finally:
            _set_namespace(self._home)

    def _is_namespace(self, path: Path) -> bool:
        try:
            return os.stat(path).st_dev == os.fstat(self._home).st_dev
        except FileNotFoundError:
            return False


def _remove_file(space: Path) -> None:
    """One that became a namespace since it was looked at is busy, and no stray."""
    try:
        space.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        _fail("setns")


def _mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    words = (source.encode(), os.fsencode(target), kind.encode() or None, flags, options.encode() or None)
    if _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[4]):
        _fail(f"mount of {target}")


def _unmount(target: Path) -> None:
    if _libc.umount2(os.fsencode(target), _MNT_DETACH) and ctypes.get_errno() != errno.EINVAL:
        _fail(f"unmount of {target}")


def _fail(what: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")
