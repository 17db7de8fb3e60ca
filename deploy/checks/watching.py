"""Dashboard, alerts and the settings of Prometheus, without a daemon."""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

from . import DEPLOY, ROOT, Failed, expect, run, tool, yaml

RULES = DEPLOY / "prometheus" / "alerts.yml"
TESTS = DEPLOY / "prometheus" / "alerts_test.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "adapterd.json"
NAME = re.compile(r"(?:adapterd|vllm|process)[_:][a-z_:]+")
PROMTOOL = "apt-get install prometheus"


def expressions():
    """`(where, query)` of every query of the dashboard, its variables filled in."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$adapter", ".*")
            yield panel["title"], query
    for choice in board["templating"]["list"]:
        if choice["type"] == "query":
            yield choice["label"], re.sub(r"label_values\((.*), (.*)\)", r"count by (\2) (\1)", choice["definition"])


def alerts():
    return [rule for group in yaml().safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def names_used():
    """Every metric that a query speaks of."""
    queries = [query for _, query in expressions()] + [rule["expr"] for rule in alerts()]
    return sorted({name for query in queries for name in NAME.findall(query)})


def family(name):
    return re.sub(r"_(bucket|sum|count)$", "", name)


def dashboard_is_what_its_program_writes():
    run(sys.executable, DEPLOY / "grafana" / "dashboard.py", "--check")
    return f"{len(list(expressions()))} queries"


def every_metric_is_one_of_the_daemon():
    """By the names in the source, so that a renamed metric is noticed without a daemon."""
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.rs"))
    known = set(re.findall(r'"((?:adapterd|vllm|process)[_:][a-z_:]+)"', source))
    names = {family(name) if family(name) in known else name for name in names_used()}
    missing = sorted(names - known)
    expect(not missing, f"no metric of the daemon: {', '.join(missing)}")
    return f"{len(names)} metrics"


def prometheus_reads_its_settings():
    run(tool("promtool", PROMTOOL), "check", "config", DEPLOY / "prometheus" / "prometheus.yml")
    return "prometheus.yml and the rules it names"


def alerts_are_raised_by_planted_faults():
    promtool = tool("promtool", PROMTOOL)
    run(promtool, "test", "rules", TESTS.name, cwd=TESTS.parent)
    return f"{len(alerts())} alerts"


def every_alert_has_a_test_that_notices_when_it_is_silent():
    promtool = tool("promtool", PROMTOOL)
    text = RULES.read_text(encoding="utf-8")
    for rule in alerts():
        name = rule["alert"]
        # The same rules, but for one that never fires.
        rules = yaml().safe_load(text)
        for group in rules["groups"]:
            for other in group["rules"]:
                if other["alert"] == name:
                    other["expr"] = "vector(0) > 1"
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, RULES.name).write_text(yaml().safe_dump(rules), encoding="utf-8")
            shutil.copy(TESTS, folder)
            try:
                run(promtool, "test", "rules", TESTS.name, cwd=folder)
            except Failed:
                continue
        raise Failed(f"no test notices that {name} is silent")
    return f"{len(alerts())} alerts"


def every_alert_is_in_the_documentation():
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    missing = [rule["alert"] for rule in alerts() if f"`{rule['alert']}`" not in page]
    expect(not missing, f"docs/deploy.md does not speak of {', '.join(missing)}")
    return f"{len(alerts())} alerts"


CHECKS = [
    dashboard_is_what_its_program_writes,
    every_metric_is_one_of_the_daemon,
    prometheus_reads_its_settings,
    alerts_are_raised_by_planted_faults,
    every_alert_has_a_test_that_notices_when_it_is_silent,
    every_alert_is_in_the_documentation,
]
