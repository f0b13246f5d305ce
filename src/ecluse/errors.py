"""Name every error that core and shell raise on purpose, as one tree.

    EcluseError
    ├── SettingsError (ValueError)              a setting is missing or contradicts another
    ├── DiskUnusable (OSError)                  a disk of this machine is full, or cannot be read or written
    ├── StorageError
    │   ├── InvalidKey (ValueError)             a key would leave its scope or cannot be stored
    │   ├── InvalidAttribute (ValueError)       an attribute that not every store can keep
    │   ├── ObjectNotFound (FileNotFoundError)
    │   ├── ObjectExists (FileExistsError)      a create-only write lost
    │   ├── ObjectChanged                       replaced by another while it was read
    │   ├── KeyConflict (FileExistsError)       a folder of this name, or a file of that of its folder, is there
    │   ├── StoreUnavailable (ConnectionError)  the store does not answer; nothing was recorded
    │   │   ├── BucketNotFound                  the store answers, and has no such bucket
    │   │   └── StoreUnwritable (DiskUnusable)  it is a folder, and its disk is full or can only be read
    │   ├── ConditionalWritesMissing            the store lets two writers take one name
    │   ├── CannotSign (ValueError)             the store has no signed addresses, or not for so long
    │   ├── UploadTooLarge (ValueError)
    │   └── DiskFull (DiskUnusable)             a local disk has no room; nothing was kept
    ├── RegistryError
    │   ├── ModelNotFound (LookupError)
    │   ├── VersionNotFound (LookupError)
    │   │   └── AliasNotFound
    │   ├── VersionInUse (ValueError)           an alias points at a version that is to be deleted
    │   ├── ManifestInvalid (ValueError)
    │   ├── DigestMismatch (ValueError)         a file is not what its manifest says
    │   ├── SignatureInvalid (ValueError)       there is no signature, or it is not that of the key
    │   ├── UploadIncomplete (ValueError)       a version is to be committed of which parts are lacking
    │   └── UploadCommitted (ValueError)        an upload is to be given up whose version is there
    ├── CatalogError
    │   ├── CatalogUnavailable (ConnectionError)
    │   │   ├── CatalogDamaged                  its file is not, or no longer, a database
    │   │   └── CatalogUnwritable (DiskUnusable) its disk is full, can only be read, or is not to be written by us
    │   └── NotFound (LookupError)              no such row, or it is someone else's
    │       └── LinkOver                        a link that was used or taken back, or whose time is over
    ├── AccountError
    │   ├── NotSignedIn (PermissionError)
    │   │   └── SecondFactorNeeded              the password was right, and the code is asked for
    │   ├── KeyMissing (LookupError)            what is encrypted cannot be read: its key is not here
    │   ├── Forbidden (PermissionError)
    │   │   ├── SecondFactorMissing             this account has to set up a second factor before anything else
    │   │   ├── NotProven                       it needs the password of the account, or the terminal
    │   │   └── OutOfScope                      the token is for something else, or for another model
    │   ├── LastAdministrator (ValueError)      without this account none would administer
    │   ├── InvalidCredentials (ValueError)
    │   ├── TooManyAttempts (PermissionError)   it says when to try again
    │   │   └── PasswordsBusy                   more passwords are to be hashed at once than there is room for
    │   ├── ProviderUnavailable (ConnectionError)  by whom people sign in does not answer as it should
    │   ├── LimitReached (PermissionError)      more than the plan of an account allows; it says how to go on
    │   │   └── PlanEnded                       its time is over: what is there stays, nothing new is made
    │   ├── EmailTaken (ValueError)
    │   ├── HandleTaken (ValueError)            another person or organisation has the handle
    │   ├── LastOwner (ValueError)              without this person nobody would own the organisation
    │   └── NotAllRemoved                       of an account that is removed something is still there
    ├── JobError
    │   ├── JobNotFound (LookupError)
    │   ├── JobCancelled
    │   │   └── JobTaken
    │   ├── JobPartFailed                       a part of it failed; it says what that part said
    │   ├── JobFailed                           a job ended by a fault of ours; the log has the reference
    │   └── JobsUnavailable (ConnectionError)
    ├── ApplicationBroken                       an application, or a part of one, cannot be imported; it is left out
    ├── MailNotSent (ConnectionError)           a server of mail does not answer, or not now
    ├── MailRefused (ValueError)                no server takes a mail, whenever it is sent again
    ├── ServersUnavailable (ConnectionError)    the servers of this machine cannot be started
    ├── ReaderStopped                           what read a file in a process of its own was ended, or ended itself
    ├── Overloaded                              more is asked at once than this process takes; try again soon
    ├── ModelStopped                            the process in which a model answers was ended; try again soon
    ├── MigrationError
    │   ├── MigrationConflict (FileExistsError) another content is at the destination; it was left as it is
    │   ├── MigrationHeld                       another process is at work on it
    │   └── MigrationStopped                    it ended early and can be continued
    ├── HomeClosed                              the home moves or has moved: it is read here, and not changed
    ├── MoveError
    │   ├── MoveRefused (ValueError)            it cannot begin, or cannot be undone; nothing was changed
    │   └── MoveStopped                         it ended early and can be continued
    ├── InvalidInput (ValueError)               a form field or argument that cannot be used
    ├── UnreadableTable (ValueError)            a file that is no table we can read
    ├── UnreadableRecord (ValueError)           stored JSON is not what its type says
    ├── DocumentError
    │   ├── DocumentNotFound (LookupError)
    │   ├── InvalidDocument (ValueError)        a document that not every database can keep
    │   ├── DocumentsUnavailable (ConnectionError)  the database of the documents does not answer
    │   │   └── DocumentsUnwritable (DiskUnusable)  its disk is full, can only be read, or is not to be written by us
    │   └── DocumentsMissing (LookupError)      its tables or indexes are not there: ecluse documents create
    ├── CannotRepeat (ValueError)               a training cannot be made again as it was
    ├── NonceTaken (ValueError)                 something else was begun by this nonce
    ├── RunClosed (ValueError)                  a run has ended, or is written by an application of ours
    ├── ModelUnreadable (ValueError)            a model file is damaged or of a foreign format
    ├── ModelRefused (ValueError)               a model cannot be published as it is; it says the way out
    ├── ServerAway (ConnectionError)            the server that a program signed in to does not answer
    └── ServerRefused                           it answers in a way that this client does not know

Those of one application alone stand in its `errors.py`.

Each message states the fact, the offending value and the next action. `code` is the stable name that the
HTTP API and `--json` show; `status` is the HTTP status it maps to.
"""

