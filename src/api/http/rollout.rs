//! `/v1/adapters/{name}/canary` and `…/shadow`.

use serde::Deserialize;

use super::adapters::{EXPECTED, answer, conditional};
use super::call::Call;
use super::dispatch::Outcome;
use super::shape::{Field, Kind, NAME, Shape};
use crate::domain::rollout::{CanaryAsk, Percent, Policy, Sticky};

const SHARE: Kind = Kind::Number(Policy::SHARE);
const RATIO: Kind = Kind::Number(Policy::RATIO);
const MANY: Kind = Kind::Integer {
    min: 0,
    max: Policy::MOST as i64,
};
const SPAN: Kind = Kind::Integer {
    min: 0,
    max: crate::domain::LONGEST_SPAN as i64,
};

pub(super) const POLICY: Shape = Shape {
    name: "CanaryPolicy",
    about: "What a canary must keep to; what is absent is not asked for.",
    fields: &[&[
        Field::new(
            "min_requests",
            MANY,
            "Answers of the canary before anything is decided by them; 100 where absent.",
        ),
        Field::new(
            "max_error_rate",
            SHARE,
            "Share of its answers that may fail for a fault of the server, 0 to 1.",
        ),
        Field::new(
            "max_latency_ratio",
            RATIO,
            "95th percentiles of the time to the first token and of whole answers, over those of stable.",
        ),
        Field::new(
            "max_heldout_loss_ratio",
            RATIO,
            "Held-out loss as its training measured it, over that of stable.",
        ),
        Field::new(
            "min_feedback",
            MANY,
            "Scores of the canary before anything is decided by them; 20 where absent and `min_score_ratio` is there.",
        ),
        Field::new(
            "min_score_ratio",
            RATIO,
            "Mean score over that of stable, where -1 counts as 0 and 1 as 1.",
        ),
        Field::new(
            "promote_after",
            SPAN,
            "Seconds after which a canary that has kept to all of this takes over; never where absent.",
        ),
    ]],
};

const GENERATION: Field = Field::new(
    "generation",
    NAME,
    "At least 8 hex digits of a generation the name has.",
)
.required();

const PERCENT: Field = Field::new(
    "percent",
    Kind::Number(Percent::RANGE),
    "Of the name's requests, with up to two decimals.",
)
.required();

pub(super) const CANARY: Shape = Shape {
    name: "CanaryRequest",
    about: "Which generation is to answer part of a name's requests. Again for the same generation: what changes of it.",
    fields: &[
        EXPECTED,
        &[
            GENERATION,
            PERCENT,
            Field::new(
                "sticky",
                Kind::Choice(Sticky::NAMES),
                "What stays with one version: each request with its repetitions, or all of a caller. `request` where absent.",
            ),
            Field::new("policy", Kind::Object(&POLICY), "None where absent."),
        ],
    ],
};

pub(super) const SHADOW: Shape = Shape {
    name: "ShadowRequest",
    about: "Which generation is to answer part of a name's requests once more, unheard.",
    fields: &[EXPECTED, &[GENERATION, PERCENT]],
};

#[derive(Debug, Deserialize)]
struct Canary {
    expected_generation: Option<String>,
    generation: String,
    percent: f64,
    sticky: Option<String>,
    policy: Option<Policy>,
}

#[derive(Debug, Deserialize)]
struct Shadow {
    expected_generation: Option<String>,
    generation: String,
    percent: f64,
}

pub(super) async fn canary(call: Call) -> Outcome {
    let (request, asked) = call.read::<Canary>(&CANARY).await?;
    let sticky = asked.sticky.map(|name| Sticky::of("sticky", &name));
    let ask = CanaryAsk {
        percent: Percent::new("percent", asked.percent)?,
        sticky: sticky.transpose()?,
        policy: asked.policy,
    };
    let (name, expected) = (request.param("name"), asked.expected_generation.as_deref());
    let caller = request.caller();
    answer(
        &caller
            .canary(name, &asked.generation, ask, expected)
            .await?,
    )
}

pub(super) async fn promote(call: Call) -> Outcome {
    let (request, expected) = conditional(call).await?;
    let (name, caller) = (request.param("name"), request.caller());
    answer(&caller.promote_canary(name, expected.as_deref()).await?)
}

pub(super) async fn abort(call: Call) -> Outcome {
    let (request, expected) = conditional(call).await?;
    let (name, caller) = (request.param("name"), request.caller());
    answer(&caller.abort_canary(name, expected.as_deref()).await?)
}

pub(super) async fn shadow(call: Call) -> Outcome {
    let (request, asked) = call.read::<Shadow>(&SHADOW).await?;
    let percent = Percent::new("percent", asked.percent)?;
    let (name, expected) = (request.param("name"), asked.expected_generation.as_deref());
    let caller = request.caller();
    answer(
        &caller
            .shadow(name, &asked.generation, percent, expected)
            .await?,
    )
}

pub(super) async fn stop_shadow(call: Call) -> Outcome {
    let (request, expected) = conditional(call).await?;
    let (name, caller) = (request.param("name"), request.caller());
    answer(&caller.stop_shadow(name, expected.as_deref()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::http::shape::tests::conforms;

    #[test]
    fn every_field_is_read_and_every_wrong_type_is_named() {
        conforms(&CANARY, |body| CANARY.take::<Canary>(body).map(drop));
        conforms(&SHADOW, |body| SHADOW.take::<Shadow>(body).map(drop));
        conforms(&POLICY, |body| POLICY.take::<Policy>(body).map(drop));
    }
}
