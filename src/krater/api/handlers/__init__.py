"""What answers each operation: read the request, check policy, ask the store or a node, show the result."""
