use std::sync::Arc;

use super::*;
use crate::adapter::NoWeights;
use crate::adapter::Precision;
use crate::adapter::testing::{BASE_DIGEST, sites, specimen};
use crate::domain::Usage;
use crate::domain::{JobId, Level, StepMetrics};
use crate::registry::{BaseIdentity, Config, Registry};
use crate::scheduler::Observe as _;
use crate::store::Database;
use crate::text::grammar::Observe as _;

pub fn idle() -> Gauges {
    Gauges {
        load: Load::default(),
        shares: Shares::default(),
        resident: Vec::new(),
        max_adapters: 8,
        jobs: Vec::new(),
        memory: Vec::new(),
        limit_refusals: Vec::new(),
    }
}

#[test]
fn a_scrape_holds_what_gateways_read() {
    let metrics = Metrics::new(4).unwrap();
    metrics.answered("/v1/chat/completions", "200");
    metrics.request(
        0.5,
        Some("legal"),
        Usage {
            prompt: 7,
            cached: 0,
            generated: 3,
        },
    );
    metrics.reused(7, 4);
    metrics.speculated(6, 5);
    metrics.sliced(0.002);
    metrics.compiled(0.003);
    metrics.masked(0.000_05);
    metrics.looked_up(false);
    metrics.looked_up(true);
    let load = Load {
        waiting: 2,
        running: 1,
        kv_used: 5,
        kv_cached: 2,
        kv_total: 10,
        block_size: 16,
        running_adapters: vec!["legal".into()],
        waiting_adapters: vec!["medical".into()],
    };
    let now = Gauges {
        load,
        shares: Shares {
            training: 0.25,
            yields: 3,
            longest_slice: std::time::Duration::from_millis(20),
        },
        resident: vec![("finance".into(), true, 10)],
        max_adapters: 8,
        jobs: vec![(JobStatus::Queued, 1)],
        memory: vec![("base", 3)],
        limit_refusals: vec![("tokens_per_minute", 2)],
    };
    let text = metrics.render(&now).unwrap();
    for line in [
        "adapterd_requests_total{code=\"200\",route=\"/v1/chat/completions\"} 1",
        "adapterd_tokens_total{adapter=\"legal\",kind=\"prompt\"} 7",
        "adapterd_kv_blocks{state=\"cached\"} 2",
        "adapterd_kv_blocks{state=\"free\"} 3",
        "adapterd_prefix_cache_queries_tokens_total 7",
        "adapterd_prefix_cache_hits_tokens_total 4",
        "adapterd_speculation_drafted_tokens_total 6",
        "adapterd_speculation_accepted_tokens_total 5",
        "adapterd_adapter_loaded{adapter=\"finance\",pinned=\"true\",tier=\"resident\"} 1",
        "vllm:num_requests_waiting 2",
        "vllm:kv_cache_usage_perc 0.5",
        "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"10\"} 1",
        "adapterd_jobs{state=\"queued\"} 1",
        "adapterd_memory_bytes{part=\"base\"} 3",
        "adapterd_limit_refusals_total{limit=\"tokens_per_minute\"} 2",
        "adapterd_train_share 0.25",
        "adapterd_train_yields_total 3",
        "adapterd_train_slice_seconds_count 1",
        "adapterd_train_longest_slice_seconds 0.02",
        "adapterd_grammar_compile_seconds_count 1",
        "adapterd_grammar_mask_seconds_count 1",
        "adapterd_grammar_cache_queries_total 2",
        "adapterd_grammar_cache_hits_total 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    assert!(text.contains(
        "vllm:lora_requests_info{max_lora=\"8\",running_lora_adapters=\"finance,legal\",waiting_lora_adapters=\"medical\"}"
    ));
}

