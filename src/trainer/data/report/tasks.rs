//! Kinds of tasks in a file: clusters of instructions by the words they share, named by those words.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;
use std::sync::LazyLock;

use super::classes::Tally;
use super::facts::{Facts, QUOTED};
use super::finding::{Task, Tasks, share};
use super::text::{Quick, folded, is_unit, quoted, units};
use super::weights::{CLUSTERS, Weights};
use crate::trainer::data::format::Format;

/// Instructions whose cluster is remembered.
const REMEMBERED: usize = 1 << 16;
/// Cosine of two instructions from which they are of one task.
const ALIKE: f32 = 0.6;
/// Words that are kept of all clusters; formats and instructions that are counted of one.
const WORDS: usize = 50_000;
const FORMATS: usize = 64;
const INSTRUCTIONS: usize = 1000;
/// Tasks that are listed.
const LISTED: usize = 20;

/// Words that say little of what is to be done.
const PLAIN: &str = "the a an of in to for and or this that these those following please given with from into is are it its be as on by your you me my we our below text sentence \
                     sentences passage provided using use can could would will do does if not no one all any some about at i so their his her he she they was were has have had \
                     下面 面的 以下 下的 的句 句子 段话 这段 的文 文本 内容 一下 一个 这个 给出 给定 定的 的话 这句 句话 关于";

static PLAIN_WORDS: LazyLock<HashSet<&str, BuildHasherDefault<Quick>>> =
    LazyLock::new(|| PLAIN.split_whitespace().collect());

fn is_plain(word: &str) -> bool {
    PLAIN_WORDS.contains(word)
}

pub type Words = Vec<(String, f32)>;

/// What rows without an instruction are called by.
fn form(facts: &Facts) -> String {
    format!("({})", facts.form)
}

/// The words of an instruction with their weights, of length 1: what stands first says most.
fn words(head: &str) -> Words {
    let mut found: Words = Vec::new();
    let mut put =
        |word: String, weight: f32| match found.iter_mut().find(|(other, _)| *other == word) {
            Some((_, before)) => *before = before.max(weight),
            None => found.push((word, weight)),
        };
    let mut telling = 0;
    let mut before: Option<String> = None;
    for unit in units(head) {
        let mut text = String::with_capacity(unit.end - unit.start);
        text.extend(head[unit.start..unit.end].chars().map(folded));
        if unit.single {
            // A pair of characters is about a word.
            if let Some(first) = before.replace(text.clone()) {
                let pair = first.clone() + &text;
                let plain = matches!(first.as_str(), "请" | "把" | "将") || is_plain(&pair);
                let weight = match telling {
                    _ if plain => 0.25,
                    0 => 1.5,
                    _ => 1.0,
                };
                telling += usize::from(!plain);
                put(pair, weight);
            }
            continue;
        }
        before = None;
        let plain = is_plain(&text);
        let weight = match telling {
            _ if plain => 0.25,
            0 => 2.0,
            _ => 1.0,
        };
        telling += usize::from(!plain);
        put(text, weight);
    }
    let length = found
        .iter()
        .map(|(_, weight)| weight * weight)
        .sum::<f32>()
        .sqrt();
    found
        .iter_mut()
        .for_each(|(_, weight)| *weight /= length.max(f32::MIN_POSITIVE));
    found
}

/// Instructions of one task.
struct Cluster {
    /// Of the sum of their words' weights, the square of the length, and the length.
    squares: f32,
    length: f32,
    rows: usize,
    /// The first instruction, and how many different ones there are.
    first: String,
    instructions: usize,
    first_line: usize,
    formats: HashMap<Format, usize>,
    answers: Tally,
}

#[derive(Default)]
pub struct Clusters {
    clusters: Vec<Cluster>,
    /// Of each word, its weight in every cluster that has it.
    words: HashMap<String, Weights>,
    known: HashMap<u64, u16>,
    /// Rows like no cluster.
    other: usize,
}

/// Of rows that are in no cluster.
const NONE: u16 = u16::MAX;

impl Clusters {
    /// The words of a row's instruction, where it is not remembered; on any thread.
    pub fn words(&self, facts: &Facts) -> Option<Words> {
        (!self.known.contains_key(&facts.head_hash)).then(|| match facts.head.is_empty() {
            true => vec![(form(facts), 1.0)],
            false => words(&facts.head),
        })
    }

    /// Adds a row to the cluster its instruction belongs to.
    pub fn add(&mut self, facts: &Facts, words: Option<&Words>) {
        let at = match (self.known.get(&facts.head_hash), words) {
            (Some(at), _) => *at,
            // None were made of an instruction that was remembered, and it is remembered for good.
            (None, None) => NONE,
            (None, Some(words)) => {
                let at = self.place(facts, words);
                if self.known.len() < REMEMBERED {
                    self.known.insert(facts.head_hash, at);
                }
                at
            }
        };
        let Some(cluster) = self.clusters.get_mut(usize::from(at)) else {
            self.other += 1;
            return;
        };
        cluster.rows += 1;
        if cluster.formats.len() < FORMATS || cluster.formats.contains_key(&facts.format) {
            *cluster.formats.entry(facts.format.clone()).or_default() += 1;
        }
        cluster.answers.add(facts.class.as_deref(), facts.line);
    }

