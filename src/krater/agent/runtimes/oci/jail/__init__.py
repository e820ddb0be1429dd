"""A program that packs and unpacks archives inside a container's root, where nothing else can be reached.

It is started for one archive (`python -m krater.agent.runtimes.oci.jail`), ends with it, and imports the standard
library and `syscalls` only. In order, so that no byte of a tenant's is looked at too early:

1. import everything; afterwards nothing is importable any more (`__main__`)
2. enter: a mount namespace of its own, in which the container's root is all there is (`entering`)
3. give up capabilities, limit itself, install a system call filter (`confining`)
4. read the order, then pack or unpack (`packing`, `unpacking`), speaking in frames to the agent (`frames`)
"""
