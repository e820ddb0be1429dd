"""Who may do what: oslo.policy, with the rule names of the Container API and an operator's `policy.yaml` over them.

A decision is a pure function of the rule, the caller and the owner of the thing; it costs 170 us, so it is kept. What
the operator's file says holds within a second of its being changed; a file that cannot be understood changes nothing.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import structlog
import yaml
from oslo_config import cfg
from oslo_policy import _checks, policy

from krater.cloud.interfaces import Caller
from krater.errors import Forbidden, Invalid

_log = structlog.get_logger(__name__)

_LOOK_EVERY = 1.0
_MOST_KEPT = 20_000

_BASE = {
    "context_is_admin": "role:admin",
    "admin_or_owner": "is_admin:True or project_id:%(project_id)s",
    "admin_or_writer": "is_admin:True or (project_id:%(project_id)s and not is_reader:True)",
    "admin_api": "rule:context_is_admin",
    "deny_everybody": "!",
}

_READING = (
    *(f"container:{word}" for word in ("get_one", "get_all", "logs", "top", "stats", "get_archive", "actions")),
    *("capsule:get", "capsule:get_all", "capsule:actions", "image:search", "availability_zones:get_all"),
    *("quota:get", "quota:get_default", "registry:get_one", "registry:get_all"),
    *("network:get_all", "network:get_one", "port:get_all", "security_group:get_all", "security_group:get_one"),
    *("volume:get_all", "volume:get_one"),
    *(f"own_image:{word}" for word in ("get_all", "get_one", "export")),
)

_WRITING = (
    *(f"container:{word}" for word in ("create", "delete", "update", "start", "stop", "reboot", "rebuild", "pause")),
    *(f"container:{word}" for word in ("unpause", "kill", "rename", "execute", "execute_resize", "attach", "resize")),
    *(f"container:{word}" for word in ("put_archive", "commit", "add_security_group", "remove_security_group")),
    *(f"container:{word}" for word in ("network_attach", "network_detach", "resize_container")),
    *(f"capsule:{word}" for word in ("create", "delete", "start", "stop", "reboot")),
    *("registry:create", "registry:delete", "registry:update"),
    *("own_image:delete", "own_image:push"),
    *("network:create_own", "network:delete_own", "port:create", "port:delete"),
    *("volume:create", "volume:update", "volume:delete"),
    *(f"security_group:{word}" for word in ("create", "delete", "add_rule", "delete_rule")),
)

_ADMIN = (
    "metrics:get",
    *(f"container:create:{word}" for word in ("runtime", "image_pull_policy", "requested_destination")),
    *(f"container:get_one:{field}" for field in ("host", "image_pull_policy", "privileged", "runtime")),
    *("container:delete_all_projects", "container:delete_force", "container:get_one_all_projects"),
    *("container:get_all_all_projects", "container:action:events"),
    *("capsule:delete_all_projects", "capsule:get:host", "capsule:get_one_all_projects"),
    *("capsule:get_all_all_projects", "image:pull", "image:get_all", "image:get_one", "image:delete"),
    *("host:get_all", "host:get"),
    *(f"zun-service:{word}" for word in ("get_all", "enable", "disable", "force_down", "delete")),
    "network:create_own:shared",
    *("quota:update", "quota:delete", "quota_class:get", "quota_class:update", "registry:get_all_all_projects"),
)

DEFAULTS: dict[str, str] = {
    **_BASE,
    **dict.fromkeys(_READING, "rule:admin_or_owner"),
    **dict.fromkeys(_WRITING, "rule:admin_or_writer"),
    **dict.fromkeys(_ADMIN, "rule:admin_api"),
    **dict.fromkeys(("network:create", "network:delete", "network:attach_external_network"), "role:admin"),
    "container:create:privileged": "rule:deny_everybody",
}
FIELD_RULES = "container:get_one:"

_Key = tuple[str, tuple[str, ...], str, str, str, str]


class Policies:
    """The rules in force, and decisions by them."""

    def __init__(self, path: Path | None = None, *, required: bool = False) -> None:
        """`path` is the operator's file, which need not exist (yet) unless it is `required`. Invalid when it cannot
        be understood."""
        conf = cfg.ConfigOpts()
        conf(args=[], default_config_files=[], default_config_dirs=[])
        self._enforcer = policy.Enforcer(conf, use_conf=False)
        self._path, self._required = path, required
        self._seen: tuple[int, int] | None = None
        self._looked = 0.0
        self._kept: dict[_Key, bool] = {}
        self._hidden: dict[tuple[tuple[str, ...], str, str, str, str], frozenset[str]] = {}
        self._fields: tuple[str, ...] = ()
        self._load(_stamp(path))

    def refresh(self) -> None:
        """Look, at most once a second, whether the operator changed the file."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return
        try:
            self._load(stamp)
            _log.info("policy file read", path=str(self._path))
        except Invalid as error:
            self._seen = stamp
            _log.error("the policy file is ignored until it is mended", reason=error.message)

    def allows(self, caller: Caller, rule: str, project: str, user: str) -> bool:
        """Whether the caller may, on a thing of `project` and `user`. A rule nobody knows allows nothing."""
        key = (rule, caller.roles, caller.project_id, caller.user_id, project, user)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._decide(rule, caller, project, user)
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = kept
        return kept

    def require(self, caller: Caller, rule: str, project: str, user: str) -> None:
        """Forbidden unless it is allowed."""
        if not self.allows(caller, rule, project, user):
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.")

    def has_rule(self, rule: str) -> bool:
        """Whether there is such a rule: those of fields are for the operator to add."""
        return rule in self._enforcer.rules

    def is_admin(self, caller: Caller) -> bool:
        """Whether policy counts the caller as an administrator."""
        return self.allows(caller, "context_is_admin", caller.project_id, caller.user_id)

    def hidden_fields(self, caller: Caller, project: str, user: str) -> frozenset[str]:
        """The fields of a container that this caller may not see: those with a rule of their own that says no."""
        key = (caller.roles, caller.project_id, caller.user_id, project, user)
        hidden = self._hidden.get(key)
        if hidden is None:
            hidden = frozenset(f for f in self._fields if not self.allows(caller, FIELD_RULES + f, project, user))
            if len(self._hidden) >= _MOST_KEPT:
                self._hidden.clear()
            self._hidden[key] = hidden
        return hidden

    def _decide(self, rule: str, caller: Caller, project: str, user: str) -> bool:
        creds = {
            "roles": list(caller.roles),
            "user_id": caller.user_id,
            "project_id": caller.project_id,
            "is_admin": rule != "context_is_admin" and self.is_admin(caller),
            "is_reader": set(caller.roles) == {"reader"},
        }
        return bool(self._enforcer.enforce(rule, {"project_id": project, "user_id": user}, creds))

    def _load(self, stamp: tuple[int, int] | None) -> None:
        if stamp is None and self._required:  # its rules may forbid what the defaults allow
            raise Invalid(f"{self._path}: the policy file is not there")
        rules = {**DEFAULTS, **(_read(self._path) if self._path is not None and stamp is not None else {})}
        checks = policy.Rules.from_dict(rules)
        _refuse_nonsense(rules, checks)
        self._enforcer.set_rules(checks, overwrite=True, use_conf=False)
        self._seen = stamp
        self._kept.clear()
        self._hidden.clear()
        self._fields = tuple(name.removeprefix(FIELD_RULES) for name in rules if name.startswith(FIELD_RULES))


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """What changes when the file does; None when there is no file."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found is not None else None


def _read(path: Path) -> Mapping[str, str]:
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Invalid(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    rules = {} if read is None else read
    if not isinstance(rules, dict) or not all(isinstance(v, str) for kv in rules.items() for v in kv):
        raise Invalid(f'{path}: expected lines of the form `"rule": "check"`')
    _warn_of_unknown(path, rules)
    return rules


def _warn_of_unknown(path: Path, rules: Iterable[str]) -> None:
    """An operator may define rules for use in others, so a name nobody asks for is worth a word but no refusal."""
    for rule in rules:
        if ":" in rule and rule not in DEFAULTS and not rule.startswith(FIELD_RULES):
            _log.warning("policy rule that nothing asks for", path=str(path), rule=rule)


def _refuse_nonsense(rules: Mapping[str, str], checks: Mapping[str, object]) -> None:
    """oslo.policy reads what it cannot parse as `never`, and notices a circle only when asked."""
    for name, text in rules.items():
        if isinstance(checks[name], _checks.FalseCheck) and text.strip() != "!":
            raise Invalid(f"policy rule {name}: {text!r} is not a check")
        _follow(name, checks, ())


def _follow(name: str, checks: Mapping[str, object], above: tuple[str, ...]) -> None:
    if name in above:
        raise Invalid(f"policy rule {name} refers to itself through {' -> '.join(above)}")
    for other in _named_in(checks.get(name)):
        if other not in checks:
            raise Invalid(f"policy rule {name} refers to rule {other}, which does not exist")
        _follow(other, checks, (*above, name))


def _named_in(check: object) -> Iterable[str]:
    """The rules a check refers to."""
    if isinstance(check, _checks.RuleCheck):
        yield check.match
    elif isinstance(check, _checks.NotCheck):
        yield from _named_in(check.rule)
    elif isinstance(check, _checks.AndCheck | _checks.OrCheck):
        for part in check.rules:
            yield from _named_in(part)
