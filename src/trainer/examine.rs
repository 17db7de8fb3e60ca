//! Reports on uploaded files, as a job of this base would read them.

use serde_json::Value;

use super::create::{CHECK_WAIT, turn};
use super::data::report::{Options, Voice, check};
use super::data::{ReadFault, RowReader};
use super::service::Trainer;
use crate::domain::{Asker, FileId, Reason, Wishes};
use crate::kernels::pool::{self, Class};
use crate::store::{blocking, now};

/// A file, and what to look for in it.
#[derive(Debug, Clone)]
pub struct ReportAsk {
    pub file: FileId,
    /// A file whose rows are looked for in it.
    pub held_out: Option<FileId>,
    /// The key of the rows' class.
    pub label: Option<String>,
    /// What a job would hold out.
    pub eval_split: Option<f64>,
    pub seed: Option<u64>,
}

impl Trainer {
    /// What is in a file's records, and what is wrong with them. Takes as long as checking a job's data, beside serving.
    ///
    /// # Errors
    /// `NoSuchFile`, `BadField`, `Overloaded` while other files are checked.
    pub async fn report(&self, ask: ReportAsk, asker: &Asker) -> Result<Value, Reason> {
        let shared = self.shared.clone();
        let wishes = Wishes {
            eval_split: ask.eval_split,
            seed: ask.seed,
            ..Wishes::default()
        };
        wishes.check()?;
        if ask.held_out.is_some() && ask.eval_split.is_some() {
            let why =
                "a held-out file is given, so no rows are split off; leave one of the two out";
            return Err(Reason::field("eval_split", why));
        }
        let file = shared.uploads.stored(&ask.file).await?;
        if !asker.sees(file.owner.as_ref()) {
            return Err(Reason::NoSuchFile(ask.file.to_string()));
        }
        let held_out = match &ask.held_out {
            None => None,
            Some(id) => Some(self.stored(id, "held_out", asker).await?),
        };
        let turn = turn(&shared.checks, CHECK_WAIT).await?;
        blocking(move || {
            // A caller that goes away does not end this: the turn is given back when the work is done.
            let _turn = turn;
            let recipe = wishes.complete(shared.base.model.context());
            let template = shared.base.template.at(now());
            let options = Options {
                voice: Some(Voice {
                    tokenizer: &shared.base.tokenizer,
                    template: &template,
                    limit: recipe.max_seq,
                    judges: true,
                }),
                label: ask.label.as_deref(),
                split: ask.eval_split.map(|wanted| (wanted, recipe.seed)),
                ..Options::default()
            };
            let most = shared.uploads.max_bytes();
            let open = |path: &std::path::Path, field| {
                RowReader::open(path, most).map_err(|fault: ReadFault| fault.refusal(field))
            };
            let rows = open(&file.path, "file")?;
            let held_out = held_out
                .map(|file| open(&file.path, "held_out"))
                .transpose()?;
            let checked = pool::within(Class::Training(shared.turns.clone()), || {
                check(rows, held_out, &options)
            });
            let report = checked.map_err(|fault| fault.refusal("file"))?.report;
            serde_json::to_value(report).map_err(|fault| Reason::Internal(fault.to_string()))
        })
        .await
    }
}
