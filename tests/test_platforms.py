"""What is deployed without our compose file: Kubernetes, systemd, platforms, AWS. Linters pass, and it fits the code."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any, Final

import click
import pytest
import yaml
from sqlalchemy import create_engine, text

from ecluse.cli import cli
from ecluse.settings import Settings, variables

DEPLOY: Final = Path(__file__).parents[1] / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"
UNITS: Final = sorted((DEPLOY / "systemd").glob("ecluse-*"))
AWS: Final = DEPLOY / "aws" / "ecluse.yaml"
#: What is read by others than Écluse: units of systemd, and platforms that say to which port they send.
FOREIGN: Final = {"BACKUP_TO", "BACKUP_KEY", "BACKUP_KEEP", "PORT"}
#: Less is what a machine does not survive being open to (`systemd-analyze security`, of 10).
MOST_OPEN: Final = 3.0
YAMLLINT: Final = (
    "{extends: default, rules: {line-length: {max: 140}, document-start: disable, braces: disable, brackets: disable, "
    "comments: {min-spaces-from-content: 1}}}"
)


def program(name: str) -> str:
    """A program of the environment that runs the tests; without it, skipped."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"{name} is not installed: it comes with requirements-dev.lock")
    return str(path)


def expect_command(words: list[str]) -> None:
    """The words after `ecluse` are a command of ours with options that it has."""
    command: click.Command | None = cli
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None
    command.make_context("ecluse", words)  # wrong options raise


def expect_readable(environment: dict[str, str]) -> Settings:
    """Each variable is one of ours, none that is empty is left so, and all are read together."""
    assert set(environment) <= set(variables()) | FOREIGN
    ours = {name: value for name, value in environment.items() if name not in FOREIGN}
    settings = Settings.from_environment(ours, home=Path("/h"))
    assert settings.log_form == "json"
    return settings


# Kubernetes


def manifests(folder: Path = KUBERNETES) -> Iterator[dict[str, Any]]:
    for file in sorted(set(folder.rglob("*.yaml")) - set(folder.rglob("kustomization.yaml"))):
        yield from yaml.safe_load_all(file.read_text(encoding="utf-8"))


