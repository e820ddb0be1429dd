"""What the documents of containers depend on besides the container: limits and capabilities of this machine."""

import resource

import structlog

from krater.agent.runtimes.oci import seccomp, spec

log = structlog.get_logger()


def host_facts(limits_swap: bool, cgroup_parent: str, pids_limit: int) -> spec.HostFacts:
    """What a container's document has to say because of this machine and its settings."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_files = spec.OPEN_FILES_HARD if hard == resource.RLIM_INFINITY else hard
    if open_files < spec.OPEN_FILES_HARD:
        log.info("containers may open fewer files than usual: the host allows no more", limit=open_files)
    with open("/proc/self/oom_score_adj") as file:
        score = max(0, int(file.read()))
    return spec.HostFacts(limits_swap, open_files, score, cgroup_parent, pids_limit, seccomp.own_capabilities())
