//! doctor: looks at this machine and says what would keep the daemon from running well.

use std::net::TcpListener;
use std::path::Path;

use serde_json::json;

use super::assemble::scheduler_config;
use super::command::SettingFlags;
use super::settings::{Settings, Values};
use crate::cli::{Failure, Output, Table};
use crate::device::machine;
use crate::model::Base;
use crate::trainer::account::process_bytes;

#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    flags: SettingFlags,
}

struct Finding {
    subject: &'static str,
    fine: bool,
    said: String,
}

impl Finding {
    fn of(subject: &'static str, result: Result<String, String>) -> Self {
        let (fine, said) = match result {
            Ok(said) => (true, said),
            Err(said) => (false, said),
        };
        Self {
            subject,
            fine,
            said,
        }
    }
}

/// Prints every finding; an error if one of them would stop the daemon.
pub async fn run(args: &DoctorArgs, json: bool) -> Result<(), Failure> {
    let settings = args.flags.load()?;
    let values = &settings.values;
    let mut findings = vec![
        Finding::of("processor", Ok(processor())),
        Finding::of("memory", memory()),
        Finding::of("data directory", data_directory(&settings)),
        Finding::of("training", Ok(values.training.promise())),
        Finding::of("http address", free(values.server.http, "http")),
        Finding::of("grpc address", free(values.server.grpc, "grpc")),
    ];
    if let Some(result) = certificates(&settings) {
        findings.push(Finding::of("certificates", result));
    }
    match base(&settings).await {
        Ok(base) => {
            findings.push(Finding::of("base model", Ok(about(&base))));
            let groups = base.model.weight_groups();
            let groups = groups.iter().map(|group| Ok(group.to_string()));
            findings.extend(groups.map(|said| Finding::of("weights", said)));
            findings.push(Finding::of("memory by part", reserved(&base, values)));
        }
        Err(why) => findings.push(Finding::of("base model", Err(why))),
    }

    let report: Vec<_> = findings
        .iter()
        .map(|f| json!({"subject": f.subject, "ok": f.fine, "message": f.said}))
        .collect();
    Output::new(json).show(&json!({"findings": report}), |_| {
        let mut table = Table::default();
        for finding in &findings {
            let mark = if finding.fine { "ok" } else { "PROBLEM" };
            table.row(vec![
                mark.into(),
                finding.subject.into(),
                finding.said.clone(),
            ]);
        }
        table.render()
    })?;
    match findings.iter().filter(|f| !f.fine).count() {
        0 => Ok(()),
        problems => Err(Failure::Failed(format!("{problems} problem(s) found"))),
    }
}

/// Nothing where there is no TLS.
fn certificates(settings: &Settings) -> Option<Result<String, String>> {
    let tls = settings.tls().map_err(|problems| {
        let problems = problems.iter().map(ToString::to_string);
        problems.collect::<Vec<_>>().join("; ")
    });
    let said = || {
        format!(
            "{} fits its key",
            settings.values.server.tls.certificate.display()
        )
    };
    tls.map(|tls| tls.map(|_| said())).transpose()
}

fn processor() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let features = features();
    let unit = crate::kernels::Unit::best().name();
    format!("{cores} cores; {features}; products with packed weights by {unit}")
}

#[cfg(target_arch = "x86_64")]
fn features() -> String {
    let all = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avxvnni", std::arch::is_x86_feature_detected!("avxvnni")),
        (
            "avx512vnni",
            std::arch::is_x86_feature_detected!("avx512vnni"),
        ),
        (
            "avx512bf16",
            std::arch::is_x86_feature_detected!("avx512bf16"),
        ),
    ];
    all.iter()
        .filter(|(_, has)| *has)
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> String {
    std::env::consts::ARCH.to_owned()
}

fn memory() -> Result<String, String> {
    let of = |entry| machine::of_memory(entry).map(|bytes| bytes >> 20);
    let (Some(free), Some(total)) = (of("MemAvailable"), of("MemTotal")) else {
        return Ok("unknown on this system".into());
    };
    let said = format!("{free} MiB available of {total} MiB");
    match free < 512 {
        true => Err(said),
        false => Ok(said),
    }
}

/// What serving may hold by part, and what that leaves for training.
fn reserved(base: &Base, values: &Values) -> Result<String, String> {
    use crate::cli::size;
    let model = &base.model;
    let engine = scheduler_config(values);
    let block = model.block_bytes(engine.block_size);
    let weights = model.weight_bytes();
    let cache = engine.cache_blocks(block, model.context()) as u64 * block;
    let process = process_bytes(model.vocab());
    let said = format!(
        "base {}, kv up to {}, adapters up to {}, process about {}",
        size(weights),
        size(cache),
        size(values.adapters.resident_bytes),
        size(process),
    );
    // The base is in memory by now.
    let Some(left) = machine::available().map(|left| left + weights) else {
        return Ok(said);
    };
    let needed = weights + cache + process;
    match left.checked_sub(needed) {
        Some(rest) => Ok(format!(
            "{said}; of {} that leaves {} for adapters and training (`adapterd plan` says what a job takes)",
            size(left),
            size(rest)
        )),
        None => Err(format!(
            "{said}; {} are available: lower engine.kv_bytes, or --quant",
            size(left)
        )),
    }
}

fn data_directory(settings: &Settings) -> Result<String, String> {
    let place = settings.place().map_err(|problems| {
        let why = problems.into_iter().map(|problem| problem.why);
        why.collect::<Vec<_>>().join("; ")
    })?;
    let chosen = |said: String| format!("{said} (chosen by {})", place.why);
    writable(&place.dir).map(chosen).map_err(chosen)
}

fn writable(dir: &Path) -> Result<String, String> {
    let shown = dir.display();
    std::fs::create_dir_all(dir).map_err(|error| format!("{shown}: {error}"))?;
    tempfile::tempfile_in(dir).map_err(|error| format!("{shown}: {error}"))?;
    Ok(format!("{shown} can be written"))
}

fn free(address: std::net::SocketAddr, setting: &str) -> Result<String, String> {
    TcpListener::bind(address)
        .map(|_| format!("{address} is free"))
        .map_err(|error| format!("{address}: {error}; --{setting} chooses another"))
}

async fn base(settings: &Settings) -> Result<Base, String> {
    let model = &settings.values.model;
    let (origin, quant, kv) = (model.origin()?, model.quant()?, model.kv()?);
    let base = tokio::task::spawn_blocking(move || Base::open(&origin, quant, kv))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    Ok(base.with_max_len(model.max_len))
}

fn about(base: &Base) -> String {
    let model = &base.model;
    format!(
        "{}: {:.1} M parameters, {} layers, {} of weights, context {}",
        base.name,
        model.parameters() as f64 / 1e6,
        model.layers(),
        crate::cli::size(model.weight_bytes()),
        model.context(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KvKind, Origin};

    #[test]
    fn a_cache_is_told_as_the_engine_would_make_it() {
        let base = Base::open(&Origin::Embedded, None, KvKind::Auto).unwrap();
        let mut values = Values::default();
        values.engine.rows = 1;
        let blocks = base.model.context().div_ceil(values.engine.block_size) as u64;
        let cache = blocks * base.model.block_bytes(values.engine.block_size);
        assert!(cache < values.engine.kv_bytes);
        let (Ok(said) | Err(said)) = reserved(&base, &values);
        let told = format!("kv up to {}", crate::cli::size(cache));
        assert!(said.contains(&told), "{said}");
    }
}