    /// The cluster of an instruction that was not seen before: the most alike, or a new one.
    fn place(&mut self, facts: &Facts, words: &Words) -> u16 {
        let mut products = [0.0; CLUSTERS];
        for (word, weight) in words {
            if let Some(weights) = self.words.get(word) {
                weights.add_to(&mut products, *weight);
            }
        }
        let alike = products
            .iter()
            .zip(&self.clusters)
            .map(|(product, cluster)| product / cluster.length);
        // The first of equals.
        let best =
            alike
                .enumerate()
                .fold(None, |best: Option<(usize, f32)>, (at, alike)| match best {
                    Some((_, other)) if other >= alike => best,
                    _ => Some((at, alike)),
                });
        let at = match best {
            Some((at, alike)) if alike >= ALIKE => at,
            _ if self.clusters.len() >= CLUSTERS => return NONE,
            _ => {
                self.clusters.push(Cluster {
                    squares: 0.0,
                    length: 0.0,
                    rows: 0,
                    first: match facts.head.is_empty() {
                        true => form(facts),
                        false => facts.head.clone(),
                    },
                    instructions: 0,
                    first_line: facts.line,
                    formats: HashMap::new(),
                    answers: Tally::default(),
                });
                self.clusters.len() - 1
            }
        };
        self.take(at, words);
        at as u16
    }

    /// Adds the words of an instruction to those of its cluster.
    fn take(&mut self, at: usize, words: &Words) {
        let cluster = &mut self.clusters[at];
        cluster.instructions = (cluster.instructions + 1).min(INSTRUCTIONS);
        for (word, weight) in words {
            let has_room = self.words.len() < WORDS;
            let weights = match self.words.get_mut(word) {
                Some(weights) => weights,
                None if has_room => self.words.entry(word.clone()).or_default(),
                None => continue,
            };
            let sum = weights.of(at as u16);
            cluster.squares += weight * (2.0 * *sum + weight);
            *sum += weight;
        }
        cluster.length = cluster.squares.max(f32::MIN_POSITIVE).sqrt();
    }

    /// The tasks, those of most rows first; clusters of a few rows among many count as other. Also the answers of each.
    pub fn tasks(mut self, rows: usize) -> (Tasks, Vec<(String, Tally)>) {
        let words = self.join();
        let mut named: Vec<(String, Cluster)> = Vec::new();
        for (cluster, words) in self.clusters.into_iter().zip(words) {
            let name = cluster.name(words);
            // Two that are called the same are one to a reader.
            match named.iter_mut().find(|(other, _)| *other == name) {
                Some((_, first)) => first.merge(cluster),
                None => named.push((name, cluster)),
            }
        }
        named.sort_by(|(a, left), (b, right)| right.rows.cmp(&left.rows).then_with(|| a.cmp(b)));
        let least = (rows / 200).max(1);
        let large = |cluster: &Cluster| cluster.rows >= least && (cluster.rows > 1 || rows < 20);
        let total = named.iter().filter(|(_, cluster)| large(cluster)).count();
        let rest = named.split_off(total.min(LISTED));
        let tasks = Tasks {
            total,
            largest: named
                .iter()
                .map(|(name, cluster)| cluster.task(name, rows))
                .collect(),
            other_rows: self.other + rest.iter().map(|(_, cluster)| cluster.rows).sum::<usize>(),
        };
        let answers = named
            .into_iter()
            .map(|(name, cluster)| (name, cluster.answers));
        (tasks, answers.collect())
    }

    /// Joins clusters that have grown alike into the first of them; also gives the words of each.
    fn join(&mut self) -> Vec<Words> {
        let count = self.clusters.len();
        let found = self.words.drain();
        let mut found: Vec<_> = found
            .map(|(word, weights)| (word, weights.list()))
            .collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut products = vec![0.0_f32; count * count];
        for (_, weights) in &found {
            for (a, left) in weights {
                for (b, right) in weights {
                    products[usize::from(*a) * count + usize::from(*b)] += left * right;
                }
            }
        }
        let mut into: Vec<usize> = (0..count).collect();
        for b in 1..count {
            let alike = |a: usize| {
                products[a * count + b] / (self.clusters[a].length * self.clusters[b].length)
            };
            if let Some(a) = (0..b).find(|a| into[*a] == *a && alike(*a) >= ALIKE) {
                into[b] = a;
            }
        }
        let mut words: Vec<Words> = vec![Words::new(); count];
        for (word, weights) in found {
            for (at, weight) in weights {
                let of = &mut words[into[usize::from(at)]];
                match of.last_mut() {
                    Some((last, sum)) if *last == word => *sum += weight,
                    _ => of.push((word.clone(), weight)),
                }
            }
        }
        let clusters = std::mem::take(&mut self.clusters);
        let mut joined: Vec<Option<Cluster>> = Vec::with_capacity(count);
        for (at, cluster) in clusters.into_iter().enumerate() {
            match joined.get_mut(into[at]) {
                Some(Some(first)) => {
                    first.merge(cluster);
                    joined.push(None);
                }
                _ => joined.push(Some(cluster)),
            }
        }
        let kept = joined
            .into_iter()
            .zip(words)
            .filter_map(|(cluster, words)| Some((cluster?, words)));
        let (clusters, words) = kept.unzip();
        self.clusters = clusters;
        words
    }
}

