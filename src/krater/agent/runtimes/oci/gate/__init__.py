"""The only way out of our own containerd: it lives in a network namespace with nothing in it but this."""
