#!/usr/bin/env python3
"""Writes dashboards/adapterd.json, which Grafana is given: rows of panels, each a title, a unit and queries.

    python3 deploy/grafana/dashboard.py            # write it
    python3 deploy/grafana/dashboard.py --check    # exit 1 if the file is not what this would write
"""

import json
import sys
from pathlib import Path

FILE = Path(__file__).parent / "dashboards" / "adapterd.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
# Every query is of the daemons that the dashboard shows.
HERE = 'instance=~"$instance"'
WIDTH, HEIGHT = 24, 7


def rate(metric, *labels):
    """Growth a second of a counter."""
    return f"rate({metric}{{{', '.join([HERE, *labels])}}}[$__rate_interval])"


def gauge(metric, *labels):
    return f"{metric}{{{', '.join([HERE, *labels])}}}"


def total(query, by=""):
    """The sum over all daemons, or one for each value of the labels `by`."""
    return f"sum by ({by}) ({query})" if by else f"sum({query})"


def share(part, whole):
    return total(rate(part)) + " / " + total(rate(whole))


def quantiles(metric, name=""):
    """The median and the slow end of a histogram, over all daemons."""
    grown = rate(metric + "_bucket")
    return [(f"histogram_quantile({q}, sum by (le) ({grown}))", f"{name}{label}") for q, label in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))]


def mean(metric, name):
    return (share(metric + "_sum", metric + "_count"), name)


