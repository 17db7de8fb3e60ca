"""A running daemon: confined as by its unit, configured as in its image, scraped by a real Prometheus."""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from . import DEPLOY, ROOT, Failed, Skipped, chart, confined, containers, expect, run, tool, watching

binary = None
PATIENCE = 120
# Empty while nothing is wrong.
MAY_BE_EMPTY = {"Share of faults"}


class Running:
    """Programs that this started, and nothing else."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.home = Path(self.folder.name)
        self.programs = {}
        self.ports = {}
        self.key = None

    def environment(self):
        """The image's, but for addresses and folders."""
        text = containers.DOCKERFILE.read_text(encoding="utf-8")
        said = dict(re.findall(r"\b(ADAPTERD_[A-Z_]+)=(\S+)", text))
        said["ADAPTERD_SERVER__HTTP"] = f"127.0.0.1:{self.port('http')}"
        said["ADAPTERD_SERVER__GRPC"] = f"127.0.0.1:{self.port('grpc')}"
        said["ADAPTERD_STORAGE__DATA_DIR"] = str(self.home / "state")
        said["ADAPTERD_AUTH__OPEN_METRICS"] = "true"
        return {**{name: value for name, value in os.environ.items() if not name.startswith("ADAPTERD_")}, **said}

    def port(self, name):
        if name not in self.ports:
            with socket.socket() as door:
                door.bind(("127.0.0.1", 0))
                self.ports[name] = door.getsockname()[1]
        return self.ports[name]

    def start(self, name, command, **more):
        with open(self.home / f"{name}.log", "wb") as log:
            self.programs[name] = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, **more)

    def log(self, name):
        return (self.home / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-1500:]

    def end(self, name):
        program = self.programs.pop(name, None)
        if program:
            program.send_signal(signal.SIGTERM)
            try:
                return program.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        return None

    def ask(self, *arguments, fine=(0,)):
        environment = self.environment()
        if self.key:
            environment["ADAPTERD_API_KEY"] = self.key
        command = [str(binary), *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        expect(done.returncode in fine, f"adapterd {arguments[0]} exits with {done.returncode}: {done.stderr[-1500:]}")
        return done.stdout


running = None


def stop():
    if running:
        for name in list(running.programs):
            running.end(name)
        running.folder.cleanup()


def get(url, timeout=5):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read().decode()


def until(what, holds, patience=PATIENCE):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            if holds():
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.2)
    raise Failed(f"{what} has not come within {patience} seconds")


def here():
    if not binary:
        raise Skipped("needs --binary FILE")
    if not running:
        raise Skipped("needs a daemon that starts")
    return running


def program_needs_only_what_the_image_has():
    """The second stage has the C library and gcc's own."""
    if not binary:
        raise Skipped("needs --binary FILE")
    needed = re.findall(r"^\s*(\S+?)(?:\.so\S*)? (?:=>|\()", run(tool("ldd", "the C library's programs"), binary), re.M)
    others = {Path(name).name for name in needed} - {"linux-vdso", "libc", "libm", "libgcc_s", "libdl", "libpthread", "librt", "ld-linux-x86-64", "ld-linux-aarch64"}
    expect(not others, f"the image has no {', '.join(sorted(others))}")
    return ", ".join(Path(name).name for name in needed)


def daemon_starts_as_in_its_image_under_the_units_filter():
    """With the image's variables and account, a root that cannot be written, and the unit's system calls."""
    global running
    if not binary:
        raise Skipped("needs --binary FILE")
    started = Running()
    limits, without = [], []
    for what, made in (("a read-only root", lambda: confined.read_only_root(started.home)), ("the unit's filter", confined.confinement)):
        try:
            limits.append((what, made()))
        except Skipped as why:
            without.append(f"{what} ({why})")

    def confine():
        for _, limit in limits:
            limit()

    started.start("daemon", [binary, "serve"], env=started.environment(), preexec_fn=confine, cwd="/")
    running = started
    url = f"http://127.0.0.1:{started.port('http')}"
    try:
        until("a ready daemon", lambda: started.programs["daemon"].poll() is not None or get(url + "/readyz"), 60)
    except Failed as why:
        raise Failed(f"{why}: {started.log('daemon')}") from None
    expect(started.programs["daemon"].poll() is None, f"the daemon ends: {started.log('daemon')}")
    with_what = " and ".join(what for what, _ in limits) or "nothing taken from it"
    return with_what + (f"; not with {', '.join(without)}" if without else "")


def first_key_is_made_beside_it():
    started = here()
    started.key = started.ask("key", "create", "--name", "check", "--scopes", "admin").strip().splitlines()[-1]
    expect(started.key.startswith("sk-adp-"), "no key was printed")
    server = ["--server", f"http://127.0.0.1:{started.port('http')}"]
    adapters = json.loads(started.ask("adapter", "list", "--json", *server))
    expect("legal" in json.dumps(adapters), f"the bundled adapters are not there: {adapters}")
    return "and opens the daemon"


def program_asks_for_its_own_health():
    started = here()
    server = ["--server", f"http://127.0.0.1:{started.port('http')}"]
    for probe in ("startup", "live", "ready"):
        started.ask("health", "--probe", probe, *server)
    started.ask("health", "--server", f"http://127.0.0.1:{started.port('nobody')}", fine=(3,))
    return "0 where it is well, 3 where nobody answers"


def traffic():
    """Answers and mistakes, so that every part has numbers."""
    started = here()
    url = f"http://127.0.0.1:{started.port('http')}/v1/completions"
    for adapter in ("none", "legal", "medical", "nobody"):
        for stream in (False, True):
            body = {"model": "adapterd-base", "prompt": "The clerk is", "max_tokens": 16, "adapter": adapter, "stream": stream}
            ask = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", "authorization": f"Bearer {started.key}"})
            try:
                with urllib.request.urlopen(ask, timeout=PATIENCE) as answer:
                    answer.read()
            except urllib.error.HTTPError as error:
                expect(adapter == "nobody" and error.code == 404, f"{adapter}: {error.code} {error.read()[:500]}")


