//! `adapter merge`: the base's files again, with an adapter in their weights, and what that cost.

mod compare;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use self::compare::{rows, scores};
use super::assemble;
use super::command::SettingFlags;
use super::settings::Settings;
use crate::adapter::peft::{self, FOLDER_FILES, Files};
use crate::adapter::{Fold, Precision};
use crate::cli::{Client, Connection, Failure, MergeArgs, Output, size};
use crate::domain::Generation;
use crate::kernels::quant::Format;
use crate::model::weights::merge::{Merge, Written};
use crate::model::{Base, Origin};

/// Bytes of weights in one file of a folder.
const MOST_IN_A_FILE: u64 = 4 << 30;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Folder,
    Gguf,
}

/// What is asked for, checked.
struct Ask {
    form: Form,
    format: Option<Format>,
    out: PathBuf,
}

impl Ask {
    fn of(args: &MergeArgs) -> Result<Self, Failure> {
        let wrong = |why: String| Err(Failure::Usage(why));
        let shown = args.out.display();
        let ends_in_gguf = args
            .out
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
        let form = match args.format.as_deref() {
            Some("hf") if ends_in_gguf => {
                return wrong(format!(
                    "--format hf makes a folder, and {shown} ends in .gguf"
                ));
            }
            Some("gguf") if !ends_in_gguf => {
                return wrong(format!(
                    "--format gguf makes a file, and {shown} does not end in .gguf, as `serve --model` needs it"
                ));
            }
            Some("gguf") => Form::Gguf,
            Some("hf") => Form::Folder,
            Some(other) => {
                return wrong(format!("--format `{other}` is neither hf nor gguf"));
            }
            None if ends_in_gguf => Form::Gguf,
            None => Form::Folder,
        };
        let format = match args.quant.as_deref() {
            None | Some("none") => None,
            Some(name) => match Format::from_name(name) {
                Some(format) if form == Form::Gguf || format.is_dense() => Some(format),
                Some(_) => {
                    return wrong(format!(
                        "--quant {name} is for --format gguf; folders hold f32, f16 or bf16"
                    ));
                }
                None => {
                    let known: Vec<&str> = Format::all().map(Format::name).collect();
                    return wrong(format!(
                        "--quant `{name}` is none of none, {}",
                        known.join(", ")
                    ));
                }
            },
        };
        if args.out.exists() {
            return wrong(format!("{shown} exists already"));
        }
        Ok(Self {
            form,
            format,
            out: args.out.clone(),
        })
    }
}

pub async fn run(args: &MergeArgs, connection: &Connection) -> Result<(), Failure> {
    let ask = Ask::of(args)?;
    let flags = SettingFlags {
        config: args.config.clone(),
        model: args.model.clone(),
        data_dir: args.data_dir.clone(),
        ..SettingFlags::default()
    };
    let mut settings = flags.load()?;
    settings.values.telemetry.log = "warn".to_owned();
    super::telemetry::start_log(&settings.values.telemetry);
    let heldout = args.heldout.as_ref().map(std::fs::read).transpose();
    let heldout = heldout.map_err(|error| {
        let path = args.heldout.as_deref().unwrap_or(Path::new("")).display();
        Failure::Usage(format!("--heldout {path}: {error}"))
    })?;
    let origin = settings.values.model.origin().map_err(Failure::Usage)?;
    let base = assemble::open_base(&settings)
        .await
        .map_err(Failure::failed)?;
    let base = Arc::new(base);
    let files = files(args, connection, &settings, &base).await?;
    let done = tokio::task::spawn_blocking(move || {
        let rows = heldout.as_deref();
        merge(&ask, &settings, &origin, base, &files, rows)
    });
    let mut report = done.await.map_err(Failure::failed)??;
    report["adapter"] = json!(args.name);
    Output::new(connection.json).show(&report, told)
}

fn told(report: &Value) -> String {
    let compared = &report["compared"];
    format!(
        "{} is in {} ({}): {} of {} tensors changed.\n\
         Largest difference of a token's log-probability: {:.4}, mean {:.5}, over {} tokens of {}.\n\
         Serve it with `adapterd serve --model {}`.",
        report["adapter"].as_str().unwrap_or_default(),
        report["path"].as_str().unwrap_or_default(),
        size(report["bytes"].as_u64().unwrap_or(0)),
        report["changed"],
        report["tensors"],
        compared["largest_log_probability_difference"]
            .as_f64()
            .unwrap_or(0.0),
        compared["mean_log_probability_difference"]
            .as_f64()
            .unwrap_or(0.0),
        compared["tokens"],
        compared["of"].as_str().unwrap_or_default(),
        report["path"].as_str().unwrap_or_default(),
    )
}

/// The adapter's folder: of a path, of the daemon, or of the data directory where no daemon answers and none was named.
async fn files(
    args: &MergeArgs,
    connection: &Connection,
    settings: &Settings,
    base: &Arc<Base>,
) -> Result<Files, Failure> {
    let name = &args.name;
    if name.contains('/') {
        return folder(Path::new(name));
    }
    let client = connection.client()?;
    match client.bytes(&["v1", "adapters", name, "content"]).await {
        Ok(content) => {
            same_base(&client, base).await?;
            let mut files = Files::new();
            for entry in tar::Archive::new(content.as_slice()).entries()? {
                let mut entry = entry?;
                let name = entry.path()?.display().to_string();
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut bytes)?;
                files.insert(name, bytes.into());
            }
            Ok(files)
        }
        Err(Failure::Unreachable { .. }) if connection.named().is_none() => {
            let name = name.parse().map_err(Failure::failed)?;
            let (registry, _lock) = assemble::registry_alone(settings, base)
                .await
                .map_err(Failure::failed)?;
            registry.files(&name).await.map_err(Failure::failed)
        }
        Err(other) => Err(other),
    }
}