#[tokio::test]
async fn a_load_and_a_move_of_a_name_are_timed() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new(4).unwrap());
    let database = Database::open(&dir.path().join("state.db")).await.unwrap();
    let base = BaseIdentity {
        name: "base".into(),
        digest: BASE_DIGEST,
        sites: sites(1),
        weights: Arc::new(NoWeights),
    };
    let config = Config {
        dir: dir.path().to_owned(),
        root: dir.path().join("incoming"),
        resident_bytes: 1 << 30,
        max_rank: 64,
        keep_versions: 8,
        precision: Precision::Exact,
        max_file_bytes: 1 << 20,
        room_wait: std::time::Duration::ZERO,
        turns: crate::device::Turns::default(),
    };
    let registry = Registry::open(database, base, config, metrics.clone())
        .await
        .unwrap();
    let counts = |loads: u32, swaps: u32| {
        let text = metrics.render(&idle()).unwrap();
        for line in [
            format!("adapterd_adapter_load_seconds_count {loads}"),
            format!("adapterd_swap_seconds_count {swaps}"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    };
    counts(0, 0);
    let legal = "legal".parse().unwrap();
    for seed in [1, 2] {
        let files = specimen(1, seed);
        registry
            .publish(&legal, files, None, "upload")
            .await
            .unwrap();
    }
    counts(0, 2);
    registry.unload(&legal, None).await.unwrap();
    registry.load(&legal, None).await.unwrap();
    counts(1, 2);
    registry.rollback(&legal, None).await.unwrap();
    counts(1, 3);
}

#[test]
fn the_series_of_an_adapter_that_is_gone_go_and_its_label_is_free() {
    let metrics = Metrics::new(1).unwrap();
    let answer = |name| metrics.request(0.1, Some(name), Usage::default());
    let has = |name: &str| {
        let text = metrics.render(&idle()).unwrap();
        text.contains(&format!("adapterd_tokens_total{{adapter=\"{name}\""))
    };
    answer("first");
    answer("second");
    assert!(has("first") && has("other") && !has("second"));
    metrics.forget_adapters(|name| name != "first");
    answer("second");
    assert!(!has("first") && has("second"));
    metrics.forget_adapters(|_| false);
    answer(crate::registry::BLENDS);
    metrics.forget_adapters(|_| false);
    assert!(!has("second") && has(crate::registry::BLENDS));
}

#[test]
fn gateways_are_told_of_a_bounded_number_of_adapters_the_busy_ones_first() {
    let metrics = Metrics::new(2).unwrap();
    let mut now = idle();
    now.resident = ["a", "b", "c"].map(|name| (name.into(), false, 1)).into();
    now.load.running_adapters = vec!["z".into()];
    let text = metrics.render(&now).unwrap();
    assert!(text.contains("running_lora_adapters=\"a,z\""), "{text}");
}

fn step(step: u64) -> StepMetrics {
    StepMetrics {
        step,
        tokens: 5,
        ..StepMetrics::default()
    }
}

fn stepped(step: StepMetrics) -> JobEvent {
    JobEvent {
        seq: 1,
        job: JobId::new("a"),
        created_at: 0,
        level: Level::Info,
        message: String::new(),
        data: EventData::Step(step),
    }
}

#[test]
fn every_metric_that_users_rely_on_is_there() {
    let metrics = Metrics::new(4).unwrap();
    metrics.answered("/livez", "200");
    metrics.step(0.1, 1, 1);
    metrics.request(0.1, None, Usage::default());
    metrics.trained(&stepped(StepMetrics {
        train_loss: Some(2.0),
        loss_scale: Some(1.0),
        ..step(1)
    }));
    let mut now = idle();
    now.resident.push(("legal".into(), false, 1));
    now.jobs.push((JobStatus::Running, 1));
    now.memory.push(("kv", 1));
    now.limit_refusals.push(("requests_per_minute", 0));
    let text = metrics.render(&now).unwrap();
    let histograms = [
        "adapterd_time_to_first_token_seconds",
        "adapterd_inter_token_latency_seconds",
        "adapterd_request_duration_seconds",
        "adapterd_batch_rows",
        "adapterd_batch_adapters",
        "adapterd_step_seconds",
        "adapterd_adapter_load_seconds",
        "adapterd_swap_seconds",
    ];
    let others = [
        "adapterd_requests_total",
        "adapterd_tokens_total",
        "adapterd_queue_depth",
        "adapterd_kv_blocks",
        "adapterd_adapter_loaded",
        "adapterd_train_step",
        "adapterd_train_loss",
        "adapterd_train_learning_rate",
        "adapterd_train_tokens_total",
        "adapterd_train_tokens_per_second",
        "adapterd_train_loss_scale",
        "adapterd_train_skipped_steps_total",
        "adapterd_jobs",
        "adapterd_memory_bytes",
        "adapterd_limit_refusals_total",
        "adapterd_feedback_dropped_total",
        "vllm:num_requests_waiting",
        "vllm:num_requests_running",
        "vllm:kv_cache_usage_perc",
        "vllm:cache_config_info",
        "vllm:lora_requests_info",
    ];
    let has = |name: &str, kind: Option<&str>| {
        text.lines().any(|line| match line.strip_prefix("# TYPE ") {
            Some(rest) => rest
                .split_once(' ')
                .is_some_and(|(found, of)| found == name && kind.is_none_or(|k| k == of)),
            None => false,
        })
    };
    for name in histograms {
        assert!(has(name, Some("histogram")), "{name} in\n{text}");
    }
    for name in others {
        assert!(has(name, None), "{name} in\n{text}");
    }
    every_series_is_explained(&text);
}

/// Each series belongs to the metric that the HELP and TYPE lines right before it describe.
fn every_series_is_explained(text: &str) {
    let (mut helped, mut typed) = ("", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            assert!(!help.trim().is_empty(), "{line}");
            helped = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            typed = rest.split(' ').next().unwrap_or("");
            assert_eq!(typed, helped, "{line}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap_or("");
            let parts = ["", "_bucket", "_sum", "_count"];
            assert!(
                !typed.is_empty() && parts.iter().any(|part| name == format!("{typed}{part}")),
                "`{line}` after `{typed}`"
            );
        }
    }
}

#[test]
fn a_loss_that_nothing_scales_has_no_scale_to_show() {
    let metrics = Metrics::new(4).unwrap();
    metrics.trained(&stepped(step(1)));
    let name = "adapterd_train_loss_scale{";
    assert!(!metrics.render(&idle()).unwrap().contains(name));
    metrics.trained(&stepped(StepMetrics {
        loss_scale: Some(512.0),
        ..step(2)
    }));
    assert!(metrics.render(&idle()).unwrap().contains(name));
}

#[test]
fn a_skipped_step_is_counted_and_a_finished_jobs_series_go() {
    let metrics = Metrics::new(4).unwrap();
    for (number, skipped) in [(1, true), (2, false), (3, true)] {
        let step = step(number);
        metrics.trained(&stepped(StepMetrics { skipped, ..step }));
    }
    let now = idle();
    let text = metrics.render(&now).unwrap();
    for line in [
        "adapterd_train_skipped_steps_total{job=\"ftjob-a\"} 2",
        "adapterd_train_tokens_total{job=\"ftjob-a\"} 15",
        "adapterd_train_step{job=\"ftjob-a\"} 3",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    metrics.job_ended("ftjob-a");
    assert!(!metrics.render(&now).unwrap().contains("ftjob-a"));
}
