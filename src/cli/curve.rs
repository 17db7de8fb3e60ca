//! A job's losses as a curve of characters: four rows and two columns of dots in each.

use serde_json::Value;

/// Losses over steps.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    train: Vec<(u64, f64)>,
    held_out: Vec<(u64, f64)>,
}

/// What there is room for.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Characters of a line.
    pub width: usize,
    /// Lines of the curve itself.
    pub height: usize,
    pub colors: bool,
}

/// Below this a curve tells nothing.
const LEAST_WIDTH: usize = 30;
/// Beyond this a curve is only long.
const MOST_WIDTH: usize = 120;
/// Points that are kept; of more, each is the mean of two.
const MOST_POINTS: usize = 4096;
const HELD_OUT: char = '●';
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";
/// The bit of each dot of a character, by column and row.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
const BLANK: u32 = 0x2800;

impl Curve {
    /// Takes what an event of the job tells of losses.
    pub fn hear(&mut self, event: &Value) {
        let data = &event["data"];
        let Some(step) = data["step"].as_u64() else {
            return;
        };
        if let Some(loss) = data["train_loss"].as_f64() {
            add(&mut self.train, step, loss);
        }
        if let Some(loss) = data["valid_loss"].as_f64() {
            add(&mut self.held_out, step, loss);
        }
    }

    /// The newest held-out loss, and its step.
    pub fn newest_held_out(&self) -> Option<(u64, f64)> {
        self.held_out.last().copied()
    }

    /// Lines of the curve; none where there is no room or nothing to draw.
    pub fn lines(&self, room: Room) -> Vec<String> {
        let both = || self.train.iter().chain(&self.held_out);
        let labels = LABEL + 1;
        let width = room.width.min(MOST_WIDTH).saturating_sub(labels + 1);
        if room.width < LEAST_WIDTH || room.height == 0 || self.train.len() < 2 {
            return Vec::new();
        }
        let first = both().map(|(step, _)| *step).min().unwrap_or(0);
        let last = both()
            .map(|(step, _)| *step)
            .max()
            .unwrap_or(0)
            .max(first + 1);
        let columns = Columns {
            first,
            last,
            count: 2 * width,
        };
        let means = columns.means(&self.train);
        let marks = columns.means(&self.held_out);
        let drawn = || means.iter().chain(&marks).flatten().copied();
        let low = drawn().fold(f64::INFINITY, f64::min);
        let high = drawn().fold(f64::NEG_INFINITY, f64::max);
        let rows = 4 * room.height;
        let row_of = |loss: f64| {
            let share = (high - loss) / (high - low).max(1e-9);
            ((share * (rows - 1) as f64).round() as usize).min(rows - 1)
        };
        let mut dots = vec![BLANK; width * room.height];
        let mut before: Option<usize> = None;
        for (column, mean) in means.iter().enumerate() {
            let Some(mean) = mean else { continue };
            let row = row_of(*mean);
            // Down or up from where the line was, so that it is one.
            let from = before.map_or(row, |before| match before < row {
                true => before + 1,
                false => before.saturating_sub(1).max(row),
            });
            for row in from.min(row)..=from.max(row) {
                dots[row / 4 * width + column / 2] |= DOTS[column % 2][row % 4];
            }
            before = Some(row);
        }
        let mut cells: Vec<Option<char>> = dots.into_iter().map(char::from_u32).collect();
        for (column, mark) in marks.iter().enumerate() {
            if let Some(loss) = mark {
                cells[row_of(*loss) / 4 * width + column / 2] = Some(HELD_OUT);
            }
        }
        let mut lines: Vec<String> = cells
            .chunks(width)
            .enumerate()
            .map(|(at, cells)| {
                let label = match at {
                    0 => format!("{high:>LABEL$.4}"),
                    at if at + 1 == room.height => format!("{low:>LABEL$.4}"),
                    _ => " ".repeat(LABEL),
                };
                let line: String = cells
                    .iter()
                    .flatten()
                    .map(|c| painted(*c, room.colors))
                    .collect();
                format!("{label} │{}", line.trim_end_matches('\u{2800}'))
            })
            .collect();
        let (from, to) = (first.to_string(), last.to_string());
        let gap = width.saturating_sub(from.len() + to.len());
        lines.push(format!(
            "{}└{from}{}{to}",
            " ".repeat(labels),
            "─".repeat(gap)
        ));
        lines
    }
}

/// Characters of a loss beside the curve.
const LABEL: usize = 8;

fn painted(cell: char, colors: bool) -> String {
    match cell {
        HELD_OUT if colors => format!("{CYAN}{HELD_OUT}{PLAIN}"),
        other => other.to_string(),
    }
}

