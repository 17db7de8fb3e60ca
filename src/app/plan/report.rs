//! A plan as JSON and as text.

use serde_json::{Map, Value, json};

use super::arithmetic::Line;
use super::rate::Rate;
use super::rows::Rows;
use crate::cli::{Table, size};
use crate::device::Part;
use crate::domain::recipes::{self, Mapping};
use crate::domain::{Named, parameters_report, thousands};
use crate::model::Outline;
use crate::trainer::account::{Change, Load, Outlined, Usage, total_steps};

/// What the job takes, and what there is.
pub struct Memory {
    pub load: Load,
    /// At the peak, the base included.
    pub usage: Usage,
    /// Of the process itself.
    pub process: u64,
    /// Of the key/value cache, once it is full.
    pub cache: u64,
    /// What training may take, as asked for.
    pub limit: Option<u64>,
    /// What the machine has left.
    pub machine: Option<u64>,
    /// What training may take, by both.
    pub room: Option<u64>,
    pub changes: Vec<Change>,
}

impl Memory {
    /// Of the process at its peak, while nothing is asked of it.
    fn peak(&self) -> u64 {
        self.usage.total() + self.process
    }

    /// Of training alone.
    fn training(&self) -> u64 {
        self.usage.total() - self.usage.of(Part::Base)
    }

    pub fn fits(&self) -> bool {
        self.room.is_none_or(|room| self.training() <= room)
    }
}

pub struct Report<'a> {
    pub name: &'a str,
    pub outline: &'a Outline,
    pub job: &'a Outlined<'a>,
    pub rows: Option<&'a Rows>,
    /// What became of each key of the recipes that came along.
    pub mappings: &'a [Mapping],
    pub arithmetic: Vec<Line>,
    pub memory: Memory,
    pub rate: Rate,
}

