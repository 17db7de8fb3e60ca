//! What the events of a job begin with.

use super::data::Examples;
use super::plan::Plan;
use crate::domain::recipes::{Effect, Mapping};
use crate::domain::{Level, parameters_report};
use crate::model::Model;
use crate::store::NewEvent;

/// `notes` and what differs from the recipes that came along become warnings.
pub fn opening(
    plan: &Plan,
    model: &Model,
    mappings: &[Mapping],
    notes: Vec<String>,
) -> Vec<NewEvent> {
    let (rows, held_out) = (plan.train.len(), plan.held_out.len());
    let (trainable, all) = plan.parameters(model);
    let steps = plan.total_steps;
    let created = format!("created: {rows} rows to train on, {held_out} held out, {steps} steps");
    let mut told = vec![created, parameters_report(trainable, all)];
    told.extend(plan.told.iter().cloned());
    if plan.spooled > 0 {
        let bytes = plan.spooled;
        told.push(format!(
            "unpacked to {bytes} bytes beside the job, until it is over"
        ));
    }
    if !mappings.is_empty() {
        let keys = mappings.len();
        told.push(format!(
            "{keys} keys of recipes were read; the job's `mappings` say what each became"
        ));
    }
    let differing = mappings.iter().filter(|key| key.effect == Effect::Differs);
    let warned = notes
        .into_iter()
        .chain(differing.map(Mapping::to_string))
        .chain(plan.warnings.iter().cloned());
    let told = told.into_iter().map(|text| (Level::Info, text));
    let warned = warned.map(|text| (Level::Warn, text));
    let events = told.chain(warned);
    events
        .map(|(level, text)| NewEvent::message(level, text))
        .collect()
}