/// A step that is done again after a job went back replaces what came after it.
fn add(points: &mut Vec<(u64, f64)>, step: u64, loss: f64) {
    while points.last().is_some_and(|(seen, _)| *seen >= step) {
        points.pop();
    }
    points.push((step, loss));
    if points.len() > MOST_POINTS {
        let pairs = points.chunks(2).map(|pair| match pair {
            [(_, a), (step, b)] => (*step, (a + b) / 2.0),
            [only] => *only,
            _ => (0, 0.0),
        });
        *points = pairs.collect();
    }
}

/// Columns of dots over a range of steps.
struct Columns {
    first: u64,
    last: u64,
    count: usize,
}

impl Columns {
    /// The mean of the points in each column.
    fn means(&self, points: &[(u64, f64)]) -> Vec<Option<f64>> {
        let mut sums = vec![(0.0, 0u32); self.count];
        let span = (self.last - self.first) as f64;
        for (step, loss) in points {
            let share = step.saturating_sub(self.first) as f64 / span;
            let column = (share * (self.count - 1) as f64).round() as usize;
            let (sum, count) = &mut sums[column.min(self.count - 1)];
            (*sum, *count) = (*sum + loss, *count + 1);
        }
        let mean = |(sum, count)| (count > 0).then(|| sum / f64::from(count));
        sums.into_iter().map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROOM: Room = Room {
        width: 50,
        height: 4,
        colors: false,
    };

    fn falling(steps: u64) -> Curve {
        let mut curve = Curve::default();
        for step in 1..=steps {
            let loss = 4.0 - 3.0 * step as f64 / steps as f64;
            curve.hear(&json!({"data": {"step": step, "train_loss": loss}}));
        }
        curve
    }

    #[test]
    fn a_falling_loss_falls_from_the_upper_left_to_the_lower_right() {
        let lines = falling(200).lines(ROOM);
        assert_eq!(lines.len(), 5);
        let dots = |line: &str| {
            let cells = line.split('│').nth(1).unwrap().chars();
            cells
                .enumerate()
                .filter(|(_, c)| *c as u32 > BLANK)
                .map(|(at, _)| at)
                .collect::<Vec<_>>()
        };
        let starts: Vec<usize> = lines[..4].iter().map(|line| dots(line)[0]).collect();
        assert!(starts.is_sorted() && starts[0] == 0, "{lines:#?}");
        assert!(lines[0].starts_with("  3.9775 │"), "{lines:#?}");
        assert!(lines[3].starts_with("  1.0075 │"), "{lines:#?}");
        assert!(lines[4].contains("└1─") && lines[4].ends_with("200"));
        assert!(lines.iter().all(|line| line.chars().count() <= ROOM.width));
    }

    #[test]
    fn held_out_losses_are_marked_and_painted_where_there_are_colors() {
        let mut curve = falling(100);
        for step in [0, 50, 100] {
            curve.hear(&json!({"data": {"step": step, "valid_loss": 3.0 - 0.01 * step as f64}}));
        }
        let plain = curve.lines(ROOM).join("\n");
        assert_eq!(plain.matches(HELD_OUT).count(), 3, "{plain}");
        assert_eq!(curve.newest_held_out(), Some((100, 2.0)));
        let painted = curve.lines(Room {
            colors: true,
            ..ROOM
        });
        assert!(painted.join("\n").contains(CYAN) && !plain.contains(CYAN));
    }

    #[test]
    fn a_curve_follows_the_width_and_is_left_out_where_it_tells_nothing() {
        for width in [30, 61, 80, 500] {
            let lines = falling(7).lines(Room { width, ..ROOM });
            let longest = lines.iter().map(|line| line.chars().count()).max();
            assert!(
                longest.is_some_and(|most| most <= width.min(MOST_WIDTH)),
                "{width}"
            );
        }
        assert!(falling(7).lines(Room { width: 29, ..ROOM }).is_empty());
        assert!(falling(7).lines(Room { height: 0, ..ROOM }).is_empty());
        assert!(falling(1).lines(ROOM).is_empty());
        let mut flat = Curve::default();
        for step in [1, 2] {
            flat.hear(&json!({"data": {"step": step, "train_loss": 1.0}}));
        }
        assert_eq!(flat.lines(ROOM).len(), 5);
    }

    #[test]
    fn a_step_that_is_done_again_replaces_what_came_after_and_many_points_are_halved() {
        let mut curve = falling(10);
        curve.hear(&json!({"data": {"step": 5, "train_loss": 9.0}}));
        assert_eq!(curve.train.last(), Some(&(5, 9.0)));
        assert_eq!(curve.train.len(), 5);
        let long = falling(MOST_POINTS as u64 + 10);
        assert!(long.train.len() <= MOST_POINTS);
        assert_eq!(
            long.train.last().map(|(step, _)| *step),
            Some(MOST_POINTS as u64 + 10)
        );
    }
}