def train(steps, *more):
    started = here()
    data = ROOT / "adapters" / "finance" / "train.jsonl"
    job = ["train", "--name", "check", "--data", data, "--steps", steps, "--rank", "4", "--batch-size", "4", *more]
    started.ask(*job, "--server", f"http://127.0.0.1:{started.port('http')}")


def metrics_are_well_formed():
    started = here()
    promtool = tool("promtool", watching.PROMTOOL)
    traffic()
    train(4, "--wait")
    text = get(f"http://127.0.0.1:{started.port('http')}/metrics")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=PATIENCE)
    # Names of gateways have a colon, and PromQL's advice on names does not fit names that are fixed.
    wrong = [line for line in (done.stdout + done.stderr).splitlines() if line and not line.startswith("vllm:") and "should" not in line]
    expect(not wrong, "; ".join(wrong))
    return f"{len({line.split('{')[0].split()[0] for line in text.splitlines() if line and line[0] != '#'})} names"


def query(text):
    url = f"http://127.0.0.1:{running.port('prometheus')}/api/v1/query?"
    try:
        return json.loads(get(url + urllib.parse.urlencode({"query": text})))["data"]["result"]
    except urllib.error.HTTPError as error:
        raise Failed(f"{text}: {error.read().decode()}") from None


def prometheus_answers_every_query_of_the_dashboard():
    started = here()
    prometheus = tool("prometheus", watching.PROMTOOL)
    settings = started.home / "prometheus.yml"
    settings.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{watching.RULES}']\n"
        f"scrape_configs: [{{job_name: adapterd, static_configs: [{{targets: ['127.0.0.1:{started.port('http')}']}}]}}]\n",
        encoding="utf-8",
    )
    address = f"127.0.0.1:{started.port('prometheus')}"
    started.start("prometheus", [prometheus, f"--config.file={settings}", f"--storage.tsdb.path={started.home / 'tsdb'}", f"--web.listen-address={address}"])
    until("a scrape", lambda: query("count_over_time(up[1m]) > 8"))
    # Rates need samples from before and after; a job's series end with it, so this one is still running when it is looked at.
    traffic()
    train(10_000, "--precision", "f16")
    until("a job's first steps", lambda: query("adapterd_train_step > 2") and query("count_over_time(up[1m]) > 20"))
    text = get(f"http://127.0.0.1:{started.port('http')}/metrics")
    there = set(re.findall(r"^([a-z_:]+)", text, re.M))
    empty, absent, all_of_them = [], set(), 0
    for title, asked in watching.expressions():
        result = query(asked)
        all_of_them += 1
        missing = set(watching.NAME.findall(asked)) - there
        absent |= missing
        if not result and not missing and title not in MAY_BE_EMPTY:
            empty.append(f"{title}: {asked}")
    expect(not empty, "no data for " + "; ".join(empty))
    return f"{all_of_them} queries" + (f"; no series yet of {', '.join(sorted(absent))}" if absent else "")


def prometheus_evaluates_every_alert_and_notices_the_end():
    started = here()
    expect("prometheus" in started.programs, "Prometheus does not run")
    groups = json.loads(get(f"http://127.0.0.1:{started.port('prometheus')}/api/v1/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    bad = [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] != "ok"]
    expect(not bad, "; ".join(bad))
    alarmed = [rule["name"] for rule in rules if rule["state"] == "firing"]
    expect(not alarmed, f"a daemon that is well raises {', '.join(alarmed)}")
    code = started.end("daemon")
    expect(code == 0, f"after SIGTERM it ends with {code}: {started.log('daemon')}")
    until("an alert of the end", lambda: query('ALERTS{alertname="AdapterdDown"}'), 30)
    return f"{len(rules)} alerts; its end is noticed"


def settings_that_are_shipped_are_understood():
    if not binary:
        raise Skipped("needs --binary FILE")
    run(binary, "config", "check", DEPLOY / "deb" / "adapterd.toml")
    yaml = chart.yaml()
    with tempfile.TemporaryDirectory() as folder:
        for values in (chart.EVERYTHING, {}):
            made = next(found for found in chart.manifests(values) if found["kind"] == "ConfigMap" and "adapterd.toml" in found["data"])
            file = Path(folder, "adapterd.toml")
            file.write_text(made["data"]["adapterd.toml"], encoding="utf-8")
            pod = next(found for found in chart.manifests(values) if found["kind"] == "StatefulSet")
            variables = {one["name"]: one["value"] for one in pod["spec"]["template"]["spec"]["containers"][0]["env"]}
            run(binary, "config", "show", "--config", file, env={**variables, "ADAPTERD_STORAGE__DATA_DIR": folder})
    compose = yaml.safe_load(containers.COMPOSE.read_text(encoding="utf-8"))["services"]["adapterd"]["environment"]
    variables = {name: re.sub(r"^\$\{[A-Z_]+:-(.*)\}$", r"\1", value) for name, value in compose.items()}
    run(binary, "config", "show", env=variables)
    return "package, chart, compose"


CHECKS = [
    settings_that_are_shipped_are_understood,
    program_needs_only_what_the_image_has,
    daemon_starts_as_in_its_image_under_the_units_filter,
    first_key_is_made_beside_it,
    program_asks_for_its_own_health,
    metrics_are_well_formed,
    prometheus_answers_every_query_of_the_dashboard,
    prometheus_evaluates_every_alert_and_notices_the_end,
]