def workloads() -> dict[str, dict[str, Any]]:
    """The pods of each deployment and job, by its name."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in manifests()
        if each["kind"] in ("Deployment", "Job")
    }


def test_the_manifests_fit_the_schemas_of_kubernetes() -> None:
    own = [
        file for file in KUBERNETES.rglob("*.yaml") if file.name not in ("kustomization.yaml", "scaler.yaml")
    ]
    done = subprocess.run(
        [program("kubernetes-validate"), "--strict", *map(str, own)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert said.count("passed for resource") == sum(len(list(yaml.safe_load_all(f.read_text()))) for f in own)


def test_what_is_deployed_as_yaml_has_nothing_a_linter_objects_to() -> None:
    files = [
        str(file) for folder in ("kubernetes", "paas", "aws") for file in (DEPLOY / folder).rglob("*.yaml")
    ]
    done = subprocess.run([program("yamllint"), "-d", YAMLLINT, *files], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_kustomization_names_what_is_there() -> None:
    for file in KUBERNETES.rglob("kustomization.yaml"):
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        for name in (*content.get("resources", ()), *content.get("components", ())):
            assert (file.parent / name).exists(), f"{file}: {name}"
    base = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())
    files = {each.name for each in (KUBERNETES / "base").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(base["resources"]) == files


def test_every_patch_of_the_overlay_finds_what_it_changes() -> None:
    there = {(each["kind"], each["metadata"]["name"]): each for each in manifests(KUBERNETES / "base")}
    for file in (
        *KUBERNETES.glob("overlays/*/kustomization.yaml"),
        *KUBERNETES.glob("components/*/kustomization.yaml"),
    ):
        for patch in yaml.safe_load(file.read_text()).get("patches", ()):
            target = there[patch["target"]["kind"], patch["target"]["name"]]
            for operation in yaml.safe_load(patch["patch"]):
                place: Any = target
                for step in operation["path"].strip("/").split("/"):
                    place = place[int(step)] if isinstance(place, list) else place[step]


def test_every_pod_gives_up_what_it_does_not_need() -> None:
    pods = workloads()
    assert set(pods) == {"ecluse-web", "ecluse-worker", "ecluse-upgrade"}
    for name, pod in pods.items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(container["resources"]["requests"]) >= {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert not container["image"].endswith(":latest")
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounted == {"/var/lib/ecluse", "/tmp"}  # noqa: S108 (of the pod)


def test_every_command_and_variable_of_the_manifests_is_one_of_ours() -> None:
    for pod in workloads().values():
        for container in pod["containers"]:
            expect_command(list(container["args"]))
            assert {each["name"] for each in container.get("env", ())} <= set(variables())
    (settings,) = (each["data"] for each in manifests() if each["kind"] == "ConfigMap")
    (secret,) = (each["stringData"] for each in manifests() if each["kind"] == "Secret")
    assert not any(secret.values())
    assert set(secret) <= set(variables())
    read = expect_readable(settings)
    # The volume is open to its group, and a folder of everything local is not.
    assert Path(settings["ECLUSE_HOME"]).parent == Path("/var/lib/ecluse")
    assert read.public_url is not None


def test_probes_ask_what_is_answered_and_wait_as_long_as_it_takes() -> None:
    for name, pod in workloads().items():
        for container in pod["containers"]:
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                if (probe := container.get(kind)) is not None:
                    assert probe["httpGet"]["path"] == (
                        "/readyz" if kind == "readinessProbe" else "/livez"
                    ), name
                    assert probe["timeoutSeconds"] >= 5
                    assert probe["httpGet"]["port"] in {port["name"] for port in container["ports"]}


def test_what_selects_pods_selects_those_that_are_meant() -> None:
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in manifests()
        if each["kind"] == "Deployment"
    }
    for each in manifests(KUBERNETES / "base"):
        if each["kind"] in ("PodDisruptionBudget", "Deployment"):
            assert each["spec"]["selector"]["matchLabels"] == labels[each["metadata"]["name"]]
        if each["kind"] == "Service":
            assert each["spec"]["selector"] == labels[each["metadata"]["name"]]
        if each["kind"] == "NetworkPolicy":
            chosen = each["spec"]["podSelector"]["matchLabels"].items()
            assert any(chosen <= pod.items() for pod in labels.values())


def test_the_scaler_counts_jobs_that_wait_or_run(new_migrated_url: Any) -> None:
    scaled = next(each for each in manifests() if each["kind"] == "ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] in workloads()
    engine = create_engine(Settings.from_environment({"DATABASE_URL": new_migrated_url()}).database_url)
    insert = (
        "INSERT INTO jobs (id, kind, queue, user_id, title, subject, status, fraction, message, created_at, fence, "
        "alone, losses, lost_at, put_off, not_before) VALUES (:id, 'k', 'q', 'u', '', '{}', :status, 0, '\"\"', now(), "
        "0, false, 0, 0, 0, now() + :wait * interval '1 hour')"
    )
    with engine.begin() as connection:
        rows = [("queued", None), ("queued", 1), ("running", None), ("done", None), ("failed", None)]
        for number, (status, wait) in enumerate(rows):
            connection.execute(text(insert), {"id": str(number), "status": status, "wait": wait})
        (trigger,) = scaled["spec"]["triggers"]
        assert connection.scalar(text(trigger["metadata"]["query"])) == 2
    engine.dispose()


def test_the_hint_for_prometheus_keeps_the_pods_that_are_there() -> None:
    hint = (
        (DEPLOY / "monitoring" / "prometheus.yaml")
        .read_text(encoding="utf-8")
        .partition("# In Kubernetes")[2]
    )
    text = "\n".join(line[2:] for line in hint.splitlines() if line.startswith("#   "))
    jobs = {job["job_name"]: job["relabel_configs"][0] for job in yaml.safe_load(text)}
    pod, labels = "__meta_kubernetes_pod_", ("app.kubernetes.io/name", "app.kubernetes.io/component")
    for name in ("web", "worker"):
        template = next(
            document["spec"]["template"]
            for document in yaml.safe_load_all(
                (KUBERNETES / "base" / f"{name}.yaml").read_text(encoding="utf-8")
            )
            if document["kind"] == "Deployment"
        )
        (port,) = template["spec"]["containers"][0]["ports"]
        rule = jobs[f"ecluse-{name}"]
        assert rule["source_labels"] == [
            *(f"{pod}label_{re.sub('[^a-z]', '_', label)}" for label in labels),
            f"{pod}container_port_name",
        ]
        metadata = template["metadata"]["labels"]
        assert rule["regex"] == ";".join([*(metadata[label] for label in labels), port["name"]])


# systemd


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units, whose program is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/ecluse/bin/ecluse", "/bin/true"))
    return [str(tmp_path / unit.name) for unit in UNITS]


def test_systemd_finds_nothing_wrong_with_the_units(units: list[str]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60
    )
    about_ours = [line for line in done.stderr.splitlines() if "ecluse" in line]
    assert about_ours == []


def test_the_units_are_closed(units: list[str]) -> None:
    for unit in units:
        if unit.endswith(".timer"):
            continue
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", unit], capture_output=True, text=True, timeout=60
        )
        level = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
        assert level is not None, done.stderr
        assert float(level[1]) <= MOST_OPEN, unit


def test_every_command_and_variable_of_the_units_is_one_of_ours() -> None:
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "systemd" / "ecluse.env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    expect_readable({name: value for name, value in example.items() if value or name in FOREIGN})
    commands = set[Path]()
    for unit in UNITS:
        for line in re.findall(r"^ExecStart=/opt/ecluse/bin/ecluse (.+)$", unit.read_text(), re.MULTILINE):
            asked = set(re.findall(r"\$\{(\w+)\}", line))
            assert asked <= set(example)
            given = {"BACKUP_KEEP": example["BACKUP_KEEP"]}
            expect_command(shlex.split(Template(line).safe_substitute(given)))
            commands.add(unit)
    assert commands == {unit for unit in UNITS if unit.suffix == ".service"}


# Platforms


def test_the_blueprint_of_render_asks_for_what_there_is() -> None:
    blueprint = yaml.safe_load((DEPLOY / "paas" / "render.yaml").read_text())
    (group,) = blueprint["envVarGroups"]
    given = {each["key"]: each.get("value", "") for each in group["envVars"]}
    expect_readable({name: value for name, value in given.items() if value})
    assert set(given) <= set(variables()) | FOREIGN
    assert {service["type"] for service in blueprint["services"]} == {"web", "worker"}
    for service in blueprint["services"]:
        for name in ("dockerCommand", "preDeployCommand"):
            if name in service:
                first, *words = shlex.split(service[name])
                assert first == "ecluse"
                expect_command(words)
        assert (DEPLOY.parent / service["dockerfilePath"]).is_file()
        assert {"fromGroup": group["name"]} in service["envVars"]
        assert "DATABASE_URL" in {each.get("key") for each in service["envVars"]}


def test_the_files_of_fly_and_of_procfiles_ask_for_what_there_is() -> None:
    fly = tomllib.loads((DEPLOY / "paas" / "fly.toml").read_text())
    expect_readable(fly["env"])
    for command in (*fly["processes"].values(), fly["deploy"]["release_command"]):
        expect_command(shlex.split(command))
    assert (DEPLOY.parent / fly["build"]["dockerfile"]).is_file()
    assert {name for machine in fly["vm"] for name in machine["processes"]} == set(fly["processes"])
    for line in (DEPLOY / "paas" / "Procfile").read_text().splitlines():
        first, *words = shlex.split(line.partition(":")[2].replace("$PORT", "8000"))
        assert first == "ecluse"
        expect_command(words)


# AWS


class _Template(yaml.SafeLoader):
    """Reads CloudFormation's short forms: `!Ref A` as {"Ref": "A"}."""


