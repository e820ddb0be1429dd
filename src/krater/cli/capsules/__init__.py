"""The commands of `krater capsule`, by topic."""
