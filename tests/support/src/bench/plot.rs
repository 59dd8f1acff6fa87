//! Plots that a person can read: small multiples of lines over logarithmic axes, as SVG.

use super::figures::{Point, Series};
use std::fmt::Write as _;

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 44.0;
const COLUMNS: usize = 2;

/// One panel for each series, two beside each other. Both axes are logarithmic, so that a straight line is a power and
/// its slope the exponent; the grey line is what linear growth from the first point would be.
#[must_use]
pub fn svg(series: &[Series]) -> String {
    let rows = series.len().div_ceil(COLUMNS).max(1);
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * rows as f64);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (index, one) in series.iter().enumerate() {
        let (x, y) = ((index % COLUMNS) as f64 * WIDTH, (index / COLUMNS) as f64 * HEIGHT);
        let _ = writeln!(text, "<g transform=\"translate({x} {y})\">");
        panel(&mut text, one);
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

/// An axis from one power of ten to another.
struct Axis {
    from: i32,
    to: i32,
    start: f64,
    end: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(f64::NEG_INFINITY, f64::max);
        #[expect(clippy::cast_possible_truncation, reason = "powers of ten are small")]
        let (from, to) = (least.log10().floor() as i32, most.log10().ceil() as i32);
        Self { from, to: to.max(from + 1), start, end }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.from..=self.to).map(|power| 10f64.powi(power))
    }
}

fn panel(text: &mut String, series: &Series) {
    let points: Vec<Point> = series.points.iter().copied().filter(|point| point.x > 0.0 && point.y > 0.0).collect();
    let exponent = series.exponent().map_or_else(String::new, |exponent| format!(" (exponent {exponent:.2})"));
    let _ =
        writeln!(text, "<text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">{}{exponent}</text>", escaped(&series.name));
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0,
        escaped(&series.of)
    );
    let Some(first) = points.first().copied() else { return };
    let across = Axis::over(points.iter().map(|point| point.x), LEFT, WIDTH - RIGHT);
    let up = Axis::over(points.iter().map(|point| point.y), HEIGHT - BOTTOM, TOP);
    for tick in across.ticks() {
        let x = across.place(tick);
        let _ = writeln!(
            text,
            "<path d=\"M{x:.1} {TOP}V{:.1}\" stroke=\"#e4e4e4\"/><text x=\"{x:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 14.0,
            number(tick)
        );
    }
    for tick in up.ticks() {
        let y = up.place(tick);
        let _ = writeln!(
            text,
            "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#e4e4e4\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            number(tick)
        );
    }
    let line = |points: &[Point]| -> String {
        let places = points.iter().map(|point| format!("{:.1},{:.1}", across.place(point.x), up.place(point.y)));
        places.collect::<Vec<_>>().join(" ")
    };
    // Cut where it would leave the panel.
    let (most_x, most_y) = (10f64.powi(across.to), 10f64.powi(up.to));
    let end = (most_x / first.x).min(most_y / first.y);
    let linear = [first, Point { x: first.x * end, y: first.y * end }];
    let _ = writeln!(
        text,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#b0b0b0\" stroke-dasharray=\"4 3\"/>\n\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"2\"/>",
        line(&linear),
        line(&points)
    );
    for point in &points {
        let (x, y) = (across.place(point.x), up.place(point.y));
        let _ = writeln!(
            text,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#1f5fa8\"><title>{}: {}</title></circle>",
            number(point.x),
            number(point.y)
        );
    }
}

fn number(value: f64) -> String {
    if value >= 1.0 {
        format!("{}", (value * 100.0).round() / 100.0)
    } else {
        format!("{value:.4}").trim_end_matches('0').to_owned()
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_within_their_panel_and_texts_are_escaped() {
        let points = vec![Point { x: 100.0, y: 0.02 }, Point { x: 10_000.0, y: 5.0 }, Point { x: 0.0, y: 1.0 }];
        let series = Series { name: "time <s>".to_owned(), of: "resources".to_owned(), points };
        let text = svg(&[series.clone(), series]);
        assert!(text.contains("time &lt;s&gt; (exponent 1.20)"), "{text}");
        assert_eq!(text.matches("<circle").count(), 4, "a point that has no logarithm is left out");
        assert!(text.contains("cx=\"62.0\""), "the first point is where its axis begins");
        assert!(text.contains(&format!("viewBox=\"0 0 {} {}\"", WIDTH * 2.0, HEIGHT)));
        assert!(!svg(&[]).contains("<g"));
    }
}