impl Report<'_> {
    pub fn to_json(&self) -> Value {
        let recipe = &self.job.recipe;
        let memory = &self.memory;
        let (trainable, all) = self.job.parameters();
        let mut parts = Map::new();
        for part in Part::ALL {
            parts.insert(part.name().to_owned(), memory.usage.of(part).into());
        }
        parts.insert("process".to_owned(), memory.process.into());
        let changes = memory.changes.iter().map(|change| {
            let settings = change.settings.iter();
            let settings: Map<String, Value> = settings
                .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
                .collect();
            let peak = change.peak + memory.peak() - memory.training();
            json!({"settings": settings, "training_bytes": change.peak, "peak_bytes": peak, "fits": change.fits})
        });
        let arithmetic = self.arithmetic.iter();
        let arithmetic: Vec<Value> = arithmetic
            .map(|line| json!({"what": line.what, "bytes": line.bytes}))
            .collect();
        json!({
            "model": self.name,
            "base": {"parameters": self.outline.parameters(), "format": self.outline.format(), "bytes": self.outline.weight_bytes()},
            "method": recipe.method.name(),
            "parameters": {"trainable": trainable, "all": all},
            "report": parameters_report(trainable, all),
            "forward": {"tokens": memory.load.tokens, "trained_tokens": memory.load.trained, "micro_batch": recipe.micro_batch, "max_seq": recipe.max_seq},
            "parts": parts,
            "peak_bytes": memory.peak(),
            "peak_at": memory.usage.at.name(),
            "training_bytes": memory.training(),
            "cache_bytes": memory.cache,
            "with_cache_bytes": memory.peak() + memory.cache,
            "memory_limit": memory.limit,
            "available_bytes": memory.machine,
            "fits": memory.fits(),
            "changes": changes.collect::<Vec<_>>(),
            "data": self.data(),
            "time": self.time(),
            "arithmetic": arithmetic,
            "mappings": self.mappings,
        })
    }

    fn data(&self) -> Value {
        let Some(rows) = self.rows else {
            return Value::Null;
        };
        let (epoch, total) = total_steps(&self.job.recipe, rows.count as usize);
        json!({
            "rows": rows.count, "tokens": rows.tokens, "trained_tokens": rows.trained, "tokens_are_guessed": rows.guessed,
            "steps_per_epoch": epoch, "steps": total, "warnings": rows.warnings,
        })
    }

    fn seconds(&self, tokens: u64) -> f64 {
        tokens as f64 / self.rate.tokens_per_second
    }

    fn time(&self) -> Value {
        let epoch = self.rows.map(|rows| self.seconds(rows.tokens));
        json!({"estimate": true, "tokens_per_second": self.rate.tokens_per_second, "seconds_per_epoch": epoch})
    }

    pub fn to_text(&self) -> String {
        let recipe = &self.job.recipe;
        let (trainable, all) = self.job.parameters();
        let mut text = format!(
            "{}: {} parameters, held as {}\n{} on rows of up to {} tokens, {} in a forward, {} in a step\n{}\n\n",
            self.name,
            thousands(self.outline.parameters()),
            self.outline.format(),
            recipe.method.name(),
            recipe.max_seq,
            recipe.micro_batch,
            recipe.batch_size,
            parameters_report(trainable, all),
        );
        if !self.mappings.is_empty() {
            text += &(recipes::table(self.mappings) + "\n");
        }
        text += &self.parts();
        text += &self.verdict();
        text += &self.work();
        if !self.arithmetic.is_empty() {
            text += "\nFor comparison:\n";
            let mut table = Table::default();
            for line in &self.arithmetic {
                let decimal = format!("{:.1} GB", line.bytes as f64 / 1e9);
                table.row(vec![format!("  {}", line.what), decimal]);
            }
            text += &table.render();
        }
        text
    }

    fn parts(&self) -> String {
        let memory = &self.memory;
        let mut table = Table::new(&["PART", "AT THE PEAK", ""]);
        let mut row = |part: &str, bytes: u64, about: &str| {
            table.row(vec![part.to_owned(), size(bytes), about.to_owned()]);
        };
        let cache = format!("and up to {} while it answers", size(memory.cache));
        for part in Part::ALL {
            let about = match part {
                Part::Base => "weights",
                Part::Kv => &cache,
                Part::Adapters => "what learns, in f32",
                Part::Activations => "kept for the way back",
                Part::Gradients => "",
                Part::Optimizer => "two moments of each number that learns",
                Part::Scratch => "of single operations and copies",
            };
            row(part.name(), memory.usage.of(part), about);
        }
        row("process", memory.process, "program, tokenizer, buffers");
        let about = format!("during {}", memory.usage.at.name());
        row("peak", memory.peak(), &about);
        row("of which training", memory.training(), "");
        table.render()
    }

    fn verdict(&self) -> String {
        let memory = &self.memory;
        let training = size(memory.training());
        let of_machine = memory.machine.map(size).unwrap_or_else(|| "?".to_owned());
        let limits = match memory.limit {
            Some(limit) => format!("memory_limit {}, machine {of_machine}", size(limit)),
            None => format!("machine {of_machine}"),
        };
        if memory.fits() {
            return format!("\nIt fits ({limits}).\n");
        }
        let room = memory.room.map(size).unwrap_or_default();
        let mut text = format!(
            "\nIt does not fit: training takes {training}, and {room} are left for it ({limits}).\n"
        );
        let fitting = memory.changes.iter().any(|change| change.fits);
        text += match fitting {
            true => "What would fit, and what training would take then:\n",
            false => "Nothing near it fits. The least it can take:\n",
        };
        let mut table = Table::default();
        for change in &memory.changes {
            table.row(vec![format!("  {change}"), size(change.peak)]);
        }
        text += &table.render();
        if !fitting {
            text +=
                "A base of fewer bits (--quant), a smaller one, or another machine is needed.\n";
        }
        text
    }

    fn work(&self) -> String {
        let rate = self.rate.tokens_per_second;
        let mut text = format!("\nAbout {rate:.0} tokens/s here, estimated from single products");
        let Some(rows) = self.rows else {
            return text + "; --rows N or --data FILE says how long an epoch takes.\n";
        };
        let (epoch, total) = total_steps(&self.job.recipe, rows.count as usize);
        let guessed = if rows.guessed {
            " (guessed: 4 bytes each)"
        } else {
            ""
        };
        text += &format!(
            ": {} for an epoch.\n{} rows, {} tokens{guessed}, {} of them learned; {epoch} steps an epoch, {total} in all\n",
            duration(self.seconds(rows.tokens)),
            thousands(rows.count),
            thousands(rows.tokens),
            thousands(rows.trained),
        );
        for warning in &rows.warnings {
            text += &format!("warning: {warning}\n");
        }
        text
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}
