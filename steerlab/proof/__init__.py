"""The proof of a family's row on a tiny forward."""

from steerlab.proof.prove import prove

__all__ = ["prove"]
