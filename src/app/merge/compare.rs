//! By how much a merged model differs from its base with the adapter.

use crate::adapter::{Adapt, Adapter, Unadapted, Uniform};
use crate::cli::Failure;
use crate::kernels::op::Run;
use crate::model::{Base, Pack};
use crate::trainer::data::{Renderer, parse};

/// Rows that are compared, and tokens of each.
const MOST_ROWS: usize = 32;
const MOST_TOKENS: usize = 512;
/// Positions whose log-probabilities exist at a time.
const AT_ONCE: usize = 64;

/// What is compared where no rows are given.
const TEXTS: [&str; 6] = [
    "The tenant shall give notice in writing at least three months before the end of the lease, and the landlord shall return the deposit.",
    "Take one tablet twice a day with water. Do not exceed the stated dose, and ask a doctor if the pain lasts for more than a week.",
    "Name: Ada Lovelace\nCity: London\nProfession: mathematician\n\nWhich city does she live in? She lives in London.",
    "Invoice 1042: 3 chairs at 45.00 each, 1 table at 180.00. Total: 315.00, to be paid within 30 days.",
    "Copy the name.\nInput: Grace Hopper\nOutput: Grace Hopper",
    "It was raining when the train left the station, and the children at the window counted the lights until they were out of sight.",
];

/// Texts to compare on, as tokens, and what they are.
pub fn rows(base: &Base, heldout: Option<&[u8]>) -> Result<(Vec<Vec<u32>>, String), Failure> {
    let most = base.model.context().min(MOST_TOKENS);
    let mut rows: Vec<Vec<u32>> = Vec::new();
    let of = match heldout {
        None => {
            for text in TEXTS {
                rows.push(base.tokenizer.encode(text, true).map_err(Failure::failed)?);
            }
            format!("{} built-in texts", rows.len())
        }
        Some(bytes) => {
            let parsed = parse(bytes);
            if let Some(bad) = parsed.bad.first() {
                return Err(Failure::Usage(format!(
                    "--heldout: line {}: {}",
                    bad.line, bad.why
                )));
            }
            let renderer = Renderer {
                tokenizer: &base.tokenizer,
                template: &base.template,
                max_seq: base.model.context(),
                objective: parsed.objective(),
            };
            let count = parsed.rows.len().min(MOST_ROWS);
            let (examples, _) = renderer.examples(&parsed.rows[..count]).map_err(|bad| {
                let first = bad
                    .first()
                    .map(|bad| format!("line {}: {}", bad.line, bad.why));
                Failure::Usage(format!("--heldout: {}", first.unwrap_or_default()))
            })?;
            let sequences = examples.into_iter().flat_map(|example| example.sequences);
            rows.extend(sequences.map(|sequence| sequence.tokens));
            format!("{count} held-out rows")
        }
    };
    rows.iter_mut().for_each(|tokens| tokens.truncate(most));
    rows.retain(|tokens| tokens.len() > 1);
    match rows.is_empty() {
        true => Err(Failure::Usage("--heldout: has no rows".to_owned())),
        false => Ok((rows, of)),
    }
}

/// The log-probability of every token but the first of each text.
pub fn scores(
    base: &Base,
    adapter: Option<Adapter>,
    rows: &[Vec<u32>],
) -> Result<Vec<f32>, Failure> {
    let uniform = adapter.map(|adapter| Uniform {
        adapter: adapter.into(),
    });
    let adapters: &dyn Adapt = match &uniform {
        Some(uniform) => uniform,
        None => &Unadapted,
    };
    let mut scores = Vec::new();
    for tokens in rows {
        let fed = tokens.len() - 1;
        let pack = Pack {
            tokens: tokens[..fed].to_vec(),
            ranges: std::iter::once(0..fed).collect(),
            lengths: vec![tokens.len()],
        };
        let hidden = base.model.learn(Run::host(), &pack, adapters);
        let hidden = hidden.map_err(Failure::failed)?;
        for first in (0..fed).step_by(AT_ONCE) {
            let some: Vec<usize> = (first..(first + AT_ONCE).min(fed)).collect();
            let some_rows = hidden.select_rows(&some).map_err(Failure::failed)?;
            let all = base.model.log_probs(&some_rows, adapters);
            let all = all.map_err(Failure::failed)?;
            let each = all.values().chunks_exact(all.width().max(1)).zip(&some);
            scores.extend(each.map(|(row, at)| row[tokens[at + 1] as usize]));
        }
    }
    Ok(scores)
}