from __future__ import annotations

from typing import ClassVar, Literal


class EcluseError(Exception):
    """Root of the tree. `str(error)` is written for the person who can act on it.

    Where the way out differs by where a person stands, `command` is that of a terminal and `call` that of a program;
    a page offers its own.
    """

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500

    def __init__(self, *args: object, command: str = "", call: str = "") -> None:
        super().__init__(*args)
        self.command = command
        self.call = call


class SettingsError(EcluseError, ValueError):
    code = "invalid_settings"


class DiskUnusable(EcluseError, OSError):
    code = "disk_unusable"
    status = 503


class StorageError(EcluseError):
    code = "storage_error"


class InvalidKey(StorageError, ValueError):
    code = "invalid_key"
    status = 400


class InvalidAttribute(StorageError, ValueError):
    code = "invalid_attribute"
    status = 400


class ObjectNotFound(StorageError, FileNotFoundError):
    code = "object_not_found"
    status = 404


class ObjectExists(StorageError, FileExistsError):
    code = "object_exists"
    status = 409


class StoreUnavailable(StorageError, ConnectionError):
    code = "store_unavailable"
    status = 503


class StoreSilent(StoreUnavailable):
    """A store gives no answer, or none of its own making, which passes; it has refused nothing."""


class StoreUnwritable(StoreUnavailable, DiskUnusable):
    code = "store_unwritable"


class ObjectChanged(StorageError):
    code = "object_changed"
    status = 409


class KeyConflict(StorageError, FileExistsError):
    code = "key_conflict"
    status = 409


class BucketNotFound(StoreUnavailable):
    code = "bucket_not_found"


class ConditionalWritesMissing(StorageError):
    code = "conditional_writes_missing"


class CannotSign(StorageError, ValueError):
    code = "cannot_sign"
    status = 409


