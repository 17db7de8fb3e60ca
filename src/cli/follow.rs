//! Follows a job to its end: by a bar on a terminal, else by lines.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::job::{get, steps};
use super::output::cell;
use super::progress::Story;
use super::{Client, Failure, Output};

/// Between two looks at the job.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks at its events.
const LISTEN: Duration = Duration::from_secs(1);

/// Shows a job's progress until it ends. An error when it ends in anything but success.
pub async fn follow(client: &Client, id: &str, output: Output) -> Result<(), Failure> {
    let bar = bar(output);
    let watching = watch(client, id, &bar, Lines::of(output));
    let job = tokio::select! {
        ended = watching => ended?,
        _ = tokio::signal::ctrl_c() => {
            bar.finish_and_clear();
            return Err(Failure::Interrupted(format!(
                "{id} goes on; `adapterd job watch {id}` comes back to it"
            )));
        }
    };
    bar.finish_and_clear();
    output.show(&job, |job| match job["fine_tuned_model"].as_str() {
        Some(name) => {
            format!("{id} succeeded: `{name}` answers now (`adapterd chat --adapter {name}`)")
        }
        None => format!("{id} {}", cell(job, "status")),
    })?;
    match job["status"].as_str() {
        Some("succeeded") => Ok(()),
        _ => Err(Failure::failed(
            job["error"]["message"]
                .as_str()
                .unwrap_or("the job did not succeed"),
        )),
    }
}

fn bar(output: Output) -> ProgressBar {
    let bar = match output.shows_progress() {
        true => ProgressBar::new(0),
        false => ProgressBar::hidden(),
    };
    if let Ok(style) = ProgressStyle::with_template(
        "{prefix} [{bar:30}] {pos}/{len}  {msg}  {elapsed} (about {eta} left)",
    ) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Looks at the job until it ends, and returns it as it is then.
async fn watch(
    client: &Client,
    id: &str,
    bar: &ProgressBar,
    lines: Lines,
) -> Result<Value, Failure> {
    let began = Instant::now();
    let (mut news, mut story) = (News::default(), Story::default());
    let (mut listened, mut heard_as) = (None::<Instant>, String::new());
    loop {
        let job = get(client, id).await?;
        let (step, total) = steps(&job);
        let status = cell(&job, "status");
        bar.set_length(total);
        bar.set_position(step);
        bar.set_prefix(status.clone());
        if let Some(loss) = job["adapterd"]["train_loss"].as_f64() {
            bar.set_message(format!("loss {loss:.4}"));
        }
        let is_over = matches!(status.as_str(), "succeeded" | "failed" | "cancelled");
        let is_due = status != heard_as || listened.is_none_or(|when| when.elapsed() >= LISTEN);
        if is_due {
            let say = |line: String| bar.suspend(|| lines.say(&line));
            for event in news.fetch(client, id).await? {
                if lines.want(&event)
                    && let Some(line) = story.hear(&event, &job, began.elapsed())
                {
                    say(line)?;
                }
            }
            if is_over && let Some(line) = story.finish() {
                say(line)?;
            }
            (listened, heard_as) = (Some(Instant::now()), status);
        }
        if is_over {
            return Ok(job);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Which lines are written, and where.
#[derive(Debug, Clone, Copy)]
enum Lines {
    /// A bar on the terminal tells the steps; lines are for warnings and errors.
    BesideBar,
    Output,
    /// Standard output holds the job as JSON and nothing else.
    Errors,
}

impl Lines {
    fn of(output: Output) -> Self {
        match (output.is_json(), std::io::stdout().is_terminal()) {
            (true, _) => Self::Errors,
            (false, true) if output.shows_progress() => Self::BesideBar,
            (false, _) => Self::Output,
        }
    }

    fn want(self, event: &Value) -> bool {
        match self {
            Self::BesideBar => matches!(event["level"].as_str(), Some("warn" | "error")),
            Self::Output | Self::Errors => true,
        }
    }

    /// Sends one line on its way at once. [`Failure::Unread`] where the reader has gone.
    fn say(self, line: &str) -> Result<(), Failure> {
        match self {
            Self::Output => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{line}")?;
                out.flush()?;
            }
            // The job's outcome counts, whether its progress is read or not.
            Self::BesideBar | Self::Errors => drop(writeln!(std::io::stderr().lock(), "{line}")),
        }
        Ok(())
    }
}

/// Events that have not been fetched yet.
#[derive(Debug, Default)]
struct News {
    /// The newest event fetched.
    newest: Option<String>,
}

impl News {
    /// Events since the last call, oldest first. The first call goes back one page: where there is more, the job is under
    /// way, and of its steps only the newest counts.
    async fn fetch(&mut self, client: &Client, id: &str) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            // Few events come in a second; a whole page is for the first look at a job that is under way.
            let limit = if self.newest.is_some() && found.is_empty() {
                20
            } else {
                100
            };
            let mut query = vec![("limit", limit.to_string())];
            query.extend(after.take().map(|id| ("after", id)));
            let path = ["v1", "fine_tuning", "jobs", id, "events"];
            let page = client.get(&path, &query).await?;
            let events = page["data"].as_array().map_or(&[][..], Vec::as_slice);
            let is_new = |event: &&Value| self.newest.as_deref() != event["id"].as_str();
            let new = events.iter().take_while(is_new);
            let before = found.len();
            found.extend(new.cloned());
            let has_more = page["has_more"] == true && found.len() - before == events.len();
            after = found.last().map(|event| cell(event, "id"));
            if has_more && self.newest.is_none() {
                let newest = found.iter().position(|event| event["type"] == "metrics");
                let mut index = 0..;
                found.retain(|event| index.next() == newest || event["type"] != "metrics");
            } else if has_more && after.is_some() {
                continue;
            }
            if let Some(event) = found.first() {
                self.newest = Some(cell(event, "id"));
            }
            found.reverse();
            return Ok(found);
        }
    }
}
