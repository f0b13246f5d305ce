"""Train, publish and load your own models from a notebook or a program: at a server, or in the folder `.ecluse`."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from ecluse.client.backend import Backend, JobState, Publication, Version
from ecluse.client.surroundings import git_commit
from ecluse.client.tracked import Run, current
from ecluse.errors import InvalidInput, NotSignedIn
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl

    from ecluse.client.credentials import Credentials
    from ecluse.client.package import Loaded

#: Models that `predict` keeps loaded.
_KEPT: Final = 3
#: How often a job is asked about that is waited for (s).
_POLL_SECONDS: Final = 1.0


class Client:
    """Where runs and versions are kept: a server with a token, or without them the folder `.ecluse` of this machine.

    The functions of the package (`ecluse.run`, `ecluse.load` …) are those of one client that is made when it is needed.

    >>> with ecluse.Client(home=folder) as client:
    ...     client.models().height
    0
    """

    def __init__(
        self, url: str | None = None, token: str | None = None, *, home: Path | str | None = None
    ) -> None:
        """Connect to the server at `url`, with `token` or the one that was signed in with.

        Without a `url`: to that of ECLUSE_URL, or the one signed in to last; where there is none, to the folder of this
        machine, ECLUSE_HOME or `.ecluse` here. With `home` to that folder in any case.
        """
        self._backend = _backend(url, token, home)
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    @property
    def address(self) -> str:
        """Return the address of the server, or the folder."""
        return self._backend.address

    def __repr__(self) -> str:
        return f"Client({self.address!r})"

    def close(self) -> None:
        """Close what is open; the client is not used any more."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, name: str, /, *, tags: Mapping[str, Any] | None = None, **parameters: Any) -> Run:
        """Begin a run of your own: a training of the model `name`, or @ORGANISATION/NAME, with these parameters.

        The commit of the code, the program and the versions of libraries are noted by themselves.

        >>> with ecluse.run("waves", rounds=2) as run:
        ...     for step in range(2):
        ...         run.log(step, loss=1 / (step + 1))
        """
        return Run(self._backend, name, parameters, tags or {}, self.publish)

    def publish(
        self,
        model: Any,
        name: str,
        *,
        example: Any = None,
        metrics: Mapping[str, float] | None = None,
        alias: str | None = None,
        run: str | None = None,
    ) -> Version:
        """Publish a model as a new version of `name`; return the version.

        `model` is one of scikit-learn, XGBoost, LightGBM or CatBoost, a network of torch, a graph (the path of an
        `.onnx`), or the path of a folder or file. Nothing is pickled. `example` are some rows as the model takes them:
        their names, types and ranges are noted, and its first rows are kept with the version. The model is loaded in a
        fresh process, and published only if it answers the example as it does here. `alias`: a name to point at the
        version. A name such as @acme/churn publishes for the organisation @acme, in which you are owner or member.

        >>> from sklearn.linear_model import LinearRegression
        >>> model = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
        >>> version = ecluse.publish(model, "line", example=numpy.array([[0.0], [10.0]]), alias="production")
        >>> version.kind, version.aliases
        ('sklearn', ('production',))

        Raises:
            ModelRefused: it cannot be kept without a pickle, or is another when it is loaded. It says the way out.
        """
        from ecluse.client.package import pack
        from ecluse.client.progress import shown
        from ecluse.client.selftest import prove
        from ecluse.registry import checked_alias, checked_name, split_owner

        checked_name(split_owner(name)[1])
        if alias is not None:
            checked_alias(alias)
        with tempfile.TemporaryDirectory(prefix="ecluse-publish-") as folder:
            packed = pack(model, Path(folder), example)
            if packed.paths == (packed.folder,):
                prove(packed.folder)
            metadata = dict(packed.metadata)
            if commit := git_commit():
                metadata["git_commit"] = commit
            if metrics:
                metadata["metrics"] = {metric: float(value) for metric, value in metrics.items()}
            publication = Publication(name, uuid.uuid4().hex, packed.paths, metadata, run, alias)
            with shown(f"Publishing {name}", _size(packed.paths)) as progress:
                return self._backend.publish(publication, progress)

    def load(self, reference: str, *, to: Path | str | None = None) -> Any:
        """Return the model of a version: NAME (its latest), NAME@VERSION or NAME@ALIAS, every file verified.

        `to`: a folder that the files are written to as well; without one nothing stays on disk. Of a version that is a
        folder of files, that folder is returned. A network of torch comes back as what answers `predict(rows)` without
        torch, as a class cannot be made from a file without running code of it; its `state_dict()` gives the weights to
        a network that you make yourself.

        >>> ecluse.load("line@production").predict([[10.0]]).round(6).tolist()
        [21.0]

        Raises:
            ModelUnreadable: a file is damaged, or names what is not made from a file.
        """
        if to is not None:
            return self._unpacked(reference, Path(to)).model
        with tempfile.TemporaryDirectory(prefix="ecluse-load-") as folder:
            loaded = self._unpacked(reference, Path(folder))
            if loaded.kind.name == "folder":
                raise InvalidInput(
                    _(
                        "%(name)s is a folder of files. Say where they are to be written: load(%(value)s, to=FOLDER).",
                        name=reference,
                        value=repr(reference),
                    )
                )
            return loaded.model

    def predict(self, reference: str, rows: Any) -> pl.DataFrame:
        """Return what a version answers to rows: a table with one row for each. A server answers them itself.

        Rows are a table of Polars or pandas, a matrix, a list of texts, or a list of objects ({column: value}). They
        are checked against the schema of the example: a column that is missing or of another type is refused, and what
        the example did not have (a missing value, a text, a range) is warned of.

        >>> ecluse.predict("line@production", numpy.array([[1.0], [2.0]]))["prediction"].round(6).to_list()
        [3.0, 5.0]
        """
        from ecluse.client.answering import answer, answered_elsewhere

        version = self._backend.version(reference)
        if (answers := answered_elsewhere(self._backend, version, rows)) is not None:
            return answers
        return answer(self._kept(version), rows)

    def upload(self, rows: Any, name: str | None = None, *, owner: str | None = None) -> str:
        """Upload a table for any model; return its id.

        `owner`: the handle of an organisation in which you make things, such as @acme: the table is the organisation's.

        `rows` are a data frame of Polars or pandas, or the path of a file: delimited text, also gzipped, a workbook or
        Parquet. It is kept as Parquet with the types that it has; columns of a delimited text become numbers and truth
        values where every value is one and nothing of it is lost, such as the zeros of `007`.

        >>> import polars
        >>> ecluse.table(ecluse.upload(polars.DataFrame({"age": [41, 22]})))["age"].to_list()
        [41, 22]

        Raises:
            UnreadableTable: the file is no table, or damaged.
            NotFound, Forbidden: you belong to no such organisation, or read what it has and make nothing.
        """
        from ecluse.client.uploading import upload

        return upload(self._backend, rows, name, owner)

    def table(self, table: str) -> pl.DataFrame:
        """Return a table of yours by its id: one that was uploaded, also to an application, or that a scoring made.

        >>> file = folder / "towns.csv"
        >>> _size = file.write_text("town,visits\\nLyon,7\\n")
        >>> ecluse.table(ecluse.upload(file))["visits"].to_list()
        [7]

        Raises:
            NotFound: you have no such table.
        """
        from ecluse.client.uploading import read_table

        return read_table(self._backend, table)

    def tables(self) -> pl.DataFrame:
        """List the tables that you may read, newest first: yours, then those of others, called @OWNER/NAME.

        `id` is what `table` and scorings ask by. Of each kind at most 1,000.

        >>> ecluse.tables().columns[:3]
        ['id', 'name', 'rows']
        """
        from ecluse.client.listing import tables_frame

        return tables_frame(self._backend.tables())

    def models(self, where: str | Sequence[str] = (), *, name: str | None = None) -> pl.DataFrame:
        """List the models that you may read, each at its newest version; those of others are called @OWNER/NAME.

        With conditions every version of yours that fulfils them, with a name every version of it.

        A condition is such as `val_accuracy>0.9`, or `name=leaves and alias=production`.

        >>> ecluse.models()["name"].to_list()
        ['line']
        """
        from ecluse.client.listing import models_frame

        conditions = [where] if isinstance(where, str) else list(where)
        return models_frame(self._backend.models(conditions, name))

    def runs(
        self, where: str | None = None, *, name: str | None = None, status: str | None = None
    ) -> pl.DataFrame:
        """List runs of every application, newest first, at most 1,000: one column for each metric and parameter.

        `where` is a condition over the columns, in SQL, such as `auc > 0.8`.

        >>> ecluse.runs("loss < 1", name="waves")["loss"].to_list()
        [0.5]
        """
        from ecluse.client.listing import runs_frame

        return runs_frame(self._backend.runs(name, status), where)

    def job(self, job: str, *, wait: bool = False) -> JobState:
        """Return how far a job is, such as a training that was started on a page; with `wait`, once it has ended.

        Its `result` is what it made, such as the version of a model. A job that fails is returned with its `error`.

        >>> state = ecluse.job(job)
        >>> state.status, state.has_ended
        ('queued', False)

        Raises:
            JobNotFound: you have no such job.
        """
        state = self._backend.job(job)
        while wait and not state.has_ended:
            time.sleep(_POLL_SECONDS)
            state = self._backend.job(job)
        return state

    def _unpacked(self, reference: str, folder: Path) -> Loaded:
        return self._unpack_version(self._backend.version(reference), folder)

    def _unpack_version(self, version: Version, folder: Path) -> Loaded:
        from ecluse.client.package import unpack
        from ecluse.client.progress import shown

        with shown(f"Fetching {version.reference}", version.size_bytes) as progress:
            self._backend.fetch(version, folder, progress)
        return unpack(folder)

    def _kept(self, version: Version) -> Loaded:
        """Return a loaded version; the last few stay loaded."""
        if version.digest not in self._loaded:
            with tempfile.TemporaryDirectory(prefix="ecluse-load-") as folder:
                self._loaded[version.digest] = self._unpack_version(version, Path(folder))
        self._loaded.move_to_end(version.digest)
        while len(self._loaded) > _KEPT:
            self._loaded.popitem(last=False)
        return self._loaded[version.digest]


