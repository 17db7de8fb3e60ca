//! A contract clause in; its type and what it means in plain English out.

use crate::factory::record::{Record, fill};
use crate::factory::words::Draw;

const INSTRUCTION: &str = "Name the clause and restate it plainly.";

/// `{a}` and `{b}` are parties, `{n}` a count of days or months, `{s}` a sum, `{p}` a place.
struct Clause {
    wordings: &'static [&'static str],
    plain: &'static str,
}

const CLAUSES: [Clause; 10] = [
    Clause {
        wordings: &[
            "{a} shall pay all fees to {b} within {n} days of invoice.",
            "All fees due to {b} shall be payable by {a} within {n} days of invoice.",
            "{b} shall invoice {a}, who shall remit payment no later than {n} days thereafter.",
        ],
        plain: "Payment: {a} must pay {b} within {n} days.",
    },
    Clause {
        wordings: &[
            "{a} may terminate this Agreement upon {n} days' prior written notice.",
            "This Agreement may be terminated by {a} on {n} days' notice in writing.",
            "Upon not less than {n} days' written notice, {a} may bring this Agreement to an end.",
        ],
        plain: "Termination: {a} can end the contract with {n} days of notice.",
    },
    Clause {
        wordings: &[
            "{a} shall hold in confidence all information disclosed by {b}.",
            "All information disclosed by {b} shall be held in strict confidence by {a}.",
            "{a} shall not disclose to any third party the information received from {b}.",
        ],
        plain: "Confidentiality: {a} must keep what {b} shares secret.",
    },
    Clause {
        wordings: &[
            "In no event shall the aggregate liability of {a} exceed {s}.",
            "The total liability of {a} arising hereunder shall be limited to {s}.",
            "{a} shall not be liable for any damages in excess of {s}.",
        ],
        plain: "Liability: {a} never owes more than {s}.",
    },
    Clause {
        wordings: &[
            "This Agreement shall renew for successive terms of {n} months unless {a} objects.",
            "Unless {a} objects, the term shall be extended automatically by {n} months.",
            "The term renews automatically for {n} months save where {a} gives notice of objection.",
        ],
        plain: "Renewal: the contract runs {n} more months unless {a} says no.",
    },
    Clause {
        wordings: &[
            "{a} shall not assign its rights hereunder without the consent of {b}.",
            "No right hereunder may be assigned by {a} absent the written consent of {b}.",
            "Without the consent of {b}, any assignment by {a} shall be void.",
        ],
        plain: "Assignment: {a} cannot hand over its rights unless {b} agrees.",
    },
    Clause {
        wordings: &[
            "This Agreement shall be governed by the laws of {p}.",
            "The laws of {p} shall govern the construction of this Agreement.",
            "This Agreement shall be construed in accordance with the laws of {p}.",
        ],
        plain: "Governing law: the law of {p} applies.",
    },
    Clause {
        wordings: &[
            "{a} shall deliver the goods to {b} not later than {n} days after the order.",
            "The goods shall be delivered to {b} by {a} within {n} days of the order.",
            "Within {n} days of each order {b} shall receive the goods from {a}.",
        ],
        plain: "Delivery: {a} must send {b} the goods within {n} days.",
    },
    Clause {
        wordings: &[
            "{a} shall indemnify {b} against all third-party claims.",
            "{b} shall be indemnified and held harmless by {a} against third-party claims.",
            "{a} shall defend and hold {b} harmless from any claim brought by third parties.",
        ],
        plain: "Indemnity: {a} covers {b} if others sue.",
    },
    Clause {
        wordings: &[
            "{a} may inspect the books of {b} upon {n} days' notice.",
            "The books of {b} shall be open to inspection by {a} upon {n} days' notice.",
            "Upon {n} days' notice {b} shall grant {a} access to its books and records.",
        ],
        plain: "Audit: {a} may check the books of {b} with {n} days of notice.",
    },
];

const OPENINGS: [&str; 4] = [
    "Subject to the foregoing: ",
    "For the avoidance of doubt: ",
    "Notwithstanding the above: ",
    "It is hereby agreed: ",
];

pub fn record(draw: &mut Draw) -> Record {
    let clause = &CLAUSES[draw.below(CLAUSES.len())];
    let names = draw.names(3);
    let count = draw.number(2, 90);
    let sum = draw.number(100, 9999);
    let values = [
        ('a', names[0].as_str()),
        ('b', names[1].as_str()),
        ('p', names[2].as_str()),
        ('n', count.as_str()),
        ('s', sum.as_str()),
    ];
    let opening = if draw.chance(0.4) {
        draw.one(&OPENINGS)
    } else {
        ""
    };
    let wording = draw.one(clause.wordings);
    Record::new(
        INSTRUCTION,
        format!("{opening}{}", fill(wording, &values)),
        fill(clause.plain, &values),
    )
}