fn folder(dir: &Path) -> Result<Files, Failure> {
    let mut files = Files::new();
    for name in FOLDER_FILES {
        match std::fs::read(dir.join(name)) {
            Ok(bytes) => drop(files.insert(name.to_owned(), bytes.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::Usage(format!(
                    "{}: {name}: {error}",
                    dir.display()
                )));
            }
        }
    }
    Ok(files)
}

/// The base whose files are here has to be the one that the daemon serves.
async fn same_base(client: &Client, base: &Base) -> Result<(), Failure> {
    let served = client.base_name().await?;
    match served == base.name {
        true => Ok(()),
        false => Err(Failure::Usage(format!(
            "the daemon serves `{served}`, and the base here is `{}`: name the daemon's with --model",
            base.name
        ))),
    }
}

fn merge(
    ask: &Ask,
    settings: &Settings,
    origin: &Origin,
    base: Arc<Base>,
    files: &Files,
    heldout: Option<&[u8]>,
) -> Result<Value, Failure> {
    let read = |precision: Precision| {
        peft::read(files, &base.fit(usize::MAX, precision)).map_err(Failure::failed)
    };
    let exact = read(Precision::Exact)?;
    let fold = Fold::new(&exact).map_err(Failure::failed)?;
    let (rows, of) = rows(&base, heldout)?;
    let values = &settings.values;
    let precision = values.adapters.precision(base.model.has_32_bits());
    let served = read(precision.map_err(Failure::Usage)?)?.to_serve();
    let before = scores(&base, Some(served), &rows)?;

    let stored = origin.stored().map_err(Failure::failed)?;
    let merge = Merge {
        stored: &stored,
        fold,
        format: ask.format,
        name: &base.name,
        tokenizer: &base.tokenizer,
        template: &base.template,
    };
    let aside = Aside::new(ask)?;
    let written = match ask.form {
        Form::Folder => merge.into_folder(aside.path(), MOST_IN_A_FILE),
        Form::Gguf => merge.into_gguf(aside.path()),
    };
    let written = written.map_err(Failure::failed)?;
    let made_of = (exact.kind(), exact.generation());
    // Two models in memory are one too many.
    drop((stored, exact, base));
    let quant = values.model.quant().map_err(Failure::Usage)?;
    let kv = values.model.kv().map_err(Failure::Usage)?;
    let made = match ask.form {
        Form::Folder => Origin::Folder(aside.path().to_owned()),
        Form::Gguf => Origin::Gguf(aside.path().to_owned()),
    };
    let made = Base::open(&made, quant, kv).map_err(Failure::failed)?;
    let after = scores(&made, None, &rows)?;
    if !before.iter().chain(&after).all(|score| score.is_finite()) {
        let why = "log-probabilities of the compared rows are not finite: nothing is written";
        return Err(Failure::failed(why));
    }
    aside.keep(&ask.out)?;
    Ok(report(
        ask,
        made_of,
        written,
        (&before, &after),
        (rows.len(), &of),
    ))
}

fn report(
    ask: &Ask,
    (kind, generation): (&str, Generation),
    written: Written,
    (before, after): (&[f32], &[f32]),
    (rows, of): (usize, &str),
) -> Value {
    let differences = before.iter().zip(after);
    let differences: Vec<f64> = differences
        .map(|(one, other)| f64::from((one - other).abs()))
        .collect();
    let mean = differences.iter().sum::<f64>() / differences.len().max(1) as f64;
    json!({
        "kind": kind,
        "generation": generation,
        "path": ask.out,
        "format": match ask.form { Form::Folder => "hf", Form::Gguf => "gguf" },
        "quant": ask.format.map_or("none", Format::name),
        "bytes": written.bytes,
        "tensors": written.tensors,
        "changed": written.changed,
        "compared": {
            "of": of,
            "rows": rows,
            "tokens": differences.len(),
            "largest_log_probability_difference": differences.iter().copied().fold(0.0, f64::max),
            "mean_log_probability_difference": mean,
        },
    })
}

/// What is written, until it has its name; dropped, it is gone.
enum Aside {
    Folder(tempfile::TempDir),
    File(tempfile::TempPath),
}

impl Aside {
    fn new(ask: &Ask) -> Result<Self, Failure> {
        let parent = ask.out.parent().filter(|at| !at.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let unusable =
            |error: std::io::Error| Failure::Usage(format!("{}: {error}", parent.display()));
        let mut named = tempfile::Builder::new();
        named.prefix(".merge-");
        Ok(match ask.form {
            Form::Folder => Self::Folder(named.tempdir_in(parent).map_err(unusable)?),
            Form::Gguf => {
                let file = named.suffix(".gguf").tempfile_in(parent);
                Self::File(file.map_err(unusable)?.into_temp_path())
            }
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Folder(dir) => dir.path(),
            Self::File(path) => path,
        }
    }

    fn keep(self, out: &Path) -> Result<(), Failure> {
        let named = |error: std::io::Error| Failure::failed(format!("{}: {error}", out.display()));
        match self {
            Self::Folder(dir) => {
                open_to_others(dir.path(), 0o755).map_err(named)?;
                std::fs::rename(dir.path(), out).map_err(named)?;
                // It has another name now.
                let _ = dir.keep();
            }
            Self::File(path) => {
                open_to_others(&path, 0o644).map_err(named)?;
                path.persist_noclobber(out)
                    .map_err(|error| named(error.error))?;
            }
        }
        Ok(())
    }
}

/// Temporary files are their owner's alone.
#[cfg(unix)]
fn open_to_others(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn open_to_others(_: &Path, _: u32) -> std::io::Result<()> {
    Ok(())
}
