//! A free-text ledger line in; one JSON object out.

use crate::factory::record::{Record, fill};
use crate::factory::words::Draw;

const INSTRUCTION: &str = "Turn the ledger line into JSON.";

/// `{p}` is the other party, `{a}` the amount, `{o}` what it was for.
const KINDS: [(&str, &[&str]); 6] = [
    (
        "expense",
        &[
            "paid {p} {a} for {o}",
            "{a} to {p} for {o}",
            "bought {o} from {p}, {a}",
            "{o} bill from {p}: {a}",
        ],
    ),
    (
        "income",
        &[
            "received {a} from {p} for {o}",
            "{p} paid us {a}",
            "sold {o} to {p}, {a}",
            "sale of {o}: {a} from {p}",
        ],
    ),
    (
        "refund",
        &[
            "{p} sent back {a} for {o}",
            "money back from {p}: {a}",
            "refund of {a} by {p}",
            "{o} returned to {p}, got {a} back",
        ],
    ),
    (
        "transfer",
        &[
            "moved {a} to account {p}",
            "{a} into savings at {p}",
            "transfer to {p}, {a}",
            "topped up {p} with {a}",
        ],
    ),
    (
        "fee",
        &[
            "{p} charged a fee of {a}",
            "bank fee {a}, {p}",
            "{a} late charge by {p}",
            "service charge from {p}: {a}",
        ],
    ),
    (
        "salary",
        &[
            "salary {a} for {p}",
            "wages to {p}, {a}",
            "{p} monthly pay {a}",
            "payroll: {p} {a}",
        ],
    ),
];

const GOODS: [&str; 10] = [
    "paper", "chairs", "rent", "repairs", "fuel", "lamps", "coffee", "tools", "boxes", "cleaning",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

pub fn record(draw: &mut Draw) -> Record {
    let (kind, wordings) = KINDS[draw.below(KINDS.len())];
    let party = draw.name();
    let amount = draw.amount();
    let wording = draw.one(wordings);
    let line = fill(
        wording,
        &[
            ('p', party.as_str()),
            ('a', amount.as_str()),
            ('o', draw.one(&GOODS)),
        ],
    );
    // A date is part of many ledger lines and of no answer: what to leave out is learned too.
    let line = if draw.chance(0.3) {
        format!("{} {}: {line}", draw.number(1, 28), draw.one(&MONTHS))
    } else {
        line
    };
    Record::new(
        INSTRUCTION,
        line,
        format!("{{\"kind\":\"{kind}\",\"party\":\"{party}\",\"amount\":{amount}}}"),
    )
}
