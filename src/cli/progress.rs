//! What a job's followers read where no bar can be drawn: a line now and then, and one for every event of note.

use std::time::Duration;

use serde_json::Value;

use super::output::cell;

/// Between two lines about steps there is at least this much time,
const EVERY: Duration = Duration::from_secs(10);
/// and at least this share of all steps.
const SHARES: u64 = 20;

/// Which steps get a line.
#[derive(Debug, Default)]
pub struct Pace {
    /// The newest line: when, and which step.
    told: Option<(Duration, u64)>,
}

impl Pace {
    /// Whether a step that is seen at `now` gets a line: the first does, the last does, and between them those that are
    /// far enough from the line before in time and in steps. `total` is 0 while it is unknown.
    pub fn is_due(&self, now: Duration, step: u64, total: u64) -> bool {
        let Some((when, last)) = self.told else {
            return true;
        };
        let further = step.saturating_sub(last);
        let is_last = total > 0 && step >= total;
        let is_far = now.saturating_sub(when) >= EVERY && further * SHARES >= total;
        further > 0 && (is_last || is_far)
    }

    pub const fn tell(&mut self, now: Duration, step: u64) {
        self.told = Some((now, step));
    }
}

/// Turns a job's events into lines.
#[derive(Debug, Default)]
pub struct Story {
    pace: Pace,
    held_out: Option<f64>,
    /// A step without a line so far, and its line.
    untold: Option<(u64, String)>,
}

impl Story {
    /// The line for an event of `job` that is seen at `now`, counted from any moment; not every step has one.
    pub fn hear(&mut self, event: &Value, job: &Value, now: Duration) -> Option<String> {
        if event["type"] != "metrics" {
            self.held_out = event["data"]["valid_loss"].as_f64().or(self.held_out);
            let message = cell(event, "message");
            return Some(match event["level"].as_str() {
                Some("warn") => format!("warning: {message}"),
                Some("error") => format!("error: {message}"),
                _ => message,
            });
        }
        let step = event["data"]["step"].as_u64().unwrap_or(0);
        let total = job["adapterd"]["total_steps"].as_u64().unwrap_or(0);
        let line = self.line(event, job, (step, total));
        if !self.pace.is_due(now, step, total) {
            self.untold = Some((step, line));
            return None;
        }
        self.untold = None;
        self.pace.tell(now, step);
        Some(line)
    }

    /// The newest step's line, unless it has been printed: for the end, which may come before the last step.
    pub fn finish(&mut self) -> Option<String> {
        self.untold.take().map(|(_, line)| line)
    }

    fn line(&self, event: &Value, job: &Value, (step, total): (u64, u64)) -> String {
        let number = |field: &str| event["data"][field].as_f64();
        let mut parts = vec![match number("train_loss") {
            Some(loss) => format!("loss {loss:.4}"),
            None => "no finite loss".to_owned(),
        }];
        if event["data"]["skipped"] == true {
            parts.push("skipped".to_owned());
        }
        if let Some(loss) = self.held_out {
            parts.push(format!("held-out loss {loss:.4}"));
        }
        if let Some(rate) = number("learning_rate") {
            parts.push(format!("learning rate {rate:.2e}"));
        }
        if let Some(speed) = number("tokens_per_second") {
            parts.push(format!("{speed:.0} tokens/s"));
        }
        // Both by the daemon's clock, which need not be ours.
        let left = || Some(job["estimated_finish"].as_i64()? - event["created_at"].as_i64()?);
        if let Some(left) = left().filter(|left| *left > 0 && step < total) {
            parts.push(format!("about {} left", span(left)));
        }
        format!("step {step}/{total}: {}", parts.join(", "))
    }
}

