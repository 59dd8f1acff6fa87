//! Pictures for the documentation, drawn as SVG from what really ran: the demo's words, a Prometheus' answers.

pub mod cast;
pub mod dashboard;
pub mod table;

use std::fmt::Write as _;

/// The colours: opaque, so that a picture reads on a light page and on a dark one.
pub(crate) mod colour {
    /// Behind everything.
    pub const PAGE: &str = "#111217";
    /// Behind a panel.
    pub const PANEL: &str = "#1b1d23";
    /// Between things.
    pub const LINE: &str = "#34363f";
    /// Text.
    pub const TEXT: &str = "#d8d9df";
    /// Text that matters less.
    pub const FAINT: &str = "#9a9ca7";
    /// Something is well.
    pub const GOOD: &str = "#73bf69";
    /// Something is on its way to be bad.
    pub const WARN: &str = "#f2cc0c";
    /// Something is bad.
    pub const BAD: &str = "#f2495c";
    /// Lines of a chart, in turn.
    pub const SERIES: [&str; 8] =
        ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#37872d", "#8ab8ff"];
}

/// A font that is on every machine.
pub(crate) const SANS: &str = "ui-sans-serif, system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";
/// The same for a terminal.
pub(crate) const MONO: &str = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

/// An SVG that is being drawn.
#[derive(Debug)]
pub(crate) struct Svg {
    text: String,
}

impl Svg {
    /// An empty one, with what it shows for those who cannot see it.
    pub(crate) fn new(width: u32, height: u32, font: &str, label: &str) -> Self {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}\" font-family=\"{font}\">",
            escape(label)
        );
        let mut svg = Self { text };
        svg.rect((0.0, 0.0, f64::from(width), f64::from(height)), colour::PAGE, 8.0);
        svg
    }

    /// A filled rectangle: x, y, width, height.
    pub(crate) fn rect(&mut self, (x, y, width, height): (f64, f64, f64, f64), fill: &str, radius: f64) {
        let _ = writeln!(
            self.text,
            "<rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" rx=\"{radius:.0}\" fill=\"{fill}\"/>"
        );
    }

    /// A line of text that starts (or with `anchor`, ends or is centred) at a point.
    pub(crate) fn text(&mut self, (x, y): (f64, f64), size: u32, fill: &str, anchor: &str, words: &str) {
        let anchor = if anchor.is_empty() { String::new() } else { format!(" text-anchor=\"{anchor}\"") };
        let _ = writeln!(
            self.text,
            "<text x=\"{x:.0}\" y=\"{y:.0}\" font-size=\"{size}\" fill=\"{fill}\"{anchor}>{}</text>",
            escape(words)
        );
    }

    /// Anything.
    pub(crate) fn raw(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// The file's text.
    pub(crate) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }
}

/// Text as XML takes it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// At most so many characters, the last of them dots where something is left out.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(escape("a < b & \"c\""), "a &lt; b &amp; &quot;c&quot;");
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }
}
