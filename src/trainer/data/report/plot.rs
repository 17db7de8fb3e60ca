//! Plots of a report as SVG, drawn with the colours of the page they stand in.

use std::fmt::Write;

/// Bars beside each other: `[from, to, rows]`, and a line where a limit lies within them.
pub fn histogram(bars: &[[usize; 3]], limit: Option<usize>) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 150.0;
    let most = bars.iter().map(|bar| bar[2]).max().unwrap_or(0).max(1);
    let step = WIDTH / bars.len().max(1) as f64;
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"Lengths of rows\">",
        HEIGHT + 20.0
    );
    for (at, [from, to, rows]) in bars.iter().enumerate() {
        let height = match rows {
            0 => 0.0,
            rows => (*rows as f64 / most as f64 * (HEIGHT - 14.0)).max(1.0),
        };
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{from}–{}: {rows} rows</title></rect>",
            at as f64 * step + 1.0,
            HEIGHT - height,
            (step - 2.0).max(1.0),
            to.saturating_sub(1)
        );
    }
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"0\" y1=\"{HEIGHT}\" x2=\"{WIDTH}\" y2=\"{HEIGHT}\"/>"
    );
    let every = bars.len().div_ceil(8).max(1);
    for (at, bar) in bars.iter().enumerate().step_by(every) {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            at as f64 * step + 1.0,
            HEIGHT + 14.0,
            bar[0]
        );
    }
    // Where the limit lies beyond all rows, there is nothing to see.
    if let (Some(limit), [first, .., last]) = (limit, bars)
        && last[0] > limit
    {
        let width = (first[1] - first[0]).max(1);
        let place = limit.saturating_sub(first[0]) as f64 / width as f64 * step;
        let _ = write!(
            svg,
            "<line class=\"limit\" x1=\"{place:.1}\" y1=\"0\" x2=\"{place:.1}\" y2=\"{HEIGHT}\"/><text x=\"{:.1}\" y=\"10\">{limit}</text>",
            place + 4.0
        );
    }
    svg + "</svg>"
}

/// One bar of a share.
pub fn share(share: f64) -> String {
    let width = (share.clamp(0.0, 1.0) * 160.0).max(1.0);
    format!(
        "<svg class=\"share\" viewBox=\"0 0 160 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"back\" width=\"160\" height=\"10\"/><rect class=\"bar\" width=\"{width:.1}\" height=\"10\"/></svg>"
    )
}
