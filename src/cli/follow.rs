//! Follows a job to its end: by a curve on a terminal, else by lines.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::job::get;
use super::output::cell;
use super::panel::{Panel, resident_memory};
use super::progress::Story;
use super::{Client, Failure, Output, summary};

/// Between two looks at the job.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks at its events.
const LISTEN: Duration = Duration::from_secs(1);
/// Pages of events that a curve goes back, of a job that is under way.
const PAGES: usize = 40;

/// Shows a job's progress until it ends. An error when it ends in anything but success.
pub async fn follow(client: &Client, id: &str, output: Output) -> Result<(), Failure> {
    let mut panel = Panel::new(output.shows_progress());
    let watched = tokio::select! {
        ended = watch(client, id, &mut panel, Lines::of(output)) => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    panel.clear();
    let Some(ended) = watched else {
        return Err(Failure::Interrupted(format!(
            "{id} goes on; `adapterd job watch {id}` comes back to it"
        )));
    };
    let job = ended?;
    let summary = match output.is_json() {
        true => None,
        false => summary::find(client, id).await?,
    };
    output.show(&job, |job| {
        let outcome = match job["fine_tuned_model"].as_str() {
            Some(name) if job["adapterd"]["published"] == false => {
                format!(
                    "{id} succeeded: `{name}` is kept and answers by that name; `adapterd adapter promote` serves it"
                )
            }
            Some(name) => {
                format!("{id} succeeded: `{name}` answers now (`adapterd chat --adapter {name}`)")
            }
            None => format!("{id} {}", cell(job, "status")),
        };
        let told = summary.iter().map(summary::text);
        told.chain([outcome]).collect::<Vec<_>>().join("\n")
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

/// Looks at the job until it ends, and returns it as it is then.
async fn watch(
    client: &Client,
    id: &str,
    panel: &mut Panel,
    lines: Lines,
) -> Result<Value, Failure> {
    let began = Instant::now();
    let (mut news, mut story) = (News::default(), Story::default());
    let (mut listened, mut heard_as) = (None::<Instant>, String::new());
    loop {
        let job = get(client, id).await?;
        let status = cell(&job, "status");
        let is_over = matches!(status.as_str(), "succeeded" | "failed" | "cancelled");
        let is_due = status != heard_as || listened.is_none_or(|when| when.elapsed() >= LISTEN);
        if is_due {
            // A curve begins with the first step; lines begin with the newest.
            let back = if panel.is_hidden() { 1 } else { PAGES };
            for event in news.fetch(client, id, back).await? {
                panel.hear(&event);
                if lines.want(&event)
                    && let Some(line) = story.hear(&event, &job, began.elapsed())
                {
                    panel.suspend(|| lines.say(&line))?;
                }
            }
            if is_over && let Some(line) = story.finish() {
                panel.suspend(|| lines.say(&line))?;
            }
            if !panel.is_hidden() {
                // Not told to everyone: then it is left out.
                let metrics = client.bytes(&["metrics"]).await.ok();
                let told = metrics.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                panel.remember_memory(told.and_then(|text| resident_memory(&text)));
            }
            (listened, heard_as) = (Some(Instant::now()), status);
        }
        panel.show(&job);
        if is_over {
            return Ok(job);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Which lines are written, and where.
#[derive(Debug, Clone, Copy)]
enum Lines {
    /// A curve on the terminal tells the steps; lines are for warnings and errors.
    BesideCurve,
    Output,
    /// Standard output holds the job as JSON and nothing else.
    Errors,
}

impl Lines {
    fn of(output: Output) -> Self {
        match (output.is_json(), std::io::stdout().is_terminal()) {
            (true, _) => Self::Errors,
            (false, true) if output.shows_progress() => Self::BesideCurve,
            (false, _) => Self::Output,
        }
    }

    fn want(self, event: &Value) -> bool {
        match self {
            Self::BesideCurve => matches!(event["level"].as_str(), Some("warn" | "error")),
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
            Self::BesideCurve | Self::Errors => drop(writeln!(std::io::stderr().lock(), "{line}")),
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
    /// Events since the last call, oldest first. The first call goes back so many pages: where there is more, the job is
    /// under way. Of the steps of a single page only the newest counts then.
    async fn fetch(
        &mut self,
        client: &Client,
        id: &str,
        back: usize,
    ) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        let mut pages = 0;
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
            pages += 1;
            if has_more && self.newest.is_none() && pages >= back {
                if back > 1 {
                    return Ok(self.hear(found));
                }
                let newest = found.iter().position(|event| event["type"] == "metrics");
                let mut index = 0..;
                found.retain(|event| index.next() == newest || event["type"] != "metrics");
            } else if has_more && after.is_some() {
                continue;
            }
            return Ok(self.hear(found));
        }
    }

    /// Newest first; remembers which that is, and turns them round.
    fn hear(&mut self, mut found: Vec<Value>) -> Vec<Value> {
        if let Some(event) = found.first() {
            self.newest = Some(cell(event, "id"));
        }
        found.reverse();
        found
    }
}
