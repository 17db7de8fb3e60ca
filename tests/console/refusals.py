"""Acts that end in an error: the server's words stand beside them, and what was typed or chosen stays."""

import json

from playwright.sync_api import Locator, expect

from browser import Browser
from daemon import ROOT, Daemon

LINES = (ROOT / "adapters/finance/train.jsonl").read_text().splitlines()[:8]


def said_at(region: Locator, *words: str) -> None:
    """The words in the alert of a part of the page, as the daemon says them."""
    alert = region.get_by_role("alert").first
    for word in words:
        expect(alert).to_contain_text(word)


def refusals(browser: Browser, daemon: Daemon, _) -> None:
    """acts that end in an error: the server's words, and nothing that was typed is lost"""
    for walk in (of_prompts, of_uploads, of_routes, of_data, of_jobs, of_keys):
        walk(browser, daemon)


def of_prompts(browser: Browser, daemon: Daemon) -> None:
    page = browser.page
    browser.go("playground")
    page.get_by_label("a conversation").check()
    page.get_by_label("Adapter A").fill("nobody")
    page.get_by_label("Prompt", exact=True).fill("Malul")
    page.get_by_text("Sampling, stop, schema").click()
    page.get_by_label("Most tokens").fill("1.5")
    page.get_by_role("button", name="Send").click()
    said_at(page.get_by_role("region", name="Answer B"), "max_tokens")
    expect(page.get_by_label("Most tokens")).to_have_value("1.5")
    page.get_by_label("Most tokens").fill("4")
    page.get_by_role("button", name="Send").click()
    said_at(page.get_by_role("region", name="Answer A"), "nobody")
    expect(page.get_by_role("region", name="Answer B").locator(".numbers")).to_contain_text("ended")
    expect(page.get_by_label("Adapter A")).to_have_value("nobody")
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("Malul")


def of_uploads(browser: Browser, daemon: Daemon) -> None:
    page = browser.page
    browser.go("adapters")
    form = page.get_by_role("form", name="Upload an adapter")
    page.get_by_label("Drop a tar archive").set_input_files({"name": "broken.tar", "mimeType": "application/x-tar", "buffer": b"no archive" * 1000})
    form.get_by_label("Name").fill("broken")
    # While the daemon has not answered, the page says how much has gone out.
    held = []
    page.route("**/v1/adapters/broken*", lambda route: held.append(route))
    form.get_by_role("button", name="Upload").click()
    expect(form.get_by_role("progressbar", name="Upload")).to_be_visible()
    held[0].continue_()
    said_at(form, "archive")
    page.unroute("**/v1/adapters/broken*")
    expect(form.get_by_role("progressbar")).to_have_count(0)
    expect(form.get_by_label("Name")).to_have_value("broken")
    expect(page.get_by_text("1 file: broken.tar")).to_be_visible()
    archive = daemon.call("GET", "/v1/adapters/legal/content")[1]
    page.get_by_label("Drop a tar archive").set_input_files({"name": "whole.tar", "mimeType": "application/x-tar", "buffer": archive})
    form.get_by_label("Publish").select_option("canary")
    form.get_by_label("Percent of requests").fill("500")
    form.get_by_role("button", name="Upload").click()
    said_at(form, "500 is not between 0 and 100")
    expect(form.get_by_label("Percent of requests")).to_have_value("500")


def of_routes(browser: Browser, daemon: Daemon) -> None:
    page = browser.page
    before = json.loads(daemon.call("GET", "/v1/adapters/medical")[1])["generation"]
    archive = daemon.call("GET", "/v1/adapters/legal/content")[1]
    assert daemon.call("PUT", "/v1/adapters/medical?publish=manual", archive, "application/x-tar")[0] == 200
    browser.go("adapters/medical")
    form = page.get_by_role("form", name="Canary or shadow")
    percent = form.get_by_label("Percent of requests")
    for typed in ("150", ""):
        percent.fill(typed)
        form.get_by_role("button", name="Put into canary").click()
        said_at(form, "percent")
        expect(percent).to_have_value(typed)
        expect(percent).to_have_attribute("aria-invalid", "true")
    percent.fill("5")
    form.get_by_text("Policy: when it ends by itself").click()
    form.get_by_label("Largest share of errors").fill("7")
    form.get_by_role("button", name="Put into canary").click()
    said_at(form, "max_error_rate")
    expect(form.get_by_label("Largest share of errors")).to_have_value("7")
    form.get_by_label("As", exact=True).select_option("shadow")
    percent.fill("-1")
    form.get_by_role("button", name="Begin the shadow").click()
    said_at(form, "percent")
    # The focus stays with who came by the keyboard.
    expect(form.get_by_role("button", name="Begin the shadow")).to_be_focused()
    assert json.loads(daemon.call("GET", "/v1/adapters/medical")[1])["generation"] == before