def _backend(url: str | None, token: str | None, home: Path | str | None) -> Backend:
    from ecluse.client.credentials import chosen, credentials_for

    if url is not None and home is not None:
        raise InvalidInput(_("Give an address or a folder, not both."))
    if home is None and (server := chosen() if url is None else credentials_for(url, token)) is not None:
        from ecluse.client.http import HttpBackend

        return HttpBackend(server)
    try:
        from ecluse.client.local import LocalBackend
    except ModuleNotFoundError as error:
        raise NotSignedIn(
            _(
                "There is no server to work at: sign in with ecluse.login(URL). To work in a folder of this machine, "
                'install all of Écluse: pip install "ecluse[server]" (%(name)s is missing).',
                name=error.name or "",
            )
        ) from error

    return LocalBackend(None if home is None else Path(home))


def _size(paths: Sequence[Path]) -> int:
    """Count the bytes of files, and of what folders hold."""
    files = (file for path in paths for file in ((path,) if path.is_file() else path.rglob("*")))
    return sum(file.stat().st_size for file in files if file.is_file())


# The functions of the package are those of one client.

_clients: Final[list[Client]] = []


def default_client() -> Client:
    """Return the client of the functions of the package, made when it is first needed."""
    if not _clients:
        _clients.append(Client())
    return _clients[0]


