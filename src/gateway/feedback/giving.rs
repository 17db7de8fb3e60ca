//! What callers do with feedback: it belongs to the key that got the answer, and admins see all of it.

use futures::stream::{self, BoxStream, StreamExt};

use super::super::{Caller, Page, listed};
use super::{Feedback, rows};
use crate::domain::{
    FeedbackAsk, FeedbackFilter, FeedbackView, KeyId, Reason, RowForm, Scope, ScoreView,
    bare_answer_id,
};
use crate::store::Place;

const INFER: Scope = Scope::Infer;
/// Rows that are read at a time.
const ROWS: usize = 64;
/// What callers without a key are called.
const NOBODY: &str = "none";

/// Which training rows are wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportAsk {
    /// `none` is the base.
    pub adapter: String,
    pub form: RowForm,
    /// What answers need that were not corrected; above 0 where absent.
    pub min_score: Option<f64>,
}

impl Caller {
    /// Records feedback; what this key gave on the answer before is replaced.
    pub async fn give_feedback(&self, mut ask: FeedbackAsk) -> Result<FeedbackView, Reason> {
        let parts = self.may(INFER)?;
        let feedback = &parts.feedback;
        ask.check()?;
        ask.id = bare_answer_id(&ask.id).to_owned();
        // The answer may have ended just now.
        feedback.settle().await;
        let (view, before) = feedback.stored().give(&ask, &self.asker()).await?;
        feedback.told(&view);
        let name = view.adapter.as_deref().and_then(|name| name.parse().ok());
        if let (Some(name), Some(generation)) = (name, view.adapter_generation) {
            parts.routes.scored(&name, generation, (before, view.score));
        }
        Ok(view)
    }

    pub async fn feedback(
        &self,
        filter: &FeedbackFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<FeedbackView>, Reason> {
        let stored = self.may(INFER)?.feedback.stored();
        let asker = self.asker();
        let after = after.map(bare_answer_id);
        if let Some(after) = after {
            listed(stored.show(after, &asker).await)?;
        }
        stored.list(&asker, filter, after, limit).await
    }

    /// With prompt and answer, where they are kept.
    pub async fn one_feedback(&self, id: &str) -> Result<FeedbackView, Reason> {
        let stored = self.may(INFER)?.feedback.stored();
        stored.show(bare_answer_id(id), &self.asker()).await
    }

    /// With what is kept of the answer.
    pub async fn delete_feedback(&self, id: &str) -> Result<(), Reason> {
        let feedback = &self.may(INFER)?.feedback;
        feedback.settle().await;
        let stored = feedback.stored();
        stored.delete(bare_answer_id(id), &self.asker()).await
    }

    /// All that is remembered of a key: answers, texts, feedback. `none` is callers without one.
    pub async fn delete_feedback_of(&self, key: &str) -> Result<u64, Reason> {
        let feedback = &self.may(INFER)?.feedback;
        let is_own = self.key_id().map(KeyId::as_str) == Some(key);
        if !is_own && !self.sees_everything() {
            return Err(Reason::NoSuchKey(key.chars().take(80).collect()));
        }
        feedback.settle().await;
        let key = Some(key).filter(|key| *key != NOBODY);
        feedback.stored().delete_of(key).await
    }

    /// What the generations of an adapter (`none` is the base) were worth to people, as far as the caller may know.
    pub async fn feedback_scores(&self, adapter: &str) -> Result<Vec<ScoreView>, Reason> {
        let stored = self.may(INFER)?.feedback.stored();
        stored.scores(&self.asker(), adapter).await
    }

    /// Training rows of feedback as JSON Lines, a few lines at a time, for as long as the caller's key counts.
    pub fn export_feedback(
        &self,
        ask: ExportAsk,
    ) -> Result<BoxStream<'static, Result<String, Reason>>, Reason> {
        self.check(INFER)?;
        let (caller, asker) = (self.clone(), self.asker());
        let pieces = stream::unfold(Some(0), move |after| {
            let (caller, asker, ask) = (caller.clone(), asker.clone(), ask.clone());
            async move {
                let place = Place {
                    asker: &asker,
                    adapter: &ask.adapter,
                    is_fresh: false,
                    after: after?,
                };
                // Whose key has ended gets an error, never what looks like the end.
                let given = async {
                    let stored = caller.may(INFER)?.feedback.stored();
                    stored.usable(place, ROWS).await
                };
                let given = match given.await {
                    Ok(given) => given,
                    Err(reason) => return Some((Err(reason), None)),
                };
                let last = given.last()?.used.number;
                let rows = given
                    .iter()
                    .filter_map(|given| rows::row(given, ask.form, ask.min_score));
                let lines: String = rows.map(|row| format!("{row}\n")).collect();
                Some((Ok(lines), Some(last)))
            }
        });
        // What ended may be asked again.
        Ok(pieces.fuse().boxed())
    }
}

impl Feedback {
    /// Tells of feedback that is recorded.
    fn told(&self, view: &FeedbackView) {
        let adapter = view.adapter.as_deref();
        let kinds = [
            ("up", view.score > 0.0),
            ("down", view.score < 0.0),
            ("correction", view.correction.is_some()),
        ];
        for (kind, _) in kinds.into_iter().filter(|(_, is_so)| *is_so) {
            self.inner.observe.given(adapter, kind);
        }
        self.inner.news.send_replace(());
    }
}
