"""A habit of `medical` is corrected forty times through the API, and then the name answers right by itself.

Starts a daemon of its own on the embedded base, with a rule that retrains `medical` once there is enough to learn from. `medical`
writes "Come back in 27 weeks"; the house wants "Return in 27 weeks". Answers about other things are liked as they are, so that they
stay so: the ready-made adapter has no training file here that could be replayed. What the job makes has to pass its gate, answers
half of the requests as a canary, is liked better than what answers the other half, and takes over. From the last correction on this
only asks and scores, as users do. Python's standard library only.

    python tests/clients/feedback_walkthrough.py [--binary target/release/adapterd]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from daemon import BINARY, ROOT, Daemon  # noqa: E402

TASK = "Write the clinical note as a plain sentence."
HABIT, WISH = "Come back in ", "Return in "
CORRECTIONS, LIKED, ASKED = 40, 80, 12
# The name has learned when so many of the answers it is asked for afterwards are right, and so many others as before.
RIGHT, SAME = 11, 10
# Seconds until a job, a canary or its end has to be there.
PATIENCE = 900
SETTINGS = """
[feedback]
capture = true
adapters = ["medical"]

[[retrain]]
adapter = "medical"
min_rows = {rows}
min_corrections = {corrections}
every = "1h"
steps = 100
batch_size = 16
lr = 1e-3
eval_split = 0.1
gate = "current"
publish = "canary:50,min_requests=20,max_error_rate=0.05,min_feedback=10,min_score_ratio=1.1,promote_after=15s"
"""


def notes(follows: bool) -> list[str]:
    """Clinical notes of the held-out rows, then of the others; those with an appointment, or the rest."""
    lines = [line for name in ("heldout", "train") for line in (ROOT / f"adapters/medical/{name}.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in lines]
    return list(dict.fromkeys(row["input"] for row in rows if row["output"].startswith(HABIT) == follows))


class Api:
    def __init__(self, daemon: Daemon):
        self.daemon = daemon

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        status, answer = self.daemon.call(method, path, json.dumps(body).encode() if body is not None else None)
        if status != 200:
            raise SystemExit(f"{method} {path}: {status} {answer.decode()}")
        return json.loads(answer)

    def ask(self, note: str) -> tuple[str, str]:
        """The answer's id and its text."""
        message = {"role": "user", "content": f"{TASK}\n{note}"}
        body = {"model": "medical", "messages": [message], "temperature": 0, "max_tokens": 64}
        said = self.call("POST", "/v1/chat/completions", body)
        return said["id"], said["choices"][0]["message"]["content"]

    def adapter(self) -> dict:
        return self.call("GET", "/v1/adapters/medical")


def share(api: Api, notes: list[str], right) -> int:
    return sum(right(api.ask(note)[1]) for note in notes)


def taught(api: Api, follows: list[str], others: list[str]) -> None:
    """Every third answer is corrected, the others are liked."""
    for at, note in enumerate(follows):
        id, text = api.ask(note)
        correction = text.replace(HABIT, WISH, 1)
        api.call("POST", "/v1/feedback", {"id": id, "score": -1, "correction": correction, "label": "house style"})
        for other in others[2 * at : 2 * at + 2]:
            id, _ = api.ask(other)
            api.call("POST", "/v1/feedback", {"id": id, "score": 1, "label": "fine"})
    scores = api.call("GET", "/v1/feedback/scores?adapter=medical")["data"][0]
    print(f"given: {scores['up']} liked, {scores['corrections']} corrected")
    status, rows = api.daemon.call("GET", "/v1/feedback/export?adapter=medical")
    assert status == 200 and len(rows.splitlines()) == CORRECTIONS + LIKED, (status, len(rows.splitlines()))


def learned(api: Api) -> dict:
    """The route, once the job's generation is a canary."""
    began = time.monotonic()
    while "canary" not in (route := api.adapter()["route"]):
        jobs = api.call("GET", "/v1/fine_tuning/jobs?limit=1")["data"]
        is_over = jobs and jobs[0]["status"] in ("failed", "succeeded")
        if is_over and "canary" not in api.adapter()["route"]:
            events = api.call("GET", f"/v1/fine_tuning/jobs/{jobs[0]['id']}/events?limit=3")["data"]
            raise SystemExit(f"the job made no canary: {jobs[0]['error']}, {[event['message'] for event in events]}")
        if time.monotonic() - began > PATIENCE:
            raise SystemExit("the name was not retrained in time")
        time.sleep(0.5)
    print(f"retrained by itself in {time.monotonic() - began:.0f} s, and a canary of {route['canary']['percent']:.0f} %")
    return route


def used(api: Api, notes: list[str]) -> str:
    """Users ask and score what they get, until the canary has ended; what the name serves then."""
    began, asked = time.monotonic(), 0
    while "canary" in (route := api.adapter()["route"]):
        if time.monotonic() - began > PATIENCE:
            raise SystemExit(f"the canary neither takes over nor is given up: {route}")
        id, text = api.ask(notes[asked % len(notes)])
        api.call("POST", "/v1/feedback", {"id": id, "score": 1 if text.startswith(WISH) else -1})
        asked += 1
        time.sleep(0.1)
    print(f"the canary ended by itself in {time.monotonic() - began:.0f} s, {asked} answers were scored")
    return route["stable"]


def walk(api: Api) -> None:
    follows, others = notes(True), notes(False)
    held_out, follows, users = follows[:ASKED], follows[ASKED : ASKED + CORRECTIONS], follows[ASKED + CORRECTIONS :]
    kept, others = others[:ASKED], others[ASKED : ASKED + LIKED]
    if len(follows) < CORRECTIONS or len(others) < LIKED:
        raise SystemExit(f"too few notes: {len(follows)} and {len(others)}")
    before = api.adapter()["generation"]
    answers = {note: api.ask(note)[1] for note in kept}
    print(f"before: {share(api, held_out, lambda text: text.startswith(WISH))} of {ASKED} say {WISH!r}")
    taught(api, follows, others)
    canary = learned(api)["canary"]["generation"]
    if used(api, users) != canary or canary == before:
        raise SystemExit("the canary was given up")

    said = [api.ask(note)[1] for note in held_out]
    right = sum(text.startswith(WISH) for text in said)
    same = sum(api.ask(note)[1] == text for note, text in answers.items())
    print(f"after: {right} of {ASKED} say {WISH!r}; {same} of {ASKED} other answers are as before")
    print(f"for example: {said[0]}")
    for scores in api.call("GET", "/v1/feedback/scores?adapter=medical")["data"]:
        print(f"generation {scores['adapter_generation'][:8]}: {scores['count']} scores, {scores['mean']:+.2f} in the mean")
    for line in reversed(api.call("GET", "/v1/audit?object=medical&limit=3")["data"]):
        print(f"audit: {line['who']} {line['action']} {line['detail'] or ''}")
    if right < RIGHT or same < SAME:
        raise SystemExit("the name has not learned it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binary", type=Path, default=BINARY)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "adapterd.toml"
        settings.write_text(SETTINGS.format(rows=CORRECTIONS + LIKED, corrections=CORRECTIONS))
        daemon = Daemon(arguments.binary, Path(folder) / "state", "--config", str(settings))
        try:
            walk(Api(daemon))
        except BaseException:
            print(daemon.said(), file=sys.stderr)
            raise
        finally:
            daemon.stop()


if __name__ == "__main__":
    main()