impl Cluster {
    fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.instructions = (self.instructions + other.instructions).min(INSTRUCTIONS);
        self.first_line = self.first_line.min(other.first_line);
        for (format, count) in other.formats {
            *self.formats.entry(format).or_default() += count;
        }
        self.answers.merge(other.answers);
    }

    /// The instruction where there is one, else the words that most instructions share.
    fn name(&self, mut words: Words) -> String {
        if self.instructions == 1 {
            return quoted(&self.first, QUOTED);
        }
        words.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let most = words.first().map_or(0.0, |(_, weight)| *weight);
        words.retain(|(word, weight)| *weight * 3.0 >= most && !is_plain(word));
        let pairs = self.runs(&words);
        if !pairs.is_empty() {
            return quoted(&pairs, QUOTED);
        }
        let chosen: Vec<&str> = words
            .iter()
            .take(4)
            .map(|(word, _)| word.as_str())
            .collect();
        match chosen.is_empty() {
            true => quoted(&self.first, QUOTED),
            false => quoted(&chosen.join(" · "), QUOTED),
        }
    }

    /// The parts of the first instruction that are of characters whose pairs most instructions share.
    fn runs(&self, words: &Words) -> String {
        let chars: Vec<char> = self.first.chars().collect();
        let mut runs: Vec<String> = Vec::new();
        let mut goes_on = false;
        for pair in chars.windows(2) {
            let text: String = pair.iter().collect();
            let shared = is_unit(pair[0]) && words.iter().any(|(word, _)| *word == text);
            match (shared, goes_on) {
                (true, false) => runs.push(text),
                (true, true) => runs
                    .last_mut()
                    .into_iter()
                    .for_each(|run| run.push(pair[1])),
                _ => {}
            }
            goes_on = shared;
        }
        runs.join(" · ")
    }

    fn task(&self, name: &str, rows: usize) -> Task {
        let mut formats: Vec<(&Format, usize)> = self
            .formats
            .iter()
            .map(|(format, count)| (format, *count))
            .collect();
        formats.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let most = formats.first().map_or(0, |(_, count)| *count);
        Task {
            task: name.to_owned(),
            rows: self.rows,
            share: share(self.rows, rows),
            instructions: self.instructions,
            first_line: self.first_line,
            labels: self.answers.labels(),
            formats: formats
                .into_iter()
                .take(LISTED)
                .map(|(format, count)| (quoted(&format.to_string(), 80), count.into()))
                .collect(),
            format_consistency: share(most, self.rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trainer::data::record::Record;

    fn tasks(instructions: &[&str]) -> Vec<(String, usize)> {
        let mut clusters = Clusters::default();
        for (line, text) in instructions.iter().enumerate() {
            let row = json!({"instruction": text, "output": format!("answer {line}")});
            let facts = Facts::of(line + 1, &Record::read(row).unwrap().0);
            let words = clusters.words(&facts);
            clusters.add(&facts, words.as_ref());
        }
        let (tasks, _) = clusters.tasks(instructions.len());
        tasks
            .largest
            .into_iter()
            .map(|task| (task.task, task.rows))
            .collect()
    }

    #[test]
    fn instructions_in_other_words_are_one_task_and_other_verbs_another() {
        let found = tasks(&[
            "Translate to French: good day",
            "Please translate the following sentence into French: no",
            "Translate this to German: yes",
            "Summarize the text.",
            "Summarize the following passage.",
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].0.contains("translate") && found[0].1 == 3,
            "{found:?}"
        );
        assert!(
            found[1].0.contains("summarize") && found[1].1 == 2,
            "{found:?}"
        );
    }

    #[test]
    fn chinese_instructions_are_clustered_by_their_characters() {
        let found = tasks(&[
            "请翻译成英文：你好",
            "翻译成英文：再见",
            "请把下面的句子翻译成英文：谢谢",
            "总结这段话：今天",
            "请总结这段话：明天",
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].0.contains("翻译") && found[0].1 == 3, "{found:?}");
    }
}
