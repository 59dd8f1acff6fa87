//! A Grafana dashboard as Grafana would lay it out, from a Prometheus' answers. No Grafana is needed.

use super::{SANS, Svg, colour, shortened};
use std::fmt::Write as _;

/// A panel, where it stands in Grafana's grid (24 columns), and what its queries gave.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Its title.
    pub title: String,
    /// What it is in Grafana: `stat`, `timeseries` or `row`.
    pub kind: String,
    /// Column, row, width and height in the grid.
    pub place: (f64, f64, f64, f64),
    /// Grafana's name of the unit: `s`, `short`, `ops`, `reqpm`.
    pub unit: String,
    /// The series.
    pub series: Vec<PanelSeries>,
}

/// A line of a chart.
#[derive(Clone, Debug)]
pub struct PanelSeries {
    /// What its legend says.
    pub legend: String,
    /// Seconds since the start of the picture, and values; none that is not a number.
    pub points: Vec<(f64, f64)>,
}

/// The size of a cell of the grid, in pixels.
const COLUMN: f64 = 48.0;
const ROW: f64 = 21.0;
const HEAD: f64 = 48.0;
/// Legends that a panel has room for.
const LEGENDS: usize = 5;

/// Draws it; `seconds` is how long the time shown is.
#[must_use]
pub fn draw(title: &str, note: &str, panels: &[Panel], seconds: f64) -> String {
    let rows = panels.iter().map(|panel| panel.place.1 + panel.place.3).fold(0.0, f64::max);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a picture's size")]
    let mut svg = Svg::new((24.0 * COLUMN + 16.0) as u32, (rows * ROW + HEAD + 8.0) as u32, SANS, title);
    svg.text((14.0, 22.0), 16, colour::TEXT, "", title);
    svg.text((14.0, 39.0), 11, colour::FAINT, "", note);
    for panel in panels {
        let (x, y, width, height) = panel.place;
        let (x, y) = (8.0 + x * COLUMN, HEAD + y * ROW);
        let (width, height) = (width * COLUMN - 6.0, height * ROW - 6.0);
        if panel.kind == "row" {
            svg.text((x + 4.0, y + 15.0), 13, colour::FAINT, "", &panel.title);
            continue;
        }
        svg.rect((x, y, width, height), colour::PANEL, 3.0);
        svg.text((x + 8.0, y + 16.0), 11, colour::TEXT, "", &panel.title);
        if panel.kind == "stat" {
            let last = panel.series.first().and_then(|series| series.points.last());
            let value = last.map_or_else(|| "–".to_owned(), |(_, value)| said(*value, &panel.unit));
            svg.text((x + width / 2.0, y + height / 2.0 + 20.0), 26, colour::GOOD, "middle", &value);
        } else {
            chart(&mut svg, panel, (x + 8.0, y + 24.0, width - 16.0, height - 30.0), seconds);
        }
    }
    svg.finish()
}

fn chart(svg: &mut Svg, panel: &Panel, (x, y, width, height): (f64, f64, f64, f64), seconds: f64) {
    let values = || panel.series.iter().flat_map(|series| &series.points).map(|(_, value)| *value);
    let (lowest, highest) = (values().fold(0.0, f64::min), values().fold(f64::MIN_POSITIVE, f64::max));
    let legends = f64::from(u32::try_from(panel.series.len().min(LEGENDS)).unwrap_or(0));
    let (left, bottom) = (x + 44.0, y + height - 13.0 * legends - 7.0);
    let (wide, high) = (width - 44.0, bottom - y - 4.0);
    for part in [0.0, 0.5, 1.0] {
        let at = bottom - part * high;
        svg.raw(&format!("<path d=\"M{left:.0} {at:.0}h{wide:.0}\" stroke=\"{}\" stroke-width=\"1\"/>", colour::LINE));
        let value = said(lowest + part * (highest - lowest), &panel.unit);
        svg.text((left - 5.0, at + 4.0), 9, colour::FAINT, "end", &value);
    }
    for (index, series) in panel.series.iter().enumerate() {
        let fill = colour::SERIES[index % colour::SERIES.len()];
        let mut path = String::new();
        let mut before: Option<(f64, f64)> = None;
        for (second, value) in &series.points {
            let point = (left + second / seconds * wide, bottom - (value - lowest) / (highest - lowest) * high);
            // A gap of samples is a gap of the line.
            let joined = before.is_some_and(|(last, _)| second - last < seconds / 20.0);
            let _ = write!(path, "{}{:.1} {:.1}", if joined { 'L' } else { 'M' }, point.0, point.1);
            if !joined {
                path.push_str("h.1");
            }
            before = Some((*second, *value));
        }
        svg.raw(&format!("<path d=\"{path}\" fill=\"none\" stroke=\"{fill}\" stroke-width=\"1.5\"/>"));
        if index < LEGENDS {
            let line = bottom + 13.0 * f64::from(u32::try_from(index).unwrap_or(0)) + 19.0;
            svg.rect((x, line - 4.0, 9.0, 3.0), fill, 1.0);
            let room = if index + 1 == LEGENDS && panel.series.len() > LEGENDS {
                format!("{} and {} more", series.legend, panel.series.len() - LEGENDS)
            } else {
                series.legend.clone()
            };
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a picture's size")]
            svg.text((x + 14.0, line), 10, colour::FAINT, "", &shortened(&room, (width / 5.6) as usize));
        }
    }
}

/// A value as a person reads it.
fn said(value: f64, unit: &str) -> String {
    let plain = |value: f64| {
        if value == 0.0 {
            "0".to_owned()
        } else if value.abs() >= 100.0 || (value.fract() == 0.0 && value.abs() >= 1.0) {
            format!("{value:.0}")
        } else if value.abs() >= 1.0 {
            format!("{value:.1}")
        } else {
            format!("{value:.2}")
        }
    };
    match unit {
        "s" if value.abs() >= 172_800.0 => format!("{} d", plain((value / 86_400.0).round())),
        "s" if value.abs() >= 7200.0 => format!("{} h", plain((value / 3600.0).round())),
        "s" if value.abs() >= 120.0 => format!("{} min", plain((value / 60.0).round())),
        "s" if value != 0.0 && value.abs() < 1.0 => format!("{} ms", plain((value * 1000.0).round())),
        "s" => format!("{} s", plain(value)),
        "ops" => format!("{}/s", plain(value)),
        "reqpm" => format!("{}/min", plain(value)),
        _ => plain(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_unit_a_person_expects() {
        let cases = [
            (0.004, "s", "4 ms"),
            (90.0, "s", "90 s"),
            (7200.0, "s", "2 h"),
            (0.25, "ops", "0.25/s"),
            (1234.0, "short", "1234"),
        ];
        for (value, unit, expected) in cases {
            assert_eq!(said(value, unit), expected);
        }
    }

    #[test]
    fn every_panel_and_legend_is_in_it() {
        let panel = |title: &str, kind: &str| Panel {
            title: title.to_owned(),
            kind: kind.to_owned(),
            place: (0.0, 0.0, 12.0, 8.0),
            unit: "short".to_owned(),
            series: vec![PanelSeries { legend: "one & two".to_owned(), points: vec![(0.0, 1.0), (1.0, 3.0)] }],
        };
        let picture = draw("All", "of a run", &[panel("A", "timeseries"), panel("B", "stat")], 10.0);
        for text in [">A<", ">B<", "one &amp; two", ">3<", "of a run"] {
            assert!(picture.contains(text), "{text} in {picture}");
        }
    }
}
