//! Alerts as a table: what fires, what is about to, what is quiet.

use super::{SANS, Svg, colour, shortened};

/// A rule, and what it says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The alert's name.
    pub name: String,
    /// `firing`, `pending` or `inactive`, as Prometheus says it.
    pub state: String,
    /// The label `severity`.
    pub severity: String,
    /// The summaries of its alerts, or what it waits for.
    pub summaries: Vec<String>,
}

const WIDTH: u32 = 1000;
const LINE: f64 = 19.0;
const HEAD: f64 = 54.0;

/// Draws it.
#[must_use]
pub fn draw(title: &str, note: &str, rows: &[Row]) -> String {
    let height_of = |row: &Row| {
        let lines = u32::try_from(row.summaries.len().max(1)).unwrap_or(1);
        f64::from(lines) * LINE + 15.0
    };
    let height = HEAD + rows.iter().map(height_of).sum::<f64>() + 8.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a picture's size")]
    let mut svg = Svg::new(WIDTH, height as u32, SANS, title);
    svg.text((16.0, 24.0), 15, colour::TEXT, "", title);
    svg.text((16.0, 42.0), 11, colour::FAINT, "", note);
    let mut y = HEAD;
    for row in rows {
        let fill = match row.state.as_str() {
            "firing" => colour::BAD,
            "pending" => colour::WARN,
            _ => colour::GOOD,
        };
        let height = height_of(row) - 5.0;
        svg.rect((10.0, y, f64::from(WIDTH) - 20.0, height), colour::PANEL, 4.0);
        svg.rect((10.0, y, 5.0, height), fill, 2.0);
        svg.text((26.0, y + 19.0), 13, colour::TEXT, "", &row.name);
        svg.text((300.0, y + 19.0), 12, fill, "", &row.state);
        svg.text((360.0, y + 19.0), 12, colour::FAINT, "", &row.severity);
        let mut below = y + 19.0;
        for summary in &row.summaries {
            svg.text((430.0, below), 12, colour::TEXT, "", &shortened(summary, 92));
            below += LINE;
        }
        y += height + 5.0;
    }
    svg.finish()
}