def of_data(browser: Browser, daemon: Daemon) -> None:
    page = browser.page
    browser.go("data")
    page.get_by_label("Drop a training file here").set_input_files({"name": "empty.jsonl", "mimeType": "application/jsonl", "buffer": b""})
    page.get_by_role("button", name="Upload and check").click()
    said_at(page.locator("main"), "file")
    expect(page.get_by_text("empty.jsonl, 0 B")).to_be_visible()
    page.get_by_label("Drop a training file here").set_input_files({"name": "few.jsonl", "mimeType": "application/jsonl", "buffer": "\n".join(LINES).encode()})
    page.get_by_role("button", name="Upload and check").click()
    expect(page.get_by_role("region", name="Data report")).to_contain_text("8 rows")
    page.get_by_label("Share to hold out").fill("-4")
    page.get_by_role("button", name="Look again").click()
    said_at(page.locator("main"), "eval_split")
    expect(page.get_by_label("Share to hold out")).to_have_value("-4")


def of_jobs(browser: Browser, daemon: Daemon) -> None:
    page = browser.page
    browser.go("data")
    page.get_by_role("link", name="Train on it: few.jsonl").first.click()
    form = page.get_by_role("form", name="Settings of the job")
    form.get_by_label("Name").fill("not a name!")
    form.get_by_label("rank", exact=True).fill("many")
    page.get_by_role("button", name="Create the job").click()
    said_at(page.locator("main"), "rank")
    form.get_by_label("rank", exact=True).fill("4")
    page.get_by_role("button", name="Create the job").click()
    said_at(page.locator("main"), "name")
    expect(form.get_by_label("Name")).to_have_value("not a name!")
    expect(form.get_by_label("rank", exact=True)).to_have_value("4")
    # What was typed outlives a look at another page.
    page.get_by_role("link", name="System").click()
    page.go_back()
    expect(form.get_by_label("Name")).to_have_value("not a name!")
    form.get_by_label("Name").fill("")
    browser.go("jobs/ftjob-nobody")
    said_at(page.locator("main"), "ftjob-nobody")


def of_keys(browser: Browser, daemon: Daemon) -> None:
    page = browser.page
    browser.go("keys")
    form = page.get_by_role("form", name="New key")
    form.get_by_label("Name").fill("a second team")
    form.get_by_text("Limits, weight, end").click()
    for label, typed in (("Requests a minute", "-3"), ("Weight", "0"), ("Expires in seconds", "-1")):
        form.get_by_label(label).fill(typed)
        form.get_by_role("button", name="Create the key").click()
        expect(form.get_by_role("alert")).to_be_visible()
        expect(form.get_by_label(label)).to_have_value(typed)
        expect(form.get_by_label(label)).to_have_attribute("aria-invalid", "true")
        expect(form.get_by_label("Name")).to_have_value("a second team")
        form.get_by_label(label).fill("")
    form.get_by_role("button", name="Create the key").click()
    page.get_by_role("button", name="Done").click()
    row = page.get_by_role("row").filter(has_text="a second team")
    row.get_by_role("button", name="Rotate a second team").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("The secret before still counts").fill("-1")
    dialog.get_by_role("button", name="Rotate").click()
    said_at(dialog, "overlap")
    expect(dialog.get_by_label("The secret before still counts")).to_have_value("-1")
    page.keyboard.press("Escape")
    # Somebody else has revoked it meanwhile.
    made = next(one for one in json.loads(daemon.call("GET", "/v1/keys")[1])["data"] if one["name"] == "a second team")
    assert daemon.call("DELETE", f"/v1/keys/{made['id']}")[0] == 200
    row.get_by_role("button", name="Rotate a second team").click()
    dialog.get_by_label("The secret before still counts").fill("60")
    dialog.get_by_role("button", name="Rotate").click()
    said_at(dialog, "revoked")
    page.keyboard.press("Escape")
