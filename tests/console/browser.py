"""A browser that looks at the console of one daemon, and complains of what no page should do."""

import json
import os
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, Response, Route, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "console/node_modules/axe-core/axe.min.js"
DIST = ROOT / "console/dist"
# What axe-core calls a finding that shuts somebody out.
GRAVE = ("serious", "critical")
KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8"}
# Chromium has no sandbox for root.
SANDBOX = ["--no-sandbox"] if os.geteuid() == 0 else []
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class Browser:
    """One page of a browser. `from_dist`: the files are those of console/dist rather than the daemon's own."""

    def __init__(self, origin: str, shots: Path, from_dist: bool = False):
        self.origin, self.shots, self.wrong, self.faults = origin, shots, [], 0
        self.playwright = sync_playwright().start()
        path = shutil.which("chromium") or shutil.which("google-chrome") or None
        self.browser = self.playwright.chromium.launch(executable_path=path, args=SANDBOX)
        self.context = self.browser.new_context(viewport={"width": 1024, "height": 800})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda fault: self.wrong.append(f"an error of the page: {fault}"))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)
        if from_dist:
            self.page.route("**/*", self._from_dist)
        shots.mkdir(parents=True, exist_ok=True)

    def _said(self, message) -> None:
        # Refusals are what some of the acts are for.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource: the server responded with a status of 4"):
            self.wrong.append(f"the console says: {message.text}")

    def _asked(self, request) -> None:
        if not request.url.startswith((self.origin + "/", "data:", "blob:")):
            self.wrong.append(f"a request to elsewhere: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self.wrong.append(f"{response.status}: {response.url}")

    def _from_dist(self, route: Route) -> None:
        path = urlsplit(route.request.url).path
        name = "index.html" if path == "/" else path.removeprefix("/console/") if path.startswith("/console/") else None
        if name is None or not (DIST / name).is_file():
            return route.fallback()
        kind = KINDS[Path(name).suffix]
        return route.fulfill(body=(DIST / name).read_bytes(), headers={"content-type": kind, "content-security-policy": POLICY})

    def go(self, where: str = "") -> None:
        self.page.goto(f"{self.origin}/#/{where}")
        self.page.wait_for_selector("main h1")

    def check(self, name: str) -> None:
        """Looks at what is shown: both themes, a narrow screen, and axe-core's rules; a picture of each."""
        for theme in ("light", "dark"):
            self.page.emulate_media(color_scheme=theme)
            self.page.screenshot(path=self.shots / f"{name}-{theme}.png", full_page=True)
            self._axe(f"{name}, {theme}")
        self.page.emulate_media(color_scheme="light")
        self.page.set_viewport_size({"width": 390, "height": 800})
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if wide > 0:
            self.wrong.append(f"{name} is {wide} pixels wider than a phone")
        self.page.screenshot(path=self.shots / f"{name}-phone.png", full_page=True)
        self.page.set_viewport_size({"width": 1024, "height": 800})

    def _axe(self, where: str) -> None:
        if not self.page.evaluate("typeof window.axe === 'object'"):
            self.page.evaluate(AXE.read_text() + "\n;undefined")
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for finding in found["violations"]:
            if finding["impact"] in GRAVE:
                nodes = [node["html"][:160] + " " + node["failureSummary"].replace("\n", " ")[:200] for node in finding["nodes"][:3]]
                self.wrong.append(f"axe-core on {where}: {finding['id']} ({finding['impact']}): {json.dumps(nodes)}")

    def done(self, what: str) -> None:
        """Ends one part of the walk."""
        print(f"{'wrong' if self.wrong else 'ok':6}{what}", flush=True)
        for fault in self.wrong:
            print(f"      {fault}", file=sys.stderr)
        self.faults += len(self.wrong)
        self.wrong.clear()

    def close(self) -> None:
        self.browser.close()
        self.playwright.stop()
