"""The Helm chart: rendered by Helm's own code, held against schemas, refused where it has to be."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from . import DEPLOY, Failed, Skipped, expect, module, run, tool, yaml

CHART = DEPLOY / "helm" / "adapterd"
OLDEST = "1.27"
PIP = "pip install -r deploy/requirements.txt"
# Where custom resources' definitions lie; --crds names it.
crds = None

EVERYTHING = {
    "settings": {"engine": {"rows": 32, "kv_bytes": 2147483648, "prefix_cache": True}, "server": {"cors_origins": ["https://a.example"]}},
    "auth": {"mode": "keys", "openMetrics": True},
    "networkPolicy": {"enabled": True, "from": [{"podSelector": {}}]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
    "inferencePool": {"enabled": True, "endpointPicker": {"name": "picker", "port": 9002}},
    "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    "extraVolumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
    "extraVolumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}],
    "imagePullSecrets": [{"name": "registry"}],
}
SETS = {
    "defaults": {},
    "everything": EVERYTHING,
    "tls": {"tls": {"secretName": "tls"}, "serviceMonitor": {"enabled": True, "keySecret": {"name": "adapterd-key"}}},
    "callers with certificates": {"tls": {"secretName": "tls", "clientCA": "ca.crt"}},
    "callers with or without certificates": {"tls": {"secretName": "tls", "clientCA": "ca.crt", "clientAuth": "optional"}},
    "open behind a proxy": {"auth": {"mode": "off", "insecureBind": True}},
    "no volume": {"persistence": {"enabled": False}, "replicas": 3},
}
REFUSED = {
    "insecureBind": {"auth": {"mode": "off"}},
    "openMetrics": {"serviceMonitor": {"enabled": True}},
    "secretName": {"tls": {"clientCA": "ca.crt"}},
    "endpointPicker": {"inferencePool": {"enabled": True}, "auth": {"openMetrics": True}},
    "replicas": {"replicas": -1},
    "replica": {"replica": 2},
    "mode": {"auth": {"mode": "key"}},
    "accessModes": {"persistence": {"accessModes": ["ReadWriteMany"]}},
    "settings": {"settings": {"engine": {"rows": {"most": 3}}}},
}


def render(values):
    """What the chart makes of values, as text by template."""
    if shutil.which("helm"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "values.yaml")
            file.write_text(yaml().safe_dump(values), encoding="utf-8")
            done = subprocess.run(["helm", "template", "demo", CHART, "--namespace", "prod", "--values", file], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise Failed(done.stderr)
        return {"all": done.stdout}
    helm = module("helm_python")
    try:
        with helm.Chart.load(str(CHART)) as chart:
            chart.validate_schema(values)
            made = chart.render(values, name="demo", namespace="prod")
    except helm.HelmError as error:
        raise Failed(str(error)) from None
    return {name: text for name, text in made.items() if name.endswith(".yaml")}


def manifests(values):
    for text in render(values).values():
        yield from (found for found in yaml().safe_load_all(text) if found)


def chart_passes_helms_lint():
    if shutil.which("helm"):
        run("helm", "lint", "--strict", CHART)
        return "helm lint"
    found = module("helm_python").lint(str(CHART))
    # 1 is advice.
    wrong = [message for message in found["messages"] if message["severity"] > 1]
    expect(not wrong and not found["errors"], f"{wrong} {found['errors']}")
    return "Helm's lint"


def manifests_fit_kubernetes():
    validate = module("kubernetes_validate")
    newest = validate.latest_version()
    count = 0
    for name, values in SETS.items():
        for manifest in manifests(values):
            if "." in manifest["apiVersion"].split("/")[0].replace(".k8s.io", ""):
                continue
            if manifest["apiVersion"].startswith("inference."):
                continue
            for version in (OLDEST, newest):
                try:
                    validate.validate(manifest, version, strict=True)
                except validate.ValidationError as error:
                    raise Failed(f"{name}: {manifest['kind']} does not fit Kubernetes {version}: {error}") from None
            count += 1
    return f"{count} manifests, Kubernetes {OLDEST} and {newest}"


def custom_resources_fit_their_definitions():
    if not crds:
        raise Skipped("needs --crds FOLDER with the definitions of ServiceMonitor, PrometheusRule and InferencePool (kubectl get crd NAME -o yaml)")
    jsonschema = module("jsonschema")
    schemas = {}
    for file in Path(crds).glob("*.yaml"):
        for crd in filter(None, yaml().safe_load_all(file.read_text(encoding="utf-8"))):
            for version in crd["spec"]["versions"]:
                key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
                schemas[key] = closed(version["schema"]["openAPIV3Schema"])
    count = 0
    for name, values in SETS.items():
        for manifest in manifests(values):
            schema = schemas.get((manifest["apiVersion"], manifest["kind"]))
            if schema:
                # The definitions say nothing of metadata.
                errors = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors({**manifest, "metadata": {}})]
                expect(not errors, f"{name}: {manifest['kind']}: {errors}")
                count += 1
    expect(count, f"{crds} defines none of the chart's kinds")
    return f"{count} manifests"


def closed(schema):
    """As a server prunes: a field that is not defined is a mistake here."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if "properties" in made and schema.get("type") == "object" and "additionalProperties" not in made and not made.get("x-kubernetes-preserve-unknown-fields"):
        made["additionalProperties"] = False
    return made


def chart_refuses_what_cannot_work():
    for word, values in REFUSED.items():
        try:
            render(values)
        except Failed as refused:
            expect(word in str(refused), f"the refusal of {values} does not name `{word}`: {refused}")
        else:
            raise Failed(f"the chart takes {values}")
    return f"{len(REFUSED)} sets of values"


def rules_in_the_chart_are_the_alerts():
    promtool = tool("promtool", "apt-get install prometheus")
    rule = next(made for made in manifests(EVERYTHING) if made["kind"] == "PrometheusRule")
    expected = yaml().safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    expect(rule["spec"] == expected, "the chart's rules are not those of alerts.yml")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rules.yml")
        file.write_text(yaml().safe_dump(rule["spec"]), encoding="utf-8")
        run(promtool, "check", "rules", file)
    board = next(made for made in manifests(EVERYTHING) if made["metadata"]["name"].endswith("-dashboard"))
    there = (DEPLOY / "grafana" / "dashboards" / "adapterd.json").read_text(encoding="utf-8")
    expect(board["data"]["adapterd.json"] == there, "the chart's dashboard is not Grafana's")
    return "alerts and dashboard"


CHECKS = [
    chart_passes_helms_lint,
    manifests_fit_kubernetes,
    custom_resources_fit_their_definitions,
    chart_refuses_what_cannot_work,
    rules_in_the_chart_are_the_alerts,
]
