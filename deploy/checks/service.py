"""The service of systemd and the package for Debian."""

import re
import stat
import tempfile
from pathlib import Path

from . import DEPLOY, ROOT, Skipped, expect, run, tool

UNIT = DEPLOY / "systemd" / "adapterd.service"
# 0 is as closed as can be, 10 open.
MOST_EXPOSED = 2.5
SYSTEMD = "apt-get install systemd"


def unit_is_correct():
    analyze = tool("systemd-analyze", SYSTEMD)
    with tempfile.TemporaryDirectory() as folder:
        # The program need not be installed: any takes its place.
        unit = Path(folder, UNIT.name)
        unit.write_text(UNIT.read_text(encoding="utf-8").replace("/usr/bin/adapterd", "/bin/true"), encoding="utf-8")
        said = run(analyze, "verify", "--man=no", unit)
    expect(not said.strip(), said)
    return "systemd-analyze verify"


def unit_is_closed():
    analyze = tool("systemd-analyze", SYSTEMD)
    threshold = round(MOST_EXPOSED * 10)
    said = run(analyze, "security", "--offline=true", f"--threshold={threshold}", UNIT)
    exposure = re.search(r"exposure level.*?: ([\d.]+)", said)
    expect(exposure and float(exposure[1]) <= MOST_EXPOSED, f"exposure {exposure and exposure[1]}, wanted is at most {MOST_EXPOSED}")
    return f"exposure {exposure[1]}, at most {MOST_EXPOSED}"


def account_is_made():
    sysusers = tool("systemd-sysusers", SYSTEMD)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "etc").mkdir()
        run(sysusers, f"--root={folder}", DEPLOY / "systemd" / "adapterd.sysusers")
        account = Path(folder, "etc", "passwd").read_text(encoding="utf-8")
    line = next((line for line in account.splitlines() if line.startswith("adapterd:")), "")
    expect(line.endswith(":/usr/sbin/nologin") and ":/var/lib/adapterd:" in line, f"the account is `{line}`")
    return line


def package_names_files_that_exist():
    try:
        import tomllib
    except ImportError:
        raise Skipped("needs Python 3.11") from None
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    deb = manifest["package"]["metadata"]["deb"]
    for source, _, _ in deb["assets"]:
        built = source.startswith("target/")
        expect(built or list(ROOT.glob(source)), f"Cargo.toml packs {source}, which is not there")
    targets = {f"/{target}{'' if not target.endswith('/') else Path(source).name}" for source, target, _ in deb["assets"]}
    for file in deb["conf-files"]:
        expect(file in targets, f"{file} is named as a configuration file and not packed")
    scripts = sorted((ROOT / deb["maintainer-scripts"]).glob("p*"))
    for script in scripts:
        run("sh", "-n", script)
        expect(script.stat().st_mode & stat.S_IXUSR, f"{script.name} is not executable")
        expect("#DEBHELPER#" in script.read_text(encoding="utf-8"), f"{script.name} has no place for what cargo-deb adds")
    return f"{len(deb['assets'])} assets, {len(scripts)} scripts"


CHECKS = [unit_is_correct, unit_is_closed, account_is_made, package_names_files_that_exist]
