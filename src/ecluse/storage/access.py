"""Say how to reach the stores of a provider, apart from what sends requests: settings are read without loading that."""

from __future__ import annotations

from dataclasses import dataclass, field

from ecluse.settings import Secret


@dataclass(frozen=True)
class S3Settings:
    """How to reach an S3-compatible store. Without keys: the ambient AWS credentials.

    `other` is how to reach a second one, that of `other_buckets`.
    """

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = field(default=None, repr=False)
    secret_key: Secret | None = field(default=None, repr=False)
    session_token: Secret | None = field(default=None, repr=False)
    anonymous: bool = False
    other: S3Settings | None = None
    other_buckets: frozenset[str] = frozenset()

    def to_bucket(self, bucket: str) -> S3Settings:
        """Return how to reach one bucket."""
        return self.other if self.other is not None and bucket in self.other_buckets else self


@dataclass(frozen=True)
class AzureSettings:
    """How to reach Azure Blob Storage. Without a key: the ambient identity."""

    account: str | None = None
    key: Secret | None = field(default=None, repr=False)
    endpoint: str | None = None
