"""Keep documents by kind and key: in SQL, in MongoDB or in DynamoDB, with the same answers from each.

A document is plain JSON under a `kind`, such as `metrics/zones`, and a `key` within it, such as `2025-10-14`.
Keys of a kind are ordered as their UTF-8 bytes are.
"""

from ecluse.documents.backend import Document
from ecluse.documents.backends import open_documents
from ecluse.documents.canonical import TEXT_LIMIT, Body
from ecluse.documents.store import Documents, Page

__all__ = ["TEXT_LIMIT", "Body", "Document", "Documents", "Page", "open_documents"]
