//! What a terminal shows of a job while it runs: how far it is, its losses as a curve, and its numbers.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::curve::{Curve, Room};
use super::job::steps;
use super::output::{cell, colors, size};
use super::progress::span;

/// Lines of the curve, where the terminal has them to spare.
const HEIGHT: usize = 8;
/// Lines around it, and some for what was on the terminal before.
const AROUND: usize = 8;
/// Where the system does not say.
const USUAL: (usize, usize) = (80, 24);

/// Draws nothing where there is no terminal.
pub struct Panel {
    bar: ProgressBar,
    curve: Curve,
    newest: Value,
    /// Of the daemon's process.
    memory: Option<u64>,
    shown: String,
}

impl Panel {
    pub fn new(is_shown: bool) -> Self {
        let bar = match is_shown {
            true => ProgressBar::new(0),
            false => ProgressBar::hidden(),
        };
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len}  {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self {
            bar,
            curve: Curve::default(),
            newest: Value::Null,
            memory: None,
            shown: String::new(),
        }
    }

    pub fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }

    /// Takes in an event, oldest first.
    pub fn hear(&mut self, event: &Value) {
        self.curve.hear(event);
        if event["type"] == "metrics" {
            self.newest = event.clone();
        }
    }

    pub fn remember_memory(&mut self, bytes: Option<u64>) {
        self.memory = bytes;
    }

    /// Draws what has changed.
    pub fn show(&mut self, job: &Value) {
        let (step, total) = steps(job);
        self.bar.set_length(total);
        self.bar.set_position(step);
        self.bar.set_prefix(cell(job, "status"));
        let text = self.text(job, room(terminal()));
        if text != self.shown {
            self.bar.set_message(text.clone());
            self.shown = text;
        }
    }

    /// Prints something above.
    pub fn suspend<R>(&self, print: impl FnOnce() -> R) -> R {
        self.bar.suspend(print)
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// What follows the bar: how long it takes, the curve, the numbers.
    fn text(&self, job: &Value, room: Room) -> String {
        let mut lines = vec![self.left(job).unwrap_or_default()];
        lines.extend(self.curve.lines(room));
        let numbers = self.numbers(job);
        if !numbers.is_empty() {
            lines.push(numbers.join(" · "));
        }
        lines.join("\n")
    }

    fn left(&self, job: &Value) -> Option<String> {
        // Both by the daemon's clock, which need not be ours.
        let left = job["estimated_finish"].as_i64()? - self.newest["created_at"].as_i64()?;
        (left > 0).then(|| format!("about {} left", span(left)))
    }

    fn numbers(&self, job: &Value) -> Vec<String> {
        let data = &self.newest["data"];
        let number = |field: &str| data[field].as_f64();
        let mut parts = Vec::new();
        let loss = number("train_loss").or_else(|| job["adapterd"]["train_loss"].as_f64());
        parts.extend(loss.map(|loss| format!("loss {loss:.4}")));
        let held_out = self.curve.newest_held_out();
        parts.extend(held_out.map(|(step, loss)| format!("● held-out {loss:.4} (step {step})")));
        let preferred = data["rewards"]["accuracy"].as_f64();
        parts.extend(preferred.map(|share| format!("{:.0} % preferred", 100.0 * share)));
        parts.extend(number("learning_rate").map(|rate| format!("rate {rate:.2e}")));
        parts.extend(number("loss_scale").map(|scale| format!("loss scale {scale}")));
        parts.extend(number("tokens_per_second").map(|speed| format!("{speed:.0} tokens/s")));
        parts.extend(
            self.memory
                .map(|bytes| format!("{} of memory", size(bytes))),
        );
        parts
    }
}

/// Columns and lines of the terminal that errors go to, where progress is drawn.
fn terminal() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(found) if found.ws_col > 0 && found.ws_row > 0 => {
            (usize::from(found.ws_col), usize::from(found.ws_row))
        }
        _ => USUAL,
    }
}

fn room((columns, rows): (usize, usize)) -> Room {
    Room {
        width: columns.saturating_sub(1),
        height: rows.saturating_sub(AROUND).min(HEIGHT),
        colors: colors(),
    }
}

/// The process's own memory, as the daemon's metrics tell it.
pub fn resident_memory(metrics: &str) -> Option<u64> {
    let mut lines = metrics.lines();
    let told = lines.find_map(|line| line.strip_prefix("process_resident_memory_bytes "))?;
    told.trim().parse::<f64>().ok().map(|bytes| bytes as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_panel_tells_time_losses_rate_speed_and_memory() {
        let mut panel = Panel::new(false);
        for step in 1..=3 {
            panel.hear(&json!({"type": "metrics", "created_at": 1000, "data": {
                "step": step, "train_loss": 4.0 - f64::from(step), "learning_rate": 0.0001875, "tokens_per_second": 1234.4,
                "loss_scale": null,
            }}));
        }
        panel.hear(&json!({"type": "message", "data": {"step": 2, "valid_loss": 1.5}}));
        panel.remember_memory(resident_memory(
            "# HELP x\nprocess_resident_memory_bytes 3145728\n",
        ));
        let job = json!({"status": "running", "estimated_finish": 1125, "adapterd": {"step": 3, "total_steps": 40}});
        let room = Room {
            width: 40,
            height: 2,
            colors: false,
        };
        let text = panel.text(&job, room);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "about 2 min 05 s left");
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(
            lines[4],
            "loss 1.0000 · ● held-out 1.5000 (step 2) · rate 1.88e-4 · 1234 tokens/s · 3.0 MiB of memory"
        );
        panel.show(&job);
        let narrow = panel.text(&job, Room { width: 10, ..room });
        assert_eq!(narrow.lines().count(), 2, "numbers alone");
    }

    #[test]
    fn a_curve_leaves_room_on_a_small_terminal() {
        assert_eq!(room((80, 24)).height, HEIGHT);
        assert_eq!(room((80, 10)).height, 2);
        assert_eq!(room((20, 3)).height, 0);
        assert_eq!(room((80, 24)).width, 79);
    }
}
