//! The text that Prometheus reads, taken apart again into what is measured. Pure: whatever `/metrics` tells is told
//! elsewhere too, and nothing else.

#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    pub name: String,
    pub help: String,
    pub kind: Kind,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    Histogram,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub labels: Vec<(String, String)>,
    pub value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(f64),
    Histogram(Histogram),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Upper ends of all buckets but the last, which has none.
    pub bounds: Vec<f64>,
    /// Of each bucket, not of those below it too.
    pub counts: Vec<u64>,
    pub sum: f64,
    pub count: u64,
}

/// The families in their order. Lines that are none of ours are left out.
pub fn families(text: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    let mut help = ("", String::new());
    for line in text.lines() {
        if let Some(said) = line.strip_prefix("# HELP ") {
            let (name, text) = said.split_once(' ').unwrap_or((said, ""));
            help = (name, unescaped(text));
        } else if let Some(said) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = said.split_once(' ') else {
                continue;
            };
            let kind = match kind {
                "gauge" => Kind::Gauge,
                "counter" => Kind::Counter,
                "histogram" => Kind::Histogram,
                _ => continue,
            };
            let help = match help.0 == name {
                true => std::mem::take(&mut help.1),
                false => String::new(),
            };
            families.push(Family {
                name: name.to_owned(),
                help,
                kind,
                points: Vec::new(),
            });
        } else if let (Some(family), Some(sample)) = (families.last_mut(), sample(line)) {
            family.take(sample);
        }
    }
    for family in &mut families {
        family.points.iter_mut().for_each(Point::settle);
    }
    families
}

struct Sample<'t> {
    name: &'t str,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Family {
    fn take(&mut self, sample: Sample<'_>) {
        let Some(rest) = sample.name.strip_prefix(&self.name) else {
            return;
        };
        let Sample {
            mut labels, value, ..
        } = sample;
        if self.kind != Kind::Histogram {
            if rest.is_empty() {
                let value = Value::Number(value);
                self.points.push(Point { labels, value });
            }
            return;
        }
        let end = labels.iter().position(|(name, _)| name == "le");
        let end = end.map(|at| labels.remove(at).1);
        let Some(histogram) = self.histogram(labels) else {
            return;
        };
        match (rest, end.as_deref()) {
            ("_bucket", Some("+Inf")) => histogram.counts.push(value as u64),
            ("_bucket", Some(end)) => {
                if let Ok(end) = end.parse() {
                    histogram.bounds.push(end);
                    histogram.counts.push(value as u64);
                }
            }
            ("_sum", None) => histogram.sum = value,
            ("_count", None) => histogram.count = value as u64,
            _ => {}
        }
    }

    fn histogram(&mut self, labels: Vec<(String, String)>) -> Option<&mut Histogram> {
        // The lines of one histogram stand together.
        if self
            .points
            .last()
            .is_none_or(|point| point.labels != labels)
        {
            self.points.push(Point {
                labels,
                value: Value::Histogram(Histogram::default()),
            });
        }
        match &mut self.points.last_mut()?.value {
            Value::Histogram(histogram) => Some(histogram),
            Value::Number(_) => None,
        }
    }
}

impl Point {
    /// From counts of all below a bound to counts between two.
    fn settle(&mut self) {
        if let Value::Histogram(histogram) = &mut self.value {
            let mut below = 0;
            for count in &mut histogram.counts {
                let all = *count;
                *count = all.saturating_sub(below);
                below = all;
            }
        }
    }
}

/// `name{label="value",…} number`
fn sample(line: &str) -> Option<Sample<'_>> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"")?;
            let end = quote(quoted)?;
            labels.push((label.to_owned(), unescaped(&quoted[..end])));
            rest = quoted[end + 1..].trim_start_matches(',');
        }
        rest = &rest[1..];
    }
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name,
        labels,
        value,
    })
}

/// Where the text in quotes ends.
fn quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::{Gauges, Metrics, doors};
    use super::*;
    use crate::api::Common;
    use crate::device::Shares;
    use crate::gateway::Pressure;
    use crate::scheduler::Load;

    fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
        let labels = labels.iter();
        labels
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn a_text_is_taken_apart_into_what_was_measured() {
        let text = "# HELP a_total What \\\\ it\\nis\n# TYPE a_total counter\n\
            a_total{x=\"1\",y=\"q\\\"},{\\\\\"} 7\na_total 0.5\nother 3\n\
            # TYPE h histogram\nh_bucket{k=\"v\",le=\"0.1\"} 2\nh_bucket{k=\"v\",le=\"1\"} 5\n\
            h_bucket{k=\"v\",le=\"+Inf\"} 6\nh_sum{k=\"v\"} 3.25\nh_count{k=\"v\"} 6\n\
            # TYPE s summary\n# TYPE g gauge\ng{} -1\ng{broken 2\n\n";
        let all = families(text);
        let names: Vec<_> = all
            .iter()
            .map(|family| (&*family.name, family.kind))
            .collect();
        let kinds = [
            ("a_total", Kind::Counter),
            ("h", Kind::Histogram),
            ("g", Kind::Gauge),
        ];
        assert_eq!(names, kinds);
        assert_eq!(all[0].help, "What \\ it\nis");
        assert_eq!(
            all[0].points,
            [
                Point {
                    labels: owned(&[("x", "1"), ("y", "q\"},{\\")]),
                    value: Value::Number(7.0)
                },
                Point {
                    labels: Vec::new(),
                    value: Value::Number(0.5)
                },
            ]
        );
        let histogram = Histogram {
            bounds: vec![0.1, 1.0],
            counts: vec![2, 3, 1],
            sum: 3.25,
            count: 6,
        };
        assert_eq!(all[1].points[0].labels, owned(&[("k", "v")]));
        assert_eq!(all[1].points[0].value, Value::Histogram(histogram));
        assert_eq!(all[2].points.len(), 1);
    }

    #[test]
    fn every_line_of_our_own_text_is_found_again() {
        let metrics = Metrics::new(4).unwrap();
        metrics.answered("/v1/models", "200");
        let gauges = Gauges {
            load: Load::default(),
            shares: Shares::default(),
            resident: vec![("a \"quoted\" name".into(), true, 5)],
            max_adapters: 8,
            jobs: Vec::new(),
            memory: vec![("base", 7)],
            limit_refusals: Vec::new(),
        };
        let doors = doors::exposition(&Common::default(), &Pressure::default());
        let text = metrics.render(&gauges).unwrap() + &doors;
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        let found = families(&text);
        let lines: usize = { found.iter() }
            .flat_map(|family| &family.points)
            .map(|point| match &point.value {
                Value::Number(_) => 1,
                Value::Histogram(histogram) => histogram.counts.len() + 2,
            })
            .sum();
        assert!(samples > 10, "{text}");
        assert_eq!(lines, samples);
    }
}
