"""The Dockerfile and the manifests: valid for supported Kubernetes releases and consistent with the program."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from evergreen_testing.paths import CUSTOMERS, MODELS, ROOT
from evergreen_testing.processes import until_logged
from evergreen_testing.server_process import Instance

OVERLAYS = sorted(path.name for path in (ROOT / "k8s/overlays").iterdir())
RELEASES = ["1.29.0", "1.31.0", "1.33.0", "1.35.0", "1.37.0"]
EXAMPLE = tomllib.loads((ROOT / "evergreen.example.toml").read_text())
PORTS = {name: int(EXAMPLE["server"][name].rpartition(":")[2]) for name in ("http", "grpc", "ops")}


def program(name):
    """Returns the path of a program from the Python packages."""
    import sys

    return str(Path(sys.executable).parent / name)


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request):
    """Returns an overlay as kustomize builds it."""
    command = [program("kubectl"), "kustomize", str(ROOT / "k8s/overlays" / request.param)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "Warning" not in built.stderr, built.stderr
    return [document for document in yaml.safe_load_all(built.stdout) if document]


def with_component(folder, name):
    """Returns the sample with a component."""
    relative = os.path.relpath(ROOT / "k8s", folder.resolve())
    (folder / "kustomization.yaml").write_text(
        f"resources: [{relative}/overlays/sample]\ncomponents: [{relative}/components/{name}]\n"
    )
    built = subprocess.run([program("kubectl"), "kustomize", str(folder)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return [document for document in yaml.safe_load_all(built.stdout) if document]


@pytest.fixture(scope="module")
def monitored(tmp_path_factory):
    """Returns the sample with the component for the Prometheus operator."""
    return with_component(tmp_path_factory.mktemp("monitored"), "prometheus-operator")


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """Returns the sample with the component for prometheus-adapter."""
    return with_component(tmp_path_factory.mktemp("adapted"), "prometheus-adapter")


def kind(manifests, *names):
    return [document for document in manifests if document["kind"] in names]


def one(manifests, name):
    [found] = kind(manifests, name)
    return found


def pods(manifests):
    """Returns the pod templates of Deployments and CronJobs."""
    found = [document["spec"]["template"] for document in kind(manifests, "Deployment")]
    return found + [
        document["spec"]["jobTemplate"]["spec"]["template"] for document in kind(manifests, "CronJob")
    ]


def served(manifests):
    """Returns the serving container and its settings."""
    [container] = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    return container, one(manifests, "ConfigMap")["data"]["evergreen.toml"]


def test_the_dockerfile_has_nothing_to_complain_about():
    checked = subprocess.run([program("hadolint"), str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert checked.returncode == 0 and not checked.stdout, checked.stdout


def test_the_dockerfile_has_the_programs_ports_variables_and_commands(evergreen):
    text = (ROOT / "Dockerfile").read_text()
    exposed = {int(port) for port in re.search(r"^EXPOSE (.*)$", text, re.M).group(1).split()}
    assert exposed == set(PORTS.values())
    [health] = re.findall(r'HEALTHCHECK.*CMD \["/usr/local/bin/evergreen", (.*)\]', text)
    words = re.findall(r'"([^"]+)"', health)
    variables = dict(re.findall(r"^ENV (EVERGREEN_\w+)=(\S+)$", text, re.M))
    assert variables
    # No server runs, so the check fails with 1; an unknown variable or option would exit with 2.
    environment = os.environ | variables | {"EVERGREEN_SERVER__OPS": "127.0.0.1:1"}
    assert subprocess.run([evergreen, *words], env=environment, capture_output=True).returncode == 1


@pytest.mark.parametrize("release", RELEASES)
def test_every_manifest_is_valid(manifests, release):
    for document in manifests:
        # Kubernetes itself has a schema for each: no overlay needs an operator.
        kubernetes_validate.validate(document, release, strict=True)


def test_everything_is_there(manifests):
    kinds = {document["kind"] for document in manifests}
    assert kinds >= {
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ConfigMap",
        "ServiceAccount",
    }
    headless = [
        service for service in kind(manifests, "Service") if service["spec"].get("clusterIP") == "None"
    ]
    assert any(port["name"] == "grpc" for service in headless for port in service["spec"]["ports"])


def test_every_pod_is_locked_down(manifests):
    for pod in pods(manifests):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] and spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert (
                container["resources"]["requests"].keys() >= {"cpu", "memory"}
                and container["resources"]["limits"]
            )
            # kustomize sets the tag.
            assert re.fullmatch(r"evergreen:\d+\.\d+\.\d+", container["image"])


def test_the_documented_builds_have_the_tag_of_the_manifests(manifests):
    [container] = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"]
    pages = [ROOT / "README.md", ROOT / "Dockerfile", *(ROOT / "docs").glob("*.md")]
    tags = [tag for page in pages for tag in re.findall(r"docker build -t (\S+)", page.read_text())]
    assert len(tags) >= 3 and set(tags) == {container["image"]}


def test_ports_are_the_programs(manifests):
    container, settings = served(manifests)
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == PORTS
    assert not PORTS.keys() & tomllib.loads(settings)["server"].keys()
    pod = one(manifests, "Deployment")["spec"]["template"]
    for service in kind(manifests, "Service"):
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        for port in service["spec"]["ports"]:
            assert PORTS[port["targetPort"]] == port["port"]
    policy = one(manifests, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert all(port["port"] in PORTS for rule in policy["ingress"] for port in rule["ports"])
    budget = one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert budget.items() <= pod["metadata"]["labels"].items()
    # The services select only the serving pods.
    for other in pods(manifests)[1:]:
        assert not budget.items() <= other["metadata"]["labels"].items()


def test_the_monitor_watches_the_operations_port(monitored, server):
    monitor = one(monitored, "ServiceMonitor")["spec"]
    [watched] = [
        service
        for service in kind(monitored, "Service")
        if monitor["selector"]["matchLabels"].items() <= service["metadata"].get("labels", {}).items()
    ]
    names = {port["name"] for port in watched["spec"]["ports"]}
    assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= names
    for endpoint in monitor["endpoints"]:
        assert server.ops.get(endpoint["path"]).status_code == 200


@pytest.mark.parametrize("release", RELEASES)
def test_the_autoscaler_with_the_adapter_is_valid(adapted, release):
    kubernetes_validate.validate(one(adapted, "HorizontalPodAutoscaler"), release, strict=True)


def test_the_autoscalers_metric_is_what_the_server_exports(adapted, server):
    processor, share = one(adapted, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert processor["resource"]["name"] == "cpu"
    [rule] = yaml.safe_load((ROOT / "k8s/components/prometheus-adapter/rule.yaml").read_text())["rules"][
        "custom"
    ]
    assert rule["name"]["as"] == share["pods"]["metric"]["name"]
    exported = server.ops.get("/metrics").text
    series = re.findall(r'(evergreen_\w+)\{state="(\w+)"', rule["seriesQuery"] + rule["metricsQuery"])
    assert {state for _, state in series} == {"used", "limit"}
    for name, state in series:
        assert f'{name}{{state="{state}"}} ' in exported


def test_paths_are_the_programs(manifests, server):
    container, _ = served(manifests)
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
    assert [probe["path"] for probe in probes] == ["/livez", "/livez", "/readyz"]
    for asked in probes:
        assert asked["port"] == "ops"
        assert server.ops.get(asked["path"]).status_code == 200


def variables(manifests):
    """Returns every variable that a manifest sets or requires from a Secret."""
    found = {}
    for pod in pods(manifests):
        for container in pod["spec"]["containers"]:
            found |= {entry["name"]: entry.get("value", "x") for entry in container.get("env", [])}
            for source in container.get("envFrom", []):
                name = source["secretRef"]["name"]
                texts = [path.read_text() for path in (ROOT / "k8s").rglob("kustomization.yaml")]
                named = [text for text in texts if name in text]
                assert named, f"nothing says what is in {name}"
                found |= dict.fromkeys(re.findall(r"--from-literal=(EVERGREEN_\w+)", named[0]), "x")
    return found


def test_settings_and_variables_are_the_programs(manifests, evergreen, tmp_path):
    _, settings = served(manifests)
    path = tmp_path / "evergreen.toml"
    path.write_text(settings)

    def ask(**more):
        environment = os.environ | variables(manifests) | {"EVERGREEN_SERVER__OPS": "127.0.0.1:1"} | more
        return subprocess.run(
            [evergreen, "health", "--config", str(path)], env=environment, capture_output=True, text=True
        )

    # No server answers, so the exit code is 1; an unknown setting gives 2.
    assert ask().returncode == 1, ask().stderr
    assert ask(EVERGREEN_SERVER__OOPS="1").returncode == 2


def test_the_pod_has_the_time_to_stop(manifests):
    spec = one(manifests, "Deployment")["spec"]["template"]["spec"]
    server = tomllib.loads(served(manifests)[1])["server"]
    assert server["drain_seconds"] >= 5
    assert server["drain_seconds"] + server["grace_seconds"] < spec["terminationGracePeriodSeconds"]


def test_every_file_of_the_settings_is_mounted(manifests):
    container, text = served(manifests)
    spec = one(manifests, "Deployment")["spec"]["template"]["spec"]
    settings, mounts = tomllib.loads(text), container["volumeMounts"]
    assert {mount["name"] for mount in mounts} == {volume["name"] for volume in spec["volumes"]}
    files = [settings.get("tls", {}).get(key) for key in ("certificate", "key")]
    files += [settings.get("auth", {}).get("file"), settings["features"].get("warm")]
    assert container["args"][:2] == ["serve", "--config"]
    for file in [*filter(None, files), container["args"][2]]:
        [mount] = [mount for mount in mounts if Path(file).is_relative_to(mount["mountPath"])]
        assert mount.get("readOnly") or file == settings["features"].get("warm")


def test_the_sample_runs_by_its_manifest(evergreen, tmp_path):
    command = [program("kubectl"), "kustomize", str(ROOT / "k8s/overlays/sample")]
    manifests = list(
        yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    )
    _, settings = served(manifests)
    # The settings point at the models of the image.
    copied = re.search(r"^COPY \$\{MODELS\} (\S+)$", (ROOT / "Dockerfile").read_text(), re.M).group(1)
    assert copied == tomllib.loads(settings)["models"]["dir"]
    local = settings.replace(copied, str(MODELS))
    with Instance(evergreen, tmp_path, config=local) as instance:
        instance.start()
        assert json.loads(instance.ask("/v1/models", port="http")[1])["models"][0]["name"] == "churn"
        until_logged(instance.log, '"level":"INFO"')


def test_the_batch_runs_by_its_manifest(evergreen, tmp_path):
    command = [program("kubectl"), "kustomize", str(ROOT / "k8s/overlays/batch")]
    manifests = list(
        yaml.safe_load_all(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    )
    [container] = one(manifests, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    [mount] = container["volumeMounts"]
    shutil.copy(CUSTOMERS, tmp_path / "customers.parquet")
    swap = {mount["mountPath"]: str(tmp_path), "/srv/evergreen/models": str(MODELS)}
    words = [
        next((word.replace(a, b) for a, b in swap.items() if word.startswith(a)), word)
        for word in container["args"]
    ]
    subprocess.run([evergreen, *words], check=True)
    assert (tmp_path / "scores.parquet").stat().st_size > 10_000