def use(client: Client | None) -> None:
    """Let the functions of the package be those of this client; of None, of one that is made anew."""
    _clients[:] = [] if client is None else [client]


def login(url: str, token: str | None = None) -> Client:
    """Sign in to a server: programs and commands use it from then on, until `ecluse logout`.

    Without `token` it is asked for, and not shown; make one on the page *Account* of the server. It is kept in
    `~/.config/ecluse/credentials.json`, for you alone.

    >>> ecluse.login(address, token)  # doctest: +ELLIPSIS
    Client('http...')

    Raises:
        NotSignedIn: the server does not know the token.
        ServerAway: the server does not answer.
    """
    from ecluse.client import credentials

    address = credentials.checked_address(url)
    secret = token if token is not None else _asked(address)
    sign_in(credentials.Credentials(address, secret.strip()))
    client = Client(address)
    use(client)
    return client


def sign_in(server: Credentials) -> str:
    """Check a token against its server and keep it; return the e-mail address it stands for."""
    from ecluse.client import credentials
    from ecluse.client.http import HttpBackend

    if not server.token or not server.token.isascii() or not server.token.isprintable():
        raise InvalidInput(_("This is no token. Make one on the page Account of the server."))
    backend = HttpBackend(server)
    try:
        email = str(backend.me()["email"])
    finally:
        backend.close()
    credentials.keep(server)
    return email


def _asked(address: str) -> str:
    from getpass import getpass

    return getpass(f"Token of {address}: ")


def log(step: int, /, **metrics: float) -> None:
    """Keep metrics of a step of the run that is open: that of the innermost `with ecluse.run(…)`.

    >>> with ecluse.run("waves"):
    ...     ecluse.log(1, loss=0.5)
    """
    run = current.get()
    if run is None:
        raise InvalidInput(_("No run is open. Begin one: with ecluse.run(NAME) as run: …"))
    run.log(step, **metrics)
