//! Answers about feedback.

use super::super::shape::{ANY_NUMBER, COUNT, FLAG, Field, Kind, Shape, TEXT};
use super::{CREATED_AT, FIRST_ID, GENERATION, HAS_MORE, ID, LAST_ID, LIST, list_of, shape};

pub(in super::super) const FEEDBACK: Shape = shape(
    "Feedback",
    "What somebody thinks of an answer.",
    &[&[
        ID,
        Field::new("object", Kind::Choice(&["feedback"]), "").required(),
        Field::new("adapter", TEXT, "What answered; null is the base."),
        GENERATION,
        Field::new("owner", TEXT, "Id of the key that got the answer."),
        Field::new("given_by", TEXT, "Id of the key that gave the feedback."),
        CREATED_AT,
        Field::new("answered_at", COUNT, "Unix seconds.").required(),
        Field::new("score", ANY_NUMBER, "-1 to 1.").required(),
        Field::new("correction", TEXT, "What the answer should have been."),
        Field::new("label", TEXT, ""),
        Field::new("comment", TEXT, ""),
        Field::new("captured", FLAG, "Whether prompt and answer are kept.").required(),
        Field::new("tokens", COUNT, "Of the answer.").required(),
        Field::new("used_by", TEXT, "The job that learned from it."),
        Field::new(
            "input",
            Kind::Any,
            "`{\"messages\": […]}` or `{\"prompt\": …}`; where one is asked for, and it is kept.",
        ),
        Field::new("answer", TEXT, "Likewise."),
    ]],
);
pub(in super::super) const FEEDBACKS: Shape = shape(
    "FeedbackList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&FEEDBACK)), "").required(),
        FIRST_ID,
        LAST_ID,
        HAS_MORE,
    ]],
);
const SCORE: Shape = shape(
    "GenerationScore",
    "What a generation was worth to people.",
    &[&[
        GENERATION,
        Field::new("count", COUNT, "").required(),
        Field::new("mean", ANY_NUMBER, "Of the scores.").required(),
        Field::new("up", COUNT, "Scores above 0.").required(),
        Field::new("down", COUNT, "Scores below 0.").required(),
        Field::new("corrections", COUNT, "").required(),
    ]],
);
pub(in super::super) const SCORES: Shape = shape(
    "GenerationScoreList",
    "",
    &[&[
        LIST,
        Field::new("data", list_of(&Kind::Object(&SCORE)), "").required(),
    ]],
);
pub(in super::super) const FORGOTTEN: Shape = shape(
    "FeedbackDeleted",
    "",
    &[&[
        ID,
        Field::new("object", TEXT, "").required(),
        Field::new("deleted", FLAG, "").required(),
        Field::new("count", COUNT, "Answers, and feedback on those of others.").required(),
    ]],
);
