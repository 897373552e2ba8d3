"""Engines that run the same edits elsewhere than in hooks: nnsight's trace, here or on a server."""