def _function(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    raise AssertionError(node)


_Template.add_multi_constructor("!", _function)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    read: dict[str, Any] = yaml.load(AWS.read_text(encoding="utf-8"), _Template)  # noqa: S506 (a safe loader)
    return read


@pytest.mark.nightly
def test_cloudformation_finds_nothing_wrong_with_the_templates() -> None:
    done = subprocess.run(
        [program("cfn-lint"), str(AWS)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("role", ["web", "worker"])
def test_the_roles_on_aws_have_the_statements_of_the_policies(template: dict[str, Any], role: str) -> None:
    (inline,) = template["Resources"][f"{role.capitalize()}Role"]["Properties"]["Policies"]
    names = {"Models": "models", "Images": "plants-images", "Data": "data"}

    def address(resource: dict[str, str]) -> str:
        if "GetAtt" in resource:
            return f"arn:aws:s3:::{names[resource['GetAtt'].removesuffix('.Arn')]}"
        return re.sub(r"\$\{(\w+)\.Arn\}", lambda match: f"arn:aws:s3:::{names[match[1]]}", resource["Sub"])

    statements = [
        {**statement, "Resource": [address(each) for each in statement["Resource"]]}
        for statement in inline["PolicyDocument"]["Statement"]
    ]
    expected = json.loads((DEPLOY / "iam" / f"{role}.json").read_text())["Statement"]
    assert statements == expected


def test_every_command_and_variable_on_aws_is_one_of_ours(template: dict[str, Any]) -> None:
    tasks = {
        name: resource["Properties"]["ContainerDefinitions"][0]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::ECS::TaskDefinition"
    }
    assert set(tasks) == {"Web", "Worker", "Upgrade"}
    for container in tasks.values():
        expect_command(list(container["Command"]))
        given = {each["Name"]: each["Value"] for each in container["Environment"]}
        plain = {
            name: value if isinstance(value, str) else re.sub(r"\$\{\w+\}", "x", str(*value.values()))
            for name, value in given.items()
        }
        settings = expect_readable(
            {**plain, "AWS_REGION": "eu-west-3", "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE"}
        )
        assert settings.documents.sql_url is not None  # not DynamoDB, which the stack does not make
        assert {each["Name"] for each in container["Secrets"]} == {"DATABASE_URL", "ECLUSE_SECRET_KEYS"}


def test_nothing_that_people_store_goes_with_the_stack(template: dict[str, Any]) -> None:
    buckets = {
        name: each for name, each in template["Resources"].items() if each["Type"] == "AWS::S3::Bucket"
    }
    assert set(buckets) == {"Models", "Images", "Data"}
    for bucket in buckets.values():
        assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
        properties = bucket["Properties"]
        assert all(properties["PublicAccessBlockConfiguration"].values())
        assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
        assert properties["BucketEncryption"]
    database = template["Resources"]["Database"]
    assert database["DeletionPolicy"] == "Snapshot"
    kept = ("StorageEncrypted", "DeletionProtection")
    assert all(database["Properties"][name] is True for name in kept)
    assert database["Properties"]["PubliclyAccessible"] is False
