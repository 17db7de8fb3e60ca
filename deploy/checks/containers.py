"""The image and the containers beside it, as far as that goes without building them."""

import fnmatch
import re
import shutil
import tempfile
from pathlib import Path

from . import DEPLOY, ROOT, Failed, Skipped, expect, run, tool, yaml

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = DEPLOY / "compose.yaml"
PIP = "pip install -r deploy/requirements.txt"


def context():
    """The files of the repository that .dockerignore lets into a build."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    for name in run("git", "ls-files").splitlines():
        taken = True
        for pattern in patterns:
            wanted = pattern.startswith("!")
            pattern = pattern.lstrip("!")
            whole = any(fnmatch.fnmatchcase(part, pattern) for part in [name, *map(str, Path(name).parents)])
            deep = pattern.startswith("**/") and any(fnmatch.fnmatchcase(part, pattern[3:]) for part in Path(name).parts)
            # A star of .dockerignore does not cross folders.
            if (whole and pattern.count("/") in (0, name.count("/")) or name.startswith(pattern + "/")) or deep:
                taken = wanted
        if taken:
            yield Path(name)


def dockerfile_is_sound():
    run(tool("hadolint", PIP), DOCKERFILE)
    text = DOCKERFILE.read_text(encoding="utf-8")
    expect(re.search(r"^USER [1-9][0-9]*:[1-9][0-9]*$", text, re.M), "the image's account has to be a number that is not root's")
    expect("insecure" not in text.lower(), "the image must not lift what keeps it closed")
    return "hadolint"


def build_context_holds_what_cargo_reads():
    tool("cargo", "rustup")
    files = list(context())
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            if (ROOT / file).is_file():
                (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, Path(folder) / file)
        run("cargo", "metadata", "--no-deps", "--offline", "--locked", "--format-version", "1", cwd=folder)
        included = re.compile(r'include_(?:str|bytes)!\(\s*"([^"]+)"')
        for file in (path for path in files if path.suffix == ".rs" and path.parts[0] == "src" and "test" not in str(path)):
            for name in included.findall((ROOT / file).read_text(encoding="utf-8")):
                there = (Path(folder) / file.parent / name).resolve()
                expect(there.is_file(), f"{file} includes {name}, which is not in the build's context")
    return f"{len(files)} files"


def compose_fits_its_schema():
    run(tool("check-jsonschema", PIP), "--builtin-schema", "vendor.compose-spec", COMPOSE)
    return "the schema of the Compose specification"


def compose_is_closed_and_pinned():
    services = yaml().safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    for name, service in services.items():
        expect(service.get("read_only") and service.get("cap_drop") == ["ALL"], f"{name} may write its root or keeps rights")
        expect(re.search(r":v?\d+\.\d+\.\d+", service["image"]), f"{name} has no version in `{service['image']}`")
        for port in service.get("ports", []):
            expect(port.startswith("127.0.0.1:"), f"{name} opens {port} to other machines")
        for mount in service.get("volumes", []):
            here = mount.split(":")[0]
            if here.startswith("./"):
                expect((DEPLOY / here).exists(), f"{name} mounts {here}, which is not there")
    return f"{len(services)} services"


def docker_compose_reads_it():
    docker = tool("docker", "Docker with its plugin compose")
    try:
        run(docker, "compose", "version")
    except Failed:
        raise Skipped("needs docker compose: Docker's plugin") from None
    run(docker, "compose", "--file", COMPOSE, "config", "--quiet", env={"GRAFANA_PASSWORD": "x"})
    return "docker compose config"


CHECKS = [
    dockerfile_is_sound,
    build_context_holds_what_cargo_reads,
    compose_fits_its_schema,
    compose_is_closed_and_pinned,
    docker_compose_reads_it,
]