class UploadTooLarge(StorageError, ValueError):
    code = "upload_too_large"
    status = 413


class DiskFull(StorageError, DiskUnusable):
    code = "disk_full"
    status = 507


class RegistryError(EcluseError):
    code = "registry_error"


class ModelNotFound(RegistryError, LookupError):
    code = "model_not_found"
    status = 404


class VersionNotFound(RegistryError, LookupError):
    code = "version_not_found"
    status = 404


class AliasNotFound(VersionNotFound):
    code = "alias_not_found"


class VersionInUse(RegistryError, ValueError):
    code = "version_in_use"
    status = 409


class ManifestInvalid(RegistryError, ValueError):
    code = "manifest_invalid"
    status = 409


class DigestMismatch(RegistryError, ValueError):
    code = "digest_mismatch"
    status = 409


class SignatureInvalid(RegistryError, ValueError):
    code = "signature_invalid"
    status = 409


class UploadIncomplete(RegistryError, ValueError):
    code = "upload_incomplete"
    status = 409


class UploadCommitted(RegistryError, ValueError):
    code = "upload_committed"
    status = 409


class CatalogError(EcluseError):
    code = "catalog_error"


class CatalogUnavailable(CatalogError, ConnectionError):
    code = "catalog_unavailable"
    status = 503


class CatalogTooSlow(CatalogUnavailable):
    """A statement took longer than it may: asked again as it is, it would again."""


class CatalogDamaged(CatalogUnavailable):
    code = "catalog_damaged"


class CatalogUnwritable(CatalogUnavailable, DiskUnusable):
    code = "catalog_unwritable"


class NotFound(CatalogError, LookupError):
    code = "not_found"
    status = 404


class LinkOver(NotFound):
    """A link that was used or taken back, or whose time is over: the page says so."""


class AccountError(EcluseError):
    code = "account_error"
    status = 400


class NotSignedIn(AccountError, PermissionError):
    code = "not_signed_in"
    status = 401


class SecondFactorNeeded(NotSignedIn):
    code = "second_factor_needed"

    def __init__(self, message: str, step: str) -> None:
        """`step`: the secret with which this browser goes on; it is good for that alone."""
        super().__init__(message)
        self.step = step


class KeyMissing(AccountError, LookupError):
    code = "key_missing"
    status = 409


class Forbidden(AccountError, PermissionError):
    code = "forbidden"
    status = 403


class OrganisationClosed(Forbidden):
    code = "organisation_closed"


class NotProven(Forbidden):
    code = "not_proven"


class SecondFactorMissing(Forbidden):
    code = "second_factor_missing"


class OutOfScope(Forbidden):
    code = "out_of_scope"


class LastAdministrator(AccountError, ValueError):
    code = "last_administrator"
    status = 409


class InvalidCredentials(AccountError, ValueError):
    code = "invalid_credentials"
    status = 401


class TooManyAttempts(AccountError, PermissionError):
    code = "too_many_attempts"
    status = 429

    def __init__(self, message: str, seconds: int) -> None:
        """`seconds`: when to try again."""
        super().__init__(message)
        self.seconds = seconds


class PasswordsBusy(TooManyAttempts):
    code = "passwords_busy"


class ProviderUnavailable(AccountError, ConnectionError):
    code = "provider_unavailable"
    status = 503


class LimitReached(AccountError, PermissionError):
    code = "limit_reached"
    status = 402


class PlanEnded(LimitReached):
    code = "plan_ended"


class EmailTaken(AccountError, ValueError):
    code = "email_taken"
    status = 409


class HandleTaken(AccountError, ValueError):
    code = "handle_taken"
    status = 409


class LastOwner(AccountError, ValueError):
    code = "last_owner"
    status = 409


class NotAllRemoved(AccountError):
    code = "not_all_removed"
    status = 409


class JobError(EcluseError):
    code = "job_error"


class JobNotFound(JobError, LookupError):
    code = "job_not_found"
    status = 404


class JobCancelled(JobError):
    code = "job_cancelled"
    status = 409


class JobTaken(JobCancelled):
    """What a worker wants to write for a job that is no longer its own."""

    code = "job_taken"