/// Seconds as a person says them.
pub fn span(seconds: i64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {:02} s", seconds % 60),
        _ => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The steps with a line of a job that makes `total` steps, one each `each` seconds.
    fn told(total: u64, each: f64) -> Vec<u64> {
        let mut pace = Pace::default();
        (1..=total)
            .filter(|&step| {
                let now = Duration::from_secs_f64(step as f64 * each);
                let due = pace.is_due(now, step, total);
                if due {
                    pace.tell(now, step);
                }
                due
            })
            .collect()
    }

    #[test]
    fn lines_are_ten_seconds_and_a_twentieth_of_the_steps_apart_but_for_the_first_and_the_last() {
        assert_eq!(told(1, 5.0), [1]);
        assert_eq!(told(3, 0.01), [1, 3]);
        // Ten seconds come later than two steps of forty,
        assert_eq!(told(40, 1.0), [1, 11, 21, 31, 40]);
        // and 50 steps of 1000 later than ten seconds.
        let slow = told(1000, 1.0);
        assert_eq!(slow[..3], [1, 51, 101]);
        assert_eq!((slow.len(), slow.last()), (21, Some(&1000)));
        for (total, each) in [(7, 3.0), (100, 0.1), (333, 30.0), (100_000, 0.001)] {
            let told = told(total, each);
            assert_eq!((told.first(), told.last()), (Some(&1), Some(&total)));
            assert!(told.len() <= 22, "{total}: {told:?}");
            for pair in told[..told.len() - 1].windows(2) {
                let apart = pair[1] - pair[0];
                assert!(
                    apart * 20 >= total && apart as f64 * each >= 9.99,
                    "{told:?}"
                );
            }
        }
    }

    #[test]
    fn a_step_is_told_once_and_an_unknown_number_of_steps_is_paced_by_time_alone() {
        let mut pace = Pace::default();
        let at = Duration::from_secs;
        pace.tell(at(0), 9);
        for (now, step, total, due) in [
            (1, 9, 9, false),
            (99, 9, 90, false),
            (99, 8, 90, false),
            (9, 10, 0, false),
            (10, 10, 0, true),
        ] {
            assert_eq!(pace.is_due(at(now), step, total), due, "{step} of {total}");
        }
    }

    fn step(step: u64) -> Value {
        json!({"type": "metrics", "level": "info", "message": "…", "created_at": 1000, "data": {
            "step": step, "train_loss": 1.25, "learning_rate": 0.0001875, "tokens_per_second": 1234.4, "skipped": false,
        }})
    }

    fn message(level: &str, text: &str, data: Value) -> Value {
        json!({"type": "message", "level": level, "message": text, "created_at": 1000, "data": data})
    }

    #[test]
    fn a_line_tells_what_a_bar_would_and_what_was_measured_last() {
        let job = json!({"estimated_finish": 1125, "adapterd": {"total_steps": 40}});
        let mut story = Story::default();
        let mut hear = |event: Value, now| story.hear(&event, &job, Duration::from_secs(now));
        assert_eq!(
            hear(step(1), 0).unwrap(),
            "step 1/40: loss 1.2500, learning rate 1.88e-4, 1234 tokens/s, about 2 min 05 s left"
        );
        assert_eq!(hear(step(2), 1), None);
        let evaluated = message(
            "info",
            "step 2: held-out loss 1.3000",
            json!({"valid_loss": 1.3}),
        );
        assert_eq!(hear(evaluated, 1).unwrap(), "step 2: held-out loss 1.3000");
        let warned = message("warn", "a step was skipped", json!({}));
        assert_eq!(hear(warned, 1).unwrap(), "warning: a step was skipped");
        let mut skipped = step(40);
        skipped["data"]["train_loss"] = Value::Null;
        skipped["data"]["skipped"] = json!(true);
        assert_eq!(
            hear(skipped, 2).unwrap(),
            "step 40/40: no finite loss, skipped, held-out loss 1.3000, learning rate 1.88e-4, 1234 tokens/s"
        );
        assert_eq!(story.finish(), None);
    }

    #[test]
    fn a_job_that_ends_early_ends_with_its_newest_step() {
        let job = json!({"adapterd": {"total_steps": 40}});
        let mut story = Story::default();
        let now = Duration::ZERO;
        assert!(story.hear(&step(1), &job, now).is_some());
        assert!(story.hear(&step(2), &job, now).is_none());
        assert!(story.hear(&step(3), &job, now).is_none());
        assert!(story.finish().unwrap().starts_with("step 3/40: "));
        assert_eq!(story.finish(), None);
    }

    #[test]
    fn seconds_are_told_in_the_units_that_matter() {
        for (seconds, text) in [
            (1, "1 s"),
            (59, "59 s"),
            (60, "1 min 00 s"),
            (3599, "59 min 59 s"),
            (3661, "1 h 01 min"),
            (360_000, "100 h 00 min"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
