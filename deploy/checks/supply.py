"""What the program is built from: licences, sources, known faults, a list of all of it."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from . import ROOT, Skipped, expect, run, tool

# Older ones know neither `[graph]` nor the licences of today.
OLDEST_DENY = (0, 16)
TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"]


def policy():
    try:
        import tomllib
    except ImportError:
        raise Skipped("needs Python 3.11") from None
    return tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))


def packages():
    """What is part of the program on any of the targets, tests' own crates left out."""
    tool("cargo", "rustup")
    found = {}
    for target in TARGETS:
        text = run("cargo", "metadata", "--offline", "--locked", "--all-features", "--format-version", "1", "--filter-platform", target)
        metadata = json.loads(text[text.index("{"):])
        nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
        known = {package["id"]: package for package in metadata["packages"]}
        todo = [metadata["resolve"]["root"]]
        while todo:
            here = todo.pop()
            if here not in found:
                found[here] = known[here]
                todo += [dep["pkg"] for dep in nodes[here]["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
    return list(found.values())


def allows(expression, allowed):
    """Whether an SPDX expression can be met by licences of the list."""
    words = re.findall(r"\(|\)|[^()\s]+", expression.replace("/", " OR "))

    def either():
        met = both()
        while words and words[0] == "OR":
            words.pop(0)
            met = both() or met
        return met

    def both():
        met = one()
        while words and words[0] == "AND":
            words.pop(0)
            met = one() and met
        return met

    def one():
        word = words.pop(0)
        if word == "(":
            met = either()
            words.pop(0)
            return met
        if words and words[0] == "WITH":
            words.pop(0)
            word += " WITH " + words.pop(0)
        return word in allowed

    return either()


def licences_are_allowed():
    licences = policy()["licenses"]
    exceptions = {exception["crate"]: set(exception["allow"]) for exception in licences.get("exceptions", [])}
    found = packages()
    wrong = []
    for package in found:
        allowed = set(licences["allow"]) | exceptions.get(package["name"], set())
        if not package["license"] or not allows(package["license"], allowed):
            wrong.append(f"{package['name']} {package['version']}: {package['license']}")
    expect(not wrong, "; ".join(wrong))
    return f"{len(found)} crates"


def sources_are_the_registry_and_no_crate_is_banned():
    rules = policy()
    # Of the project itself: no source.
    sources = {package["source"] for package in packages()} - {None}
    known = {f"registry+{url}" for url in rules["sources"]["allow-registry"]}
    expect(sources <= known, f"other sources: {sorted(sources - known)}")
    names = {package["name"] for package in packages()}
    banned = sorted(names & {ban["crate"] for ban in rules["bans"]["deny"]})
    expect(not banned, f"banned: {', '.join(banned)}")
    return "one registry, nothing banned"


def cargo_deny_agrees():
    if not shutil.which("cargo-deny"):
        raise Skipped("needs cargo-deny: cargo install cargo-deny --locked")
    version = re.search(r"(\d+)\.(\d+)", run("cargo-deny", "--version"))
    if (int(version[1]), int(version[2])) < OLDEST_DENY:
        raise Skipped(f"needs cargo-deny {'.'.join(map(str, OLDEST_DENY))} or newer, which knows the policy's fields; this is {version[0]}")
    run("cargo", "deny", "--all-features", "check", timeout=600)
    return "cargo deny check"


def a_bill_of_materials_can_be_made():
    if not shutil.which("cargo-cyclonedx"):
        raise Skipped("needs cargo-cyclonedx: cargo install cargo-cyclonedx --locked")
    with tempfile.TemporaryDirectory() as folder:
        # The tool writes beside each manifest, so it is given a copy.
        copy = Path(folder, "source")
        for name in run("git", "ls-files", "*.rs", "*Cargo.toml", "Cargo.lock").splitlines():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
        run("cargo", "cyclonedx", "--format", "json", "--describe", "binaries", cwd=copy, timeout=600)
        made = list(copy.glob("*.json"))
        expect(made, "no bill was written")
        parts = json.loads(made[0].read_text(encoding="utf-8"))["components"]
    return f"{len(parts)} components"


CHECKS = [licences_are_allowed, sources_are_the_registry_and_no_crate_is_banned, cargo_deny_agrees, a_bill_of_materials_can_be_made]
