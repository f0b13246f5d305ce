"""Open SQL databases whose connections wait for a server that works, and say within seconds that one has fallen silent.

A server that computes for a minute and one that is stopped look the same from a connection that waits. So who waits
asks it now and then for another connection: one that works gives it, one that does not answer is away.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from select import POLLIN, poll
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError

from ecluse import __version__, tracing
from ecluse.limits import WORKING, Limits
from ecluse.sentences import _, pack, unpack

if TYPE_CHECKING:
    import psycopg

#: How our connections to PostgreSQL call themselves, before the release.
NAME: Final = "ecluse"
#: Seconds of silence after which a second connection checks whether the server still answers, and the time limit of
#: that check.
SILENCE: Final = 3.0
#: The longest time between two such checks (s), as a statement may run for minutes.
_LONGEST_PAUSE: Final = 60.0
#: Options of libpq unless the address sets them: seconds until a connection is made, and until the system notices a
#: broken one, when it is idle (keepalives) and when bytes are on their way (ms).
_LINE: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
#: Seconds that a writer waits for another one to release SQLite.
SQLITE_PATIENCE: Final = 30.0
#: The same, on any database, for writes that can as well be made later.
IMPATIENCE: Final = 0.2


def _write_json(document: Any) -> str:
    return json.dumps(pack(document))


#: What most columns of JSON hold.
_EMPTY: Final[dict[bytes | str, Callable[[], Any]]] = {
    b"{}": dict, "{}": dict, b"[]": list, "[]": list, b"null": lambda: None, "null": lambda: None,
}  # fmt: skip


def _read_json(text: bytes | str) -> Any:
    if (make := _EMPTY.get(text)) is not None:
        return make()
    document = json.loads(text)
    try:
        return unpack(document)
    except ValueError:
        return document  # not of `pack`: a row of before with a key of that name; it is shown as it is


#: The verb of a statement, and the first table that it names.
_STATEMENT: Final = re.compile(
    r"\s*(\w+)(?:.{0,20000}?\b(?:FROM|INTO|UPDATE)\s+\"?(\w+))?", re.DOTALL | re.IGNORECASE
)
_SPAN: Final = "ecluse_span"
#: When a connection was given back, by the clock of the process.
_USED: Final = "ecluse_used"
#: Seconds for which a connection is taken to lead to the server as it did, if nothing is heard.
_ANSWERED_LATELY: Final = 1.0
#: JSON columns keep what the sentences in them are made of.
_JSON: Final[dict[str, Any]] = {"json_serializer": _write_json, "json_deserializer": _read_json}


def open_engine(url: str, limits: Limits = WORKING, revision: str = "") -> Engine:
    """Return the database at `url`. On SQLite writers wait for one another and readers for no one.

    A transaction with the execution option `ecluse_write` writes; with `ecluse_patient=False` as well it gives up at
    once where another one is in its way. Connections to PostgreSQL call themselves by the release, and by the
    `revision` of the tables that they are for.
    """
    if not url.startswith("sqlite"):
        engine = create_engine(url, **_JSON, pool_timeout=limits.turn)
        event.listen(engine, "do_connect", _connecting(limits, f"{NAME} {__version__} {revision}".strip()))
        event.listen(engine, "begin", _begin_postgresql)
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", _expecting_answer(engine))
        _follow(engine)
        return engine
    engine = create_engine(url, **_JSON, connect_args={"timeout": SQLITE_PATIENCE})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    _follow(engine)
    return engine


def close_engine(engine: Engine) -> None:
    """Close the connections of a database: those that are free now, and those in use when they are given back."""
    event.listen(engine.pool, "checkin", lambda _, record: record.invalidate())
    engine.dispose()


def _follow(engine: Engine) -> None:
    """Let each statement be a part of the trace that it belongs to: its verb and table, never its text or values."""

    def before(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        if not tracing.is_followed():
            return
        words = _STATEMENT.match(statement)
        verb, table = (words[1].upper(), words[2] or "") if words else ("SQL", "")
        values = {"db.system.name": engine.dialect.name, "db.collection.name": table}
        connection.info[_SPAN] = tracing.begin_part(f"sql {verb} {table}".rstrip(), values)

    def after(connection: Connection, *_: Any) -> None:
        span: tracing.Span | None = connection.info.pop(_SPAN, None)
        if span is not None:
            span.end()

    def failed(context: Any) -> None:
        span = context.connection and context.connection.info.pop(_SPAN, None)
        if span is not None:
            span.end(type(context.sqlalchemy_exception or context.original_exception).__name__)

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", failed)


def lift_limits(connection: Connection) -> None:
    """Let this transaction take as long as it needs."""
    if connection.dialect.name == "postgresql":
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {name} = 0")


@contextmanager
def remade(connection: Connection) -> Iterator[None]:
    """Begin a transaction in which tables may be made anew, and commit it.

    To SQLite a table that is dropped, if only to be made anew, is one whose rows are deleted, with those of other
    tables that point at them. So nothing follows a foreign key here, and each is checked at the end:
    https://www.sqlite.org/lang_altertable.html#otheralter
    """
    if connection.dialect.name != "sqlite":
        with connection.begin():
            yield
        return
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA foreign_keys=OFF")
    try:
        with connection.begin():
            yield
            lost = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
            if lost is not None:
                raise sqlite3.IntegrityError(f"A row of {lost[0]} points at a row of {lost[2]} that is gone.")
    finally:
        driver.execute("PRAGMA foreign_keys=ON")


@dataclass(frozen=True)
class Reason:
    """Why PostgreSQL does not do as asked, with the way out; `of_disk`: its disk is full or can only be read."""

    text: str
    of_disk: bool = False
    of_limit: bool = False


def why_postgresql_fails(error: BaseException) -> Reason | None:
    """Return what PostgreSQL's error means for who runs Écluse; None where it means something else."""
    return _REASONS.get(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


#: By SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
_REASONS: Final = {
    "53100": Reason(
        _("The disk of the PostgreSQL server is full. Free some room there, then try again."), True
    ),
    "25006": Reason(
        _(
            "The PostgreSQL server can only be read: it is a standby, or set so. Name the primary "
            "in DATABASE_URL."
        ),
        True,
    ),
    "53300": Reason(
        _("The PostgreSQL server has no connection left. Try again, or raise its max_connections.")
    ),
    "55P03": Reason(_("Another transaction has kept what this needs locked for too long. Try again.")),
    "57014": Reason(
        _("PostgreSQL took longer than this may take, and was stopped. Try again when less is asked of it."),
        of_limit=True,
    ),
}


# SQLite


def _configure_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver begins no transaction of its own; `_begin_sqlite` does
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock at once where a write is meant, so that two writers wait instead of failing."""
    options = connection.get_execution_options()
    if not options.get("ecluse_write", False):
        connection.exec_driver_sql("BEGIN")
        return
    if options.get("ecluse_patient", True):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(IMPATIENCE * 1000)}")
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(SQLITE_PATIENCE * 1000)}")


# PostgreSQL


def _begin_postgresql(connection: Connection) -> None:
    if not connection.get_execution_options().get("ecluse_patient", True):
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(IMPATIENCE * 1000)}")


def _note_use(connection: Any, record: Any) -> None:
    if connection is not None:
        record.info[_USED] = time.monotonic()


def _expecting_answer(engine: Engine) -> Callable[..., None]:
    """Return what makes sure that a connection which others have used still leads to the server, before it is used.

    It is asked, unless it has answered within the second and nothing has come since: a server that ends a connection
    says so, or its system does.
    """

    def expect_answer(connection: Any, record: Any, _: Any) -> None:
        used = record.info.get(_USED)
        if used is None:  # it is new
            return
        if time.monotonic() - used < _ANSWERED_LATELY and _is_quiet(connection):
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    return expect_answer


def _is_quiet(connection: psycopg.Connection[Any]) -> bool:
    """Say whether a connection is open, and nothing has come over it that nobody asked for, such as its end."""
    if connection.closed:
        return False
    looking = poll()
    looking.register(connection.pgconn.socket, POLLIN)
    return not looking.poll(0)


def _connecting(limits: Limits, name: str) -> Callable[..., Any]:
    """Return what SQLAlchemy connects with: a connection that notices when its server falls silent."""
    server = _Server()

    def connect(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        chosen = {**_LINE, "application_name": name, **options}
        connection = server.connect(chosen)
        if "options" not in options:  # who names some of the server's in the address knows best
            try:
                _set_limits(connection, limits)
            except BaseException:
                connection.close()
                raise
        return connection

    return connect


def _set_limits(connection: psycopg.Connection[Any], limits: Limits) -> None:
    milliseconds = {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        "idle_in_transaction_session_timeout": limits.idle,
    }
    calls = ", ".join(f"set_config('{name}', '{int(s * 1000)}', false)" for name, s in milliseconds.items())
    connection.autocommit = True
    connection.execute(f"SELECT {calls}".encode())
    connection.autocommit = False


class _Server:
    """Whether a server answers, for all the connections of an engine: one asks, and the others take its word."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered_at = self._silent_at = float("-inf")

    def connect(self, options: dict[str, Any]) -> Any:
        """Return a connection; at once an error where another one has just found that the server does not answer."""
        from psycopg import OperationalError
        from psycopg.errors import ConnectionTimeout

        if time.monotonic() - self._silent_at < SILENCE:
            raise OperationalError(_SILENT)
        try:
            connection = _attentive().connect(**options)
        except ConnectionTimeout:
            self._silent_at = time.monotonic()
            raise
        connection.heed(self, options)
        self._answered_at = time.monotonic()
        return connection

    def answers(self, options: dict[str, Any]) -> bool:
        """Return whether it still gives a connection, or refuses it; false where it says nothing at all."""
        from psycopg import Connection, OperationalError
        from psycopg.errors import ConnectionTimeout

        with self._lock:
            now = time.monotonic()
            if now - max(self._answered_at, self._silent_at) < SILENCE / 2:
                return self._answered_at > self._silent_at
            try:
                Connection.connect(**{**options, "connect_timeout": int(SILENCE)}).close()
            except ConnectionTimeout:
                self._silent_at = time.monotonic()
                return False
            except OperationalError:
                pass  # it has no connection left, or is gone: then the one that waits is told so
            self._answered_at = time.monotonic()
            return True


_SILENT: Final = _("it has fallen silent")
_attentive_type: Any = None


def _attentive() -> Any:
    """Return the class of connections that notice silence; made when PostgreSQL is used, as its driver is imported
    then.
    """
    global _attentive_type
    if _attentive_type is None:
        _attentive_type = _make_attentive()
    return _attentive_type


def _make_attentive() -> Any:
    import psycopg

    class Attentive(psycopg.Connection[Any]):
        """A connection that is closed, with an error, once its server no longer answers others either."""

        _server: _Server | None = None
        _options: dict[str, Any]

        def heed(self, server: _Server, options: dict[str, Any]) -> None:
            self._server, self._options = server, options

        def wait(self, gen: Any, *args: Any, **named: Any) -> Any:
            return super().wait(self._attended(gen) if self._server else gen, *args, **named)

        def _attended(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
            """Pass on what the driver waits for; it says every tenth of a second when nothing has come."""
            pause, quiet_since = SILENCE, time.monotonic()
            try:
                wish = next(gen)
                while True:
                    ready = yield wish
                    moment = time.monotonic()
                    if ready:
                        pause, quiet_since = SILENCE, moment
                    elif moment - quiet_since > pause:
                        self._expect_answer()
                        pause, quiet_since = min(2 * pause, _LONGEST_PAUSE), time.monotonic()
                    wish = gen.send(ready)
            except StopIteration as ended:
                return ended.value

        def _expect_answer(self) -> None:
            if self._server is not None and not self._server.answers(self._options):
                self.pgconn.finish()
                raise psycopg.OperationalError(_SILENT)

    return Attentive
