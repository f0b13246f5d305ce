"""Start the web process, the worker, or both."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import click

from ecluse import __version__, logs, tracing
from ecluse.addresses import NO_PROXIES
from ecluse.application import guarded, parts
from ecluse.catalog import homes
from ecluse.cli.exposure import accept_option, expect_safe
from ecluse.cli.output import say
from ecluse.cli.servers import local_servers, port_options
from ecluse.cli.session import JobProcess, home_option, note_address, opened
from ecluse.cli.starting import uncollected
from ecluse.errors import EcluseError, InvalidInput, SettingsError
from ecluse.limits import ASKED
from ecluse.settings import Settings
from ecluse.settings.environment import replace_variables
from ecluse.settings.values import parse_listening

if TYPE_CHECKING:
    from ecluse.runtime import Runtime, Worker

#: A worker may stop a process of its own before.
STOP_SECONDS: Final = 10.0
RESTART_SECONDS: Final = 2.0

_host = click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
_app = click.option(
    "--app",
    "app_files",
    multiple=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="An application of your own in one file. Default: ECLUSE_APPS",
)
_port = click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))


@click.command()
@home_option
@_host
@_port
@_app
@click.option(
    "--servers", is_flag=True, help="Start SeaweedFS and PostgreSQL too, and keep everything there."
)
@port_options
@accept_option
def up(
    home: Path | None,
    host: str,
    port: int,
    app_files: tuple[Path, ...],
    servers: bool,
    port_s3: int,
    port_database: int,
    accepted: tuple[str, ...],
) -> None:
    """Start the pages, the API and a worker; Ctrl-C stops them.

    On an empty catalog a local administrator is made and a one-time sign-in link printed.
    """
    with contextlib.ExitStack() as stack:
        if servers:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            started = stack.enter_context(local_servers(home, port_s3, port_database))
            started.use_here()
            say(
                f"In another terminal, for commands on the same data: . {shlex.quote(started.running().environment)}"
            )
        _begin(home, app_files, "web")
        runtime = stack.enter_context(opened(home, limits=ASKED))
        listener = stack.enter_context(listen(host, port))
        expect_safe(runtime, str(listener.getsockname()[0]), accepted)
        address = _address(runtime, listener)
        with _WorkerProcess(runtime.settings.home):
            _serve(runtime, listener, lambda: _welcome(runtime, address))
    say("Stopped.")


@click.command()
@home_option
@_host
@_port
@_app
@accept_option
def web(
    home: Path | None, host: str, port: int, app_files: tuple[Path, ...], accepted: tuple[str, ...]
) -> None:
    """Start the pages and the API; jobs wait until a worker runs."""
    _begin(home, app_files, "web")
    with opened(home, limits=ASKED) as runtime, listen(host, port) as listener:
        expect_safe(runtime, str(listener.getsockname()[0]), accepted)
        address = _address(runtime, listener)

        def announce() -> None:
            say(f"Écluse is at {address}")
            if runtime.settings.public_url or not _is_loopback(listener):
                _say_first_account(runtime, address)

        _serve(runtime, listener, announce)


@click.command()
@home_option
@click.option("--parent", type=int, hidden=True, help="Stop when this process is gone.")
@click.option("--job", "only", hidden=True, help="Run this one job, and end with it.")
@click.option(
    "--listen",
    "listening",
    metavar="HOST:PORT",
    help="Answer /livez, /readyz and /metrics there. Default: ECLUSE_WORKER_ADDRESS, else nowhere.",
)
@_app
def worker(
    home: Path | None,
    parent: int | None,
    only: str | None,
    listening: str | None,
    app_files: tuple[Path, ...],
) -> None:
    """Run jobs until stopped. What is running then is taken up by the next worker."""
    with uncollected():
        from ecluse.runtime import Worker
        from ecluse.storage import LONG_PATIENCE
        from ecluse.work import kinds, reconcile

    if parent is None and only is None:  # who started it has done so
        _begin(home, app_files)
    else:
        settings = Settings.from_environment(home=home)
        role = "worker" if only is None else "job"
        logs.set_up(role, settings.log_form, settings.log_level)
        tracing.begin(role, settings.traces, __version__)
    with opened(home, patience=LONG_PATIENCE) as runtime:
        apart = partial(JobProcess, runtime.settings.home) if only is None else None
        process = Worker(runtime, kinds(), reconcile, only=only, apart=apart)
        # A process for one job is its worker's, which counts for it.
        vitals = contextlib.nullcontext() if only is not None else _vitals(runtime, process, listening)

        def stop(_: int, __: FrameType | None) -> None:
            process.stop()

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        with vitals:
            process.start()
            if parent is None and only is None:
                say("The worker is ready.")
            elif parent is not None:
                _stop_without(parent, process.stop)
            try:
                process.run_until_stopped()
            finally:
                try:
                    process.close()
                except EcluseError as error:  # its jobs are taken over as those of a process that is gone
                    say(str(error))
    tracing.end()
    # A job may still compute in a thread; its work is repeated by the next worker, so nothing waits for it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@contextlib.contextmanager
def _vitals(runtime: Runtime, process: Worker, address: str | None) -> Iterator[None]:
    """Answer about a worker where the command or the settings say, if they do."""
    place = runtime.settings.worker_address
    if address is not None:
        try:
            place = parse_listening(address)
        except ValueError as error:
            raise InvalidInput(
                f"--listen {address}: {error}. Write HOST:PORT, such as 127.0.0.1:9464."
            ) from None
    if place is None:
        yield
        return
    from ecluse.vitals import Doors, Figures, Page, Readiness, checks_of_worker, expect, serve_beside
    from ecluse.work import kinds

    expect(kinds())
    page = Page(more=[Figures(runtime)])
    doors = Doors(runtime, Readiness(checks_of_worker()), page, process.silent_for)
    another = "--listen HOST:PORT, or ECLUSE_WORKER_ADDRESS"
    with listen(*place, another=another) as listener, serve_beside(doors, listener):
        host, port = listener.getsockname()[:2]
        say(
            f"The worker answers /livez, /readyz and /metrics at {f'[{host}]' if ':' in host else host}:{port}."
        )
        yield


def _begin(home: Path | None, app_files: tuple[Path, ...], process: str = "worker") -> None:
    """Set up the log of a process, and let applications do what comes first, such as to install those in one file."""
    if app_files:
        replace_variables(
            {"ECLUSE_APPS": os.pathsep.join(str(file.absolute()) for file in app_files)}, without=()
        )
    from ecluse.runtime import expect_sound, make_home

    settings = Settings.from_environment(home=home)
    logs.set_up(process, settings.log_form, settings.log_level)
    tracing.begin(process, settings.traces, __version__)
    make_home(settings.home, shared=settings.home_shared)
    expect_sound(settings)
    for application, begin in parts("begin"):
        with guarded(application, "begin", passing=(EcluseError,)):
            begin(settings)


def _welcome(runtime: Runtime, address: str) -> None:
    user = runtime.accounts.local_administrator()
    say(f"Écluse is at {address}")
    with runtime.catalog.read() as transaction:
        closed = homes.why_closed(transaction)
    if closed is not None:
        say(closed)
    elif user.password_hash is None:
        say(f"Sign in once with this link: {address}/sign-in/link/{runtime.accounts.sign_in_link(user.id)}")
    places = ", ".join(store.url for store in runtime.stores.distinct())
    say(f"Everything is kept in {runtime.settings.home}; objects in {places}. Ctrl-C stops.")


def _say_first_account(runtime: Runtime, address: str) -> None:
    """Say how the first account is made, where there is none: with a secret that stands here and nowhere else."""
    with runtime.catalog.read() as transaction:
        closed = homes.why_closed(transaction)
    if closed is not None:
        say(closed)
    if closed is not None or runtime.accounts.has_any():
        return
    say("There is no account yet. Make the first: ecluse users add EMAIL --role administrator")
    if runtime.settings.accounts.sign_up == "closed":
        return
    secret = runtime.accounts.first_secret()
    if secret is not None:
        say(f"Or make it at {address}/sign-up within 24 hours, with this secret: {secret}")


def _is_loopback(listener: socket.socket) -> bool:
    return ip_address(str(listener.getsockname()[0]).partition("%")[0]).is_loopback


def _serve(runtime: Runtime, listener: socket.socket, announce: Callable[[], None]) -> None:
    with uncollected():
        from ecluse.serving import serve
        from ecluse.web.app import make_app

        app = make_app(runtime, listens_here=_is_loopback(listener))
    app.state.exposed = say_if_exposed(runtime, listener)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a container is stopped as a person stops it
    with contextlib.suppress(KeyboardInterrupt):  # the server raises it again once it has stopped
        serve(app, listener, announce, proxies=runtime.settings.proxies)
    tracing.end()


def say_if_exposed(runtime: Runtime, listener: socket.socket) -> bool:
    """Return whether other machines reach the listener without https; that is said once, at the start."""
    from ecluse.web.security import is_exposed

    host = listener.getsockname()[0]
    exposed = is_exposed(host, runtime.settings.public_url)
    if exposed:
        say(
            f"Warning: other machines reach {host} without https: passwords and data travel readable. Put a proxy "
            "with a certificate in front and set ECLUSE_PUBLIC_URL=https://…, or listen on 127.0.0.1."
        )
    settings = runtime.settings
    if (settings.public_url or "").startswith("https:") and settings.proxies == NO_PROXIES:
        say(
            "Note: ECLUSE_PUBLIC_URL is https, and ECLUSE_TRUSTED_PROXIES names no proxy. Behind one all visitors "
            "count as one, so that who guesses passwords holds back the others: name its address, such as 127.0.0.1."
        )
    return exposed


def listen(host: str, port: int, *, another: str = "") -> socket.socket:
    """Listen at an address of this machine; `another`: how to choose another, where that is not by --port."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # With the protocol named, asyncio sends at once (TCP_NODELAY); else each answer may wait 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(512)
    except socket.gaierror as error:
        raise InvalidInput(f"{host!r} is not an address of this machine: {error.strerror}.") from error
    except OSError as error:
        raise SettingsError(
            f"Port {port} on {host} cannot be used: {error.strerror}. "
            f"Choose another: {another or f'--port {port + 1}'}"
        ) from error
    return listener


def _address(runtime: Runtime, listener: socket.socket) -> str:
    if runtime.settings.public_url:
        return runtime.settings.public_url
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 (read, not bound)
    address = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    note_address(runtime.settings.home, address)
    return address


class _WorkerProcess:
    """A worker as a child process, started again when it dies."""

    def __init__(self, home: Path) -> None:
        self._command = [
            sys.executable,
            "-m",
            "ecluse",
            "worker",
            "--home",
            str(home),
            "--parent",
            str(os.getpid()),
        ]
        self._stopping = threading.Event()

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command)
        self._watch = threading.Thread(target=self._restart_when_dead, daemon=True)
        self._watch.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _restart_when_dead(self) -> None:
        while True:
            code = self._process.wait()
            if self._stopping.wait(RESTART_SECONDS):
                return
            say(f"The worker ended with code {code}; it is started again and takes its jobs up.")
            self._process = subprocess.Popen(self._command)


def _stop_without(parent: int, stop: Callable[[], None]) -> None:
    """Call `stop` once the parent process is gone, however it went."""

    def watch() -> None:
        tick = threading.Event()
        while os.getppid() == parent:
            tick.wait(1.0)
        stop()

    threading.Thread(target=watch, daemon=True).start()