class JobWaits(JobError):
    """What a job raises that waits for others: it leaves its place, and is run again after so many seconds."""

    code = "job_waits"

    def __init__(self, message: str, seconds: int, parts: int = 0) -> None:
        """`parts`: how many parts of its own it waits for."""
        super().__init__(message)
        self.seconds = seconds
        self.parts = parts


class JobPartFailed(JobError):
    code = "job_part_failed"


class JobFailed(JobError):
    code = "job_failed"


class JobsUnavailable(JobError, ConnectionError):
    code = "jobs_unavailable"
    status = 503


class ApplicationBroken(EcluseError):
    code = "application_broken"


class MailNotSent(EcluseError, ConnectionError):
    code = "mail_not_sent"
    status = 503


class MailRefused(EcluseError, ValueError):
    code = "mail_refused"
    status = 422


class ServersUnavailable(EcluseError, ConnectionError):
    code = "servers_unavailable"
    status = 503


class ReaderStopped(EcluseError):
    """Who asks for a reading says what it means for its kind of file."""

    code, status = "reader_stopped", 422

    def __init__(
        self, why: Literal["memory", "time", "size", "crash", "ended"], limit: int, detail: str = ""
    ) -> None:
        """`limit`: bytes of memory or of a file, or seconds; of a crash the signal. `detail` is for the log alone."""
        super().__init__(f"A file could not be read within its limits ({why}, {limit}).")
        self.why, self.limit, self.detail = why, limit, detail


class Overloaded(EcluseError):
    code, status = "overloaded", 503

    def __init__(self, message: str, seconds: int = 2) -> None:
        """`seconds`: when to try again."""
        super().__init__(message)
        self.seconds = seconds


class ModelStopped(EcluseError):
    """The process in which a model answers was ended: by its files, by its limits, or from outside."""

    code, status = "model_stopped", 503

    def __init__(self, message: str, seconds: int = 2) -> None:
        """`seconds`: when to try again."""
        super().__init__(message)
        self.seconds = seconds


class MigrationError(EcluseError):
    code = "migration_error"
    status = 409


class MigrationConflict(MigrationError, FileExistsError):
    code = "migration_conflict"


class MigrationHeld(MigrationError):
    code = "migration_held"


class MigrationStopped(MigrationError):
    code = "migration_stopped"


class HomeClosed(EcluseError):
    code = "home_closed"
    status = 503


class MoveError(EcluseError):
    code = "move_error"
    status = 409


class MoveRefused(MoveError, ValueError):
    code = "move_refused"


class MoveStopped(MoveError):
    code = "move_stopped"


class BackupError(EcluseError):
    """A backup cannot be made, read or restored; the message says why and what to do."""

    code = "backup_error"
    status = 409


class BackupNotFound(BackupError, LookupError):
    code = "backup_not_found"
    status = 404


class InvalidInput(EcluseError, ValueError):
    code = "invalid_input"
    status = 422


class UnreadableTable(EcluseError, ValueError):
    code = "unreadable_table"
    status = 422


class UnreadableRecord(EcluseError, ValueError):
    code = "unreadable_record"


class DocumentError(EcluseError):
    code = "document_error"


class DocumentNotFound(DocumentError, LookupError):
    code, status = "document_not_found", 404


class InvalidDocument(DocumentError, ValueError):
    code, status = "invalid_document", 422


class DocumentsUnavailable(DocumentError, ConnectionError):
    code, status = "documents_unavailable", 503


class DocumentsUnwritable(DocumentsUnavailable, DiskUnusable):
    code = "documents_unwritable"


class DocumentsMissing(DocumentError, LookupError):
    code, status = "documents_missing", 503


class CannotRepeat(EcluseError, ValueError):
    code, status = "cannot_repeat", 422


class NonceTaken(EcluseError, ValueError):
    code, status = "nonce_taken", 409


class RunClosed(EcluseError, ValueError):
    code, status = "run_closed", 409


class ModelUnreadable(EcluseError, ValueError):
    code, status = "model_unreadable", 422


class ModelRefused(EcluseError, ValueError):
    code, status = "model_refused", 422


class ServerAway(EcluseError, ConnectionError):
    code, status = "server_away", 503


class ServerRefused(EcluseError):
    code, status = "server_refused", 502
