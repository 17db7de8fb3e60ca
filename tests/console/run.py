#!/usr/bin/env python3
"""Walks through the console as a person would, against a daemon of its own.

    pip install playwright && (cd console && npm ci) && tests/console/run.py [BINARY] [--dist] [--shots FOLDER]

The browser is the system's chromium, or the one that `playwright install chromium` brings. `--dist` takes the page from
console/dist, so that a change of it needs no new build of the daemon.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from daemon import BINARY, ROOT, Daemon  # noqa: E402
from browser import Browser  # noqa: E402
from refusals import refusals  # noqa: E402
from playwright.sync_api import expect  # noqa: E402

expect.set_options(timeout=20_000)
# Training of a tiny job on a slow machine.
LONG = 300_000


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("binary", nargs="?", type=Path, default=BINARY)
    asked.add_argument("--dist", action="store_true")
    asked.add_argument("--shots", type=Path, default=Path(__file__).parent / "shots")
    asked.add_argument("--only", default="")
    asked = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(asked.binary, f"{folder}/open")
        browser = Browser(f"http://127.0.0.1:{daemon.port}", asked.shots, asked.dist)
        walks = [frame, playground, adapters, data, job, keys, system, refusals]
        for walk in walks:
            if not asked.only or walk.__name__ in asked.only.split(","):
                walk(browser, daemon, Path(folder))
                browser.done(walk.__doc__)
        browser.close()
        daemon.stop()
        faults = browser.faults
        for walk in (locked, divided, many):
            if not asked.only or walk.__name__ in asked.only.split(","):
                faults += walk(asked, Path(folder))
    if faults:
        raise SystemExit(f"{faults} faults")
    print("all is well")


def frame(browser: Browser, daemon: Daemon, _: Path) -> None:
    """the frame: skip link, keyboard, theme"""
    page = browser.page
    browser.go()
    expect(page).to_have_title("Playground · adapterd")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    link = page.get_by_role("link", name="Adapters", exact=True)
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Adapters", level=1)).to_be_visible()
    expect(page.locator("main")).to_be_focused()
    expect(link).to_have_attribute("aria-current", "page")
    for wanted in ("light", "dark", "auto"):
        page.get_by_role("button", name=f"switch to {wanted}").click()
        expect(page.locator(f"html[data-theme={wanted}]")).to_have_count(1)


def playground(browser: Browser, daemon: Daemon, _: Path) -> None:
    """the playground: two adapters, probabilities, what is refused"""
    page = browser.page
    browser.go("playground")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (text) => { window.copied = text }}, configurable: true})")
    page.get_by_label("Adapter A").fill("adapterd-base")
    page.get_by_label("Adapter B").fill("medical")
    page.get_by_label("Prompt", exact=True).fill("Write the clinical note as a plain sentence.\nMalul p/w abd pain, 37 d.")
    page.get_by_role("button", name="Send").click()
    for side in ("Answer A", "Answer B"):
        expect(page.get_by_role("region", name=side).locator(".numbers")).to_contain_text("ended")
    answer = page.get_by_role("region", name="Answer B").locator(".tokens")
    assert "Malul" in answer.inner_text(), answer.inner_text()
    first = answer.locator("button").first
    first.focus()
    page.keyboard.press("ArrowRight")
    expect(answer.locator("button").nth(1)).to_be_focused()
    expect(page.get_by_role("region", name="Answer B").locator(".alternatives li")).to_have_count(5)
    browser.check("playground")
    page.get_by_role("region", name="Answer B").get_by_role("button", name="Copy as curl").click()
    page.wait_for_function("window.copied")
    copied = page.evaluate("window.copied")
    answered = json.loads(subprocess.run(["bash", "-c", f"{copied} -s"], capture_output=True, check=True, text=True).stdout)
    assert answered["choices"][0]["message"]["content"], answered
    # A generation by its digits, and a blend.
    generation = json.loads(daemon.call("GET", "/v1/adapters/legal")[1])["generation"]
    page.get_by_label("Adapter A").fill(f"legal@{generation[:12]}")
    page.get_by_label("Adapter B").fill("legal=0.5,medical=0.5")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("region", name="Answer A").locator(".numbers")).to_contain_text(generation[:8])
    expect(page.get_by_role("region", name="Answer B").locator(".numbers")).to_contain_text("ended")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    page.get_by_label("Adapter B").fill("medical")
    # A second turn is sent with the first one, as each side answered it.
    page.get_by_label("Keep the conversation").check()
    for _ in range(2):
        with page.expect_request(lambda request: '"medical"' in (request.post_data or "")) as sent:
            page.get_by_role("button", name="Send").click()
        expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert [message["role"] for message in sent.value.post_data_json["messages"]] == ["user", "assistant", "user"]
    expect(page.get_by_role("region", name="Answer B").locator(".said-before li")).to_have_count(2)
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".said-before")).to_have_count(0)
    page.get_by_label("Keep the conversation").uncheck()
    # A refusal stands beside the act, and what was typed stays.
    page.get_by_text("Sampling, stop, schema").click()
    page.get_by_label("Temperature").fill("9")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("region", name="Answer A").get_by_role("alert")).to_contain_text("temperature")
    expect(page.get_by_label("Temperature")).to_have_value("9")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("Write the clinical note as a plain sentence.\nMalul p/w abd pain, 37 d.")
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("JSON schema of the answer").fill("{")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_text("The schema is no JSON")).to_be_visible()
    page.get_by_label("JSON schema of the answer").fill('{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": false}')
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert isinstance(json.loads(answer.inner_text())["a"], bool)
    page.get_by_label("JSON schema of the answer").fill("")
    page.get_by_label("Most tokens").fill("900")
    page.get_by_text("plain text").click()
    # The tiny model would have ended before anybody could stop it, so its answers are held back.
    page.route("**/v1/completions", lambda route: None)
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("region", name="Answer A").locator(".numbers")).to_contain_text("ended: stopped")
    expect(page.get_by_role("button", name="Send")).to_be_visible()
    page.unroute("**/v1/completions")


def adapters(browser: Browser, daemon: Daemon, _: Path) -> None:
    """adapters: search, pin, a conflict, upload, delete"""
    page = browser.page
    browser.go("adapters")
    page.get_by_label("Search").fill("med")
    expect(page.get_by_text("1 of 2 adapters")).to_be_visible()
    page.get_by_label("Search").fill("")
    browser.check("adapters")
    page.get_by_role("link", name="medical").click()
    page.get_by_role("button", name="Pin", exact=True).click()
    expect(page.get_by_role("button", name="Unpin")).to_be_visible()
    page.get_by_role("button", name="Unpin").click()
    expect(page.get_by_role("button", name="Pin", exact=True)).to_be_visible()
    browser.check("adapter")
    # The name moves while the page still shows where it was.
    status, archive = daemon.call("GET", "/v1/adapters/legal/content")
    assert status == 200
    before = daemon.call("GET", "/v1/adapters/medical")[1]
    page.route("**/v1/adapters/medical", lambda route: route.fulfill(body=before, content_type="application/json") if route.request.method == "GET" else route.fallback())
    page.wait_for_timeout(100)
    assert daemon.call("PUT", "/v1/adapters/medical", archive, "application/x-tar")[0] == 200
    page.get_by_role("button", name="Pin", exact=True).click()
    expect(page.locator(".acts").get_by_role("alert")).to_contain_text("generation")
    page.unroute("**/v1/adapters/medical")
    page.get_by_role("button", name="Roll back").click()
    stable = page.get_by_role("row").filter(has_text="stable")
    expect(stable).to_contain_text(json.loads(before)["generation"][:8])
    # An upload, by its archive; then it goes again.
    browser.go("adapters")
    page.get_by_label("Drop a tar archive").set_input_files({"name": "copy.tar", "mimeType": "application/x-tar", "buffer": archive})
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("status").get_by_role("link", name="copy").click()
    page.get_by_role("button", name="Delete…").click()
    deletes = page.get_by_role("dialog").get_by_role("button", name="Delete")
    expect(deletes).to_be_disabled()
    browser.check("adapter-delete")
    page.get_by_label("Type copy to confirm").fill("copy")
    deletes.click()
    expect(page.get_by_role("heading", name="Adapters", level=1)).to_be_visible()
    assert daemon.call("GET", "/v1/adapters/copy")[0] == 404


def data(browser: Browser, daemon: Daemon, folder: Path) -> None:
    """data: a file with mistakes is dropped, and they are shown by line"""
    page = browser.page
    lines = (ROOT / "adapters/finance/train.jsonl").read_text().splitlines()[:60]
    lines[4] = '{"instruction": "no answer here"}'
    lines[9] = lines[8]
    browser.go("data")
    drop = page.evaluate_handle(
        "(text) => { const data = new DataTransfer(); data.items.add(new File([text], 'mistakes.jsonl')); return data }", "\n".join(lines)
    )
    page.dispatch_event(".drop", "dragover", {"dataTransfer": drop})
    page.dispatch_event(".drop", "drop", {"dataTransfer": drop})
    page.get_by_role("button", name="Upload and check").click()
    report = page.get_by_role("region", name="Data report")
    expect(report).to_contain_text("a job would refuse it")
    expect(report.get_by_role("table", name="Bad rows").get_by_role("row").nth(1)).to_contain_text("5")
    expect(report.get_by_role("list", name="Rows by tokens").get_by_role("listitem").first).to_be_visible()
    browser.check("data-report")
    browser.go("data")
    expect(page.get_by_role("link", name="mistakes.jsonl", exact=True)).to_be_visible()
    browser.check("data")


def job(browser: Browser, daemon: Daemon, folder: Path) -> None:
    """a job: from a file to its curve, and its result into canary"""
    page = browser.page
    rows = (ROOT / "adapters/finance/train.jsonl").read_text().splitlines()[:48]
    before = json.loads(daemon.call("GET", "/v1/adapters/legal")[1])["generation"][:8]
    browser.go("jobs")
    browser.check("jobs-empty")
    page.get_by_role("link", name="New job from a file").click()
    page.get_by_label("Drop a training file").set_input_files({"name": "ledger.jsonl", "mimeType": "application/jsonl", "buffer": "\n".join(rows).encode()})
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("region", name="Data report")).to_contain_text("48 rows")
    settings = page.get_by_role("form", name="Settings of the job")
    settings.get_by_label("Name").fill("legal")
    for name, text in {"steps": "120", "rank": "4", "batch_size": "2", "eval_split": "4", "eval_every": "20", "publish": "manual"}.items():
        settings.get_by_label(name, exact=True).fill(text)
    settings.get_by_label("lr", exact=True).fill("-1")
    settings.get_by_role("button", name="Plan").click()
    expect(settings.get_by_role("alert")).to_contain_text("lr")
    expect(settings.get_by_label("lr", exact=True)).to_have_attribute("aria-invalid", "true")
    expect(settings.get_by_label("steps", exact=True)).to_have_value("120")
    settings.get_by_label("lr", exact=True).fill("0.005")
    settings.get_by_role("button", name="Plan").click()
    expect(page.get_by_role("region", name="Plan")).to_contain_text("120 steps")
    browser.check("job-new")
    page.get_by_role("button", name="Create the job").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("heading", name="legal paused", level=1)).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("heading", name="legal succeeded", level=1)).to_be_visible(timeout=LONG)
    expect(page.get_by_role("img", name="Loss: train")).to_be_visible()
    expect(page.get_by_role("img", name="at step 120").first).to_be_visible()
    expect(page.locator(".chart canvas").first).to_be_visible()
    expect(page.get_by_label("Log, newest first").get_by_role("listitem").first).to_be_visible()
    browser.check("job")
    page.get_by_label("Percent of requests").fill("25")
    page.get_by_role("button", name="Put into canary").click()
    expect(page.get_by_text("is in canary for 25 %")).to_be_visible()
    page.get_by_role("link", name="legal", exact=True).click()
    canary = page.get_by_role("region", name="Canary", exact=True)
    expect(canary).to_contain_text("Answers 25 %")
    browser.check("adapter-canary")
    canary.get_by_role("button", name="Promote the canary").click()
    expect(canary).to_have_count(0)
    expect(page.get_by_role("row").filter(has_text="stable")).not_to_contain_text(before)
    page.get_by_role("button", name="Roll back").click()
    expect(page.get_by_role("row").filter(has_text="stable")).to_contain_text(before)
    page.get_by_label("As", exact=True).select_option("shadow")
    page.get_by_role("button", name="Begin the shadow").click()
    shadow = page.get_by_role("region", name="Shadow", exact=True)
    expect(shadow).to_contain_text("unheard")
    shadow.get_by_role("button", name="Stop the shadow").click()
    expect(shadow).to_have_count(0)
    browser.go("jobs")
    expect(page.get_by_role("link", name="legal")).to_be_visible()
    browser.check("jobs")


def keys(browser: Browser, daemon: Daemon, _: Path) -> None:
    """keys: made, shown once, rotated, revoked, and told of in the audit"""
    page = browser.page
    browser.go("keys")
    form = page.get_by_role("form", name="New key")
    form.get_by_label("Name").fill("a team")
    form.get_by_role("checkbox", name="train").check()
    form.get_by_text("Limits, weight, end").click()
    form.get_by_label("Requests a minute").fill("60")
    form.get_by_role("button", name="Create the key").click()
    secret = page.locator(".secret")
    expect(secret).to_contain_text("sk-adp-")
    told = secret.inner_text()
    page.get_by_role("button", name="Done").click()
    expect(secret).to_have_count(0)
    assert told not in page.content()
    row = page.get_by_role("row").filter(has_text="a team")
    expect(row).to_contain_text("Requests a minute: 60")
    row.get_by_role("button", name="Rotate a team").click()
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    expect(secret).to_contain_text("sk-adp-")
    assert secret.inner_text() != told
    page.keyboard.press("Escape")
    browser.check("keys")
    row.get_by_role("button", name="Revoke…").click()
    page.get_by_label("Type a team to confirm").fill("a team")
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_have_count(0)
    page.get_by_role("button", name="Verify the audit").click()
    expect(page.get_by_text("intact")).to_be_visible()
    expect(page.get_by_role("table", name="Audit")).to_contain_text("key.revoke")


def system(browser: Browser, daemon: Daemon, _: Path) -> None:
    """the system: health, memory by part, blocks, requests"""
    page = browser.page
    browser.go("system")
    expect(page.get_by_text("Takes requests: ok")).to_be_visible()
    expect(page.get_by_role("list", name="Memory by part").get_by_role("listitem").filter(has_text="base")).to_contain_text("MiB")
    expect(page.get_by_role("table", name="Requests by route")).to_contain_text("/v1/models")
    browser.check("system")


def many(asked: argparse.Namespace, folder: Path) -> int:
    """a thousand adapters and a hundred jobs: each page within a second"""
    daemon = Daemon(asked.binary, f"{folder}/many")
    archive = daemon.call("GET", "/v1/adapters/legal/content")[1]
    rows = "\n".join((ROOT / "adapters/finance/train.jsonl").read_text().splitlines()[:2])
    form = f'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--b\r\ncontent-disposition: form-data; name="file"; filename="two.jsonl"\r\n\r\n{rows}\r\n--b--\r\n'
    file = json.loads(daemon.call("POST", "/v1/files", form.encode(), "multipart/form-data; boundary=b")[1])["id"]

    def adapter(number: int) -> None:
        assert daemon.call("PUT", f"/v1/adapters/adapter-{number:04}", archive, "application/x-tar")[0] == 200

    def job(number: int) -> None:
        made = json.loads(daemon.call("POST", "/v1/fine_tuning/jobs", json.dumps({"training_file": file, "suffix": f"job-{number}"}).encode())[1])
        daemon.call("POST", f"/v1/fine_tuning/jobs/{made['id']}/cancel", b"{}")

    with ThreadPoolExecutor(4) as several:
        list(several.map(adapter, range(998)))
        list(several.map(job, range(100)))
    browser = Browser(f"http://127.0.0.1:{daemon.port}", asked.shots, asked.dist)
    page = browser.page
    for where, shown in (("playground", "button:text-is('Send'):enabled"), ("adapters", "text=1000 of 1000 adapters"), ("jobs", "main tbody tr:nth-child(25)")):
        took = []
        # The best of three: the machine may be busy with something else.
        for _ in range(3):
            page.goto("about:blank")
            began = time.monotonic()
            page.goto(f"{browser.origin}/#/{where}")
            page.wait_for_selector(shown)
            took.append(time.monotonic() - began)
        print(f"      {where} within {min(took) * 1000:.0f} ms", flush=True)
        if min(took) > 1:
            browser.wrong.append(f"{where} took {min(took):.2f} s")
    browser.go("adapters")
    expect(page.get_by_role("table", name="Adapters").get_by_role("row")).to_have_count(51)
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("51–100 of 1,000")).to_be_visible()
    browser.go("jobs")
    page.get_by_role("button", name="Older").click()
    expect(page.get_by_role("button", name="Newer")).to_be_enabled()
    browser.done(many.__doc__)
    browser.close()
    daemon.stop()
    return browser.faults


def locked(asked: argparse.Namespace, folder: Path) -> int:
    """with keys: the dialog, a wrong key, a key of one scope, forgetting it"""
    create = [str(asked.binary), "key", "create", "--data-dir", f"{folder}/locked", "--name"]
    admin, infer = (
        subprocess.run([*create, name, "--scopes", scope], capture_output=True, check=True, text=True).stdout.strip() for name, scope in (("me", "admin"), ("asks", "infer"))
    )
    daemon = Daemon(asked.binary, f"{folder}/locked", settings={"ADAPTERD_AUTH__MODE": "keys"})
    browser = Browser(f"http://127.0.0.1:{daemon.port}", asked.shots, asked.dist)
    page = browser.page
    browser.go("adapters")
    dialog = page.get_by_role("dialog", name="Key")
    expect(dialog).to_be_visible()
    browser.check("key-dialog")
    dialog.get_by_label("API key").fill("sk-adp-1-2")
    dialog.get_by_role("button", name="Use it").click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    dialog.get_by_label("API key").fill(infer)
    dialog.get_by_role("button", name="Use it").click()
    expect(page.get_by_role("alert").first).to_contain_text("adapters")
    page.get_by_role("button", name="Forget the key").click()
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Not now").click()
    page.get_by_role("button", name="Enter a key").click()
    dialog.get_by_label("API key").fill(admin)
    dialog.get_by_role("button", name="Use it").click()
    expect(page.get_by_text("2 of 2 adapters")).to_be_visible()
    assert page.evaluate("JSON.stringify(localStorage)").find(admin) < 0
    assert page.evaluate("JSON.stringify(sessionStorage)").find(admin) > 0
    page.get_by_role("button", name="Forget the key").click()
    assert page.evaluate("JSON.stringify(sessionStorage)").find(admin) < 0
    browser.done(locked.__doc__)
    browser.close()
    daemon.stop()
    return browser.faults


def divided(asked: argparse.Namespace, folder: Path) -> int:
    """beside an address of its own for operating: the public one says what is elsewhere"""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        operating = f"127.0.0.1:{free.getsockname()[1]}"
    daemon = Daemon(asked.binary, f"{folder}/divided", "--admin", operating)
    browser = Browser(f"http://127.0.0.1:{daemon.port}", asked.shots, asked.dist)
    browser.go("adapters")
    expect(browser.page.get_by_role("alert")).to_contain_text("admin")
    browser.go("playground")
    browser.page.get_by_label("Prompt", exact=True).fill("Malul")
    browser.page.get_by_role("button", name="Send").click()
    expect(browser.page.get_by_role("region", name="Answer A").locator(".numbers")).to_contain_text("ended")
    browser.done(divided.__doc__)
    browser.close()
    beside = Browser(f"http://{operating}", asked.shots, asked.dist)
    beside.go("adapters")
    expect(beside.page.get_by_text("2 of 2 adapters")).to_be_visible()
    beside.close()
    daemon.stop()
    return browser.faults + beside.faults


if __name__ == "__main__":
    main()