def panel(title, unit, queries, about="", width=8, kind="timeseries", stack=False, least=0):
    """One picture. `queries`: pairs of a query and what its lines are called."""
    field = {"unit": unit, "min": least}
    if kind == "timeseries":
        field["custom"] = {"lineWidth": 1, "fillOpacity": 20 if stack else 5, "showPoints": "never"}
        if stack:
            field["custom"]["stacking"] = {"mode": "normal", "group": "A"}
    targets = [
        {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": query, "legendFormat": label, "range": kind == "timeseries", "instant": kind != "timeseries"}
        for at, (query, label) in enumerate(queries)
    ]
    made = {"title": title, "description": about, "type": kind, "datasource": SOURCE, "targets": targets, "width": width, "fieldConfig": {"defaults": field, "overrides": []}}
    if kind == "timeseries":
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    else:
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"}
    return made


def stat(title, unit, query, about=""):
    return panel(title, unit, [(query, "")], about, width=4, kind="stat")


FAULTS = 'code=~"5..|INTERNAL|UNKNOWN|DATA_LOSS|UNAVAILABLE"'

ROWS = {
    "Now": [
        stat("Daemons that answer", "none", f"count({gauge('adapterd_queue_depth')})"),
        stat("Requests", "reqps", total(rate("adapterd_requests_total")), "All routes, probes and scrapes included."),
        stat("Generated tokens", "none", total(rate("adapterd_tokens_total", 'kind="generated"')), "A second."),
        stat("Requests that wait", "none", total(gauge("adapterd_queue_depth"))),
        stat("Adapters in memory", "none", total(gauge("adapterd_adapter_loaded"))),
        stat("Jobs that run", "none", total(gauge("adapterd_jobs", 'state="running"'))),
    ],
    "Serving": [
        panel("Requests by route", "reqps", [(total(rate("adapterd_requests_total", 'route!~"/(livez|readyz|startupz|health|metrics)"'), "route"), "{{route}}")], "Without probes and scrapes.", stack=True),
        panel("Answers that are no success", "reqps", [(total(rate('adapterd_requests_total', 'code!~"2..|OK"'), "code"), "{{code}}")], "4xx and their words of gRPC are callers' mistakes, 5xx, INTERNAL and UNAVAILABLE the daemon's.", stack=True),
        panel("Share of faults", "percentunit", [(total(rate("adapterd_requests_total", FAULTS), "instance") + " / " + total(rate("adapterd_requests_total"), "instance"), "{{instance}}")]),
        panel("Time to the first token", "s", quantiles("adapterd_time_to_first_token_seconds")),
        panel("Time between two tokens", "s", quantiles("adapterd_inter_token_latency_seconds")),
        panel("Time of a whole request", "s", quantiles("adapterd_request_duration_seconds")),
        panel("Tokens a second", "none", [(total(rate("adapterd_tokens_total"), "kind"), "{{kind}}")], "`cached`: of the prompts, what was found computed."),
        panel("Requests waiting and running", "none", [(total(gauge("vllm:num_requests_waiting")), "waiting"), (total(gauge("vllm:num_requests_running")), "running")]),
        panel("Refusals by limits", "reqps", [(total(rate("adapterd_limit_refusals_total"), "limit"), "{{limit}}")], "Callers that asked for more than their keys may have.", stack=True),
        panel("Rows and adapters of a step", "none", [mean("adapterd_batch_rows", "rows"), mean("adapterd_batch_adapters", "different adapters")], "Means. More rows a step means more tokens a second, and each comes later."),
        panel("Time of a step", "s", quantiles("adapterd_step_seconds")),
        panel("Blocks of the key/value cache", "none", [(total(gauge("adapterd_kv_blocks"), "state"), "{{state}}")], "`cached` blocks are given up when they are needed.", stack=True),
        panel("Prompt tokens found computed", "percentunit", [(share("adapterd_prefix_cache_hits_tokens_total", "adapterd_prefix_cache_queries_tokens_total"), "found")]),
        panel("Guessed tokens that were right", "percentunit", [(share("adapterd_speculation_accepted_tokens_total", "adapterd_speculation_drafted_tokens_total"), "right")]),
        panel("Tokens by adapter", "none", [(total(rate("adapterd_tokens_total", 'kind="generated"', 'adapter=~"$adapter"'), "adapter"), "{{adapter}}")], "Generated, a second. `none` is the base, `other` all beyond `telemetry.adapter_labels`.", stack=True),
    ],
    "Adapters": [
        panel("In memory", "none", [(total(gauge("adapterd_adapter_loaded"), "pinned"), "pinned: {{pinned}}")], stack=True),
        panel("Read from disk", "ops", [(total(rate("adapterd_adapter_load_seconds_count"), "instance"), "{{instance}}")], "A steady rate means that more are asked for than `adapters.resident_bytes` holds."),
        panel("Time to read one", "s", quantiles("adapterd_adapter_load_seconds")),
        panel("Names moved to another version", "ops", [(total(rate("adapterd_swap_seconds_count"), "instance"), "{{instance}}")]),
        panel("Time to move a name", "s", quantiles("adapterd_swap_seconds"), "Until every request sees the new version."),
    ],
    "Training": [
        panel("Jobs", "none", [(total(gauge("adapterd_jobs", 'state!~"succeeded|failed|cancelled"'), "state"), "{{state}}")], stack=True),
        panel("Loss", "none", [(gauge("adapterd_train_loss"), "{{exported_job}}")], "Token mean of the newest step."),
        panel("Learning rate", "sci", [(gauge("adapterd_train_learning_rate"), "{{exported_job}}")]),
        panel("Tokens a second", "none", [(gauge("adapterd_train_tokens_per_second"), "{{exported_job}}")]),
        panel("Steps", "none", [(gauge("adapterd_train_step"), "{{exported_job}}")]),
        panel("Skipped steps", "none", [(f"sum by (exported_job) (increase({gauge('adapterd_train_skipped_steps_total')}[$__rate_interval]))", "{{exported_job}}")], "Losses or gradients that were not finite."),
        panel("Loss scale", "none", [(gauge("adapterd_train_loss_scale"), "{{exported_job}}")]),
        panel("Training's share of the processor", "percentunit", [(gauge("adapterd_train_share"), "{{instance}}")]),
        panel("Training between two serving steps", "s", quantiles("adapterd_train_slice_seconds") + [(f"max({gauge('adapterd_train_longest_slice_seconds')})", "at most")]),
    ],
    "Rollout": [
        panel("Answers by route of an adapter", "reqps", [(total(rate("adapterd_route_requests_total", 'adapter=~"$adapter"'), "adapter, route"), "{{adapter}} {{route}}")], "Stable versions, canaries and shadows.", stack=True),
        panel("Outcomes by route", "reqps", [(total(rate("adapterd_route_requests_total", 'adapter=~"$adapter"'), "route, outcome"), "{{route}} {{outcome}}")], "`error`: the version may be to blame; `left`: the caller or the machine was."),
        panel("Time to the first token by route", "s", [("histogram_quantile(0.95, " + total(rate("adapterd_route_time_to_first_token_seconds_bucket", 'adapter=~"$adapter"'), "adapter, route, le") + ")", "{{adapter}} {{route}}")], "95 %."),
        panel("Decisions of policies", "ops", [(total(rate("adapterd_route_decisions_total"), "adapter, decision"), "{{adapter}} {{decision}}")]),
        panel("Answers for a shadow to repeat", "ops", [(total(rate("adapterd_route_shadow_total"), "adapter, outcome"), "{{adapter}} {{outcome}}")]),
        panel("Feedback", "ops", [(total(rate("adapterd_feedback_total"), "adapter, kind"), "{{adapter}} {{kind}}"), (total(rate("adapterd_feedback_dropped_total")), "answers not kept")]),
    ],
    "Doors": [
        panel("Connections", "none", [(gauge("adapterd_connections"), "{{instance}} open"), (gauge("adapterd_connections_max"), "{{instance}} at most")]),
        panel("Refused at the door", "ops", [(total(rate("adapterd_connections_refused_total")), "connections"), (total(rate("adapterd_handshakes_failed_total")), "TLS handshakes"), (total(rate("adapterd_heads_refused_total")), "headers too large")], stack=True),
        panel("Refused for lack of memory", "reqps", [(total(rate("adapterd_shed_total"), "kind"), "{{kind}}")], stack=True),
        panel("Certificate expires in", "s", [(gauge("adapterd_tls_certificate_expires_seconds"), "{{instance}}")]),
    ],
    "Memory": [
        panel("By part", "bytes", [(total(gauge("adapterd_memory_bytes"), "part"), "{{part}}")], "What the daemon accounts for: the base, the key/value cache, adapters, and what jobs hold.", width=12, stack=True),
        panel("Of the process", "bytes", [(gauge("process_resident_memory_bytes"), "{{instance}}")], "What the system says."),
        panel("Pressure", "percentunit", [(gauge("adapterd_memory_pressure"), "{{instance}}")], "Share of what the process may have; from 92 % on, work is refused.", width=4),
    ],
}


def laid_out():
    """Panels from left to right and from top to bottom, a title above those of a row."""
    panels, top = [], 0
    for title, pictures in ROWS.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1}})
        top, left = top + 1, 0
        for picture in pictures:
            width = picture.pop("width")
            height = 3 if picture["type"] == "stat" else HEIGHT
            if left + width > WIDTH:
                top, left = top + height, 0
            panels.append({**picture, "gridPos": {"x": left, "y": top, "w": width, "h": height}})
            left += width
        top += height
    return [{"id": at, **picture} for at, picture in enumerate(panels, 1)]


def choice(name, label, query):
    """A list above the panels to choose from, filled by a query."""
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name}, "definition": query,
        "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }


def dashboard():
    return {
        "uid": "adapterd", "title": "adapterd", "tags": ["adapterd"], "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1,
        "refresh": "30s", "time": {"from": "now-3h", "to": "now"}, "timezone": "browser",
        "templating": {"list": [
            {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {"text": "Prometheus", "value": "prometheus"}},
            choice("instance", "Daemon", "label_values(adapterd_queue_depth, instance)"),
            choice("adapter", "Adapter", "label_values(adapterd_tokens_total, adapter)"),
        ]},
        "annotations": {"list": []},
        "panels": laid_out(),
    }


def main():
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    if "--check" in sys.argv[1:]:
        same = FILE.exists() and FILE.read_text(encoding="utf-8") == text
        sys.exit(None if same else f"{FILE.name} is not what {Path(__file__).name} writes: run it")
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
