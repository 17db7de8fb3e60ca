//! What a chat template made of rows that their authors may not expect.

use std::collections::BTreeMap;

use super::unused::counted;
use crate::domain::Role;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Remark {
    /// The rendered answer is not the row's.
    Answer,
    /// A text that the answer follows is not in the rendering.
    Turn(&'static str),
}

/// Remarks, each with its first line and the number of rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Remarks(BTreeMap<Remark, (usize, usize)>);

impl Remarks {
    pub(super) fn answer_changed(&mut self, line: usize) {
        self.count(line, Remark::Answer);
    }

    pub(super) fn turn_changed(&mut self, line: usize, role: Role) {
        self.count(line, Remark::Turn(role.as_str()));
    }

    fn count(&mut self, line: usize, remark: Remark) {
        let (_, rows) = self.0.entry(remark).or_insert((line, 0));
        *rows += 1;
    }

    /// Counts those on other rows too.
    pub fn merge(&mut self, other: Self) {
        for (remark, (line, rows)) in other.0 {
            let (first, all) = self.0.entry(remark).or_insert((line, 0));
            *first = line.min(*first);
            *all += rows;
        }
    }

    /// One warning a remark.
    pub fn warnings(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(remark, (line, rows))| {
                let rows = counted(*rows);
                match remark {
                    Remark::Answer => format!(
                        "the chat template changes an answer or leaves part of it out ({rows}, the first at line {line}); \
                         what it makes of it is trained on"
                    ),
                    Remark::Turn(role) => format!(
                        "the chat template changes the text of a {role} turn or leaves it out ({rows}, the first at line {line})"
                    ),
                }
            })
            .collect()
    }
}
