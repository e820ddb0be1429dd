"""The image store: containerd's content, snapshots and images over gRPC. The only place of Krater that knows gRPC."""
