//! A terminal that plays what a program printed, as an SVG that moves.

use super::{MONO, Svg, colour, escape, shortened};
use std::fmt::Write as _;

/// Columns and lines that are shown.
const COLUMNS: usize = 112;
const LINES: usize = 26;
/// The size of a character and of a line, in pixels.
const CHARACTER: f64 = 7.25;
const LINE: f64 = 17.0;
/// The bar over the terminal, and the room around its text.
const BAR: f64 = 30.0;
const MARGIN: f64 = 14.0;
/// How long a line is read, what stands still before a new step, and the end, in seconds.
const READING: f64 = 0.16;
const PAUSE: f64 = 2.2;
const END: f64 = 6.0;

/// Draws it. A line that starts with `[` and a time begins a step, before which the picture stands still.
#[must_use]
pub fn draw(title: &str, printed: &str) -> String {
    let lines: Vec<&str> = printed.lines().map(str::trim_end).skip_while(|line| line.is_empty()).collect();
    let (frames, whole) = frames(&lines);
    #[allow(clippy::cast_precision_loss, reason = "a terminal has a few hundred lines")]
    let (width, height) = (COLUMNS as f64 * CHARACTER + 2.0 * MARGIN, LINES as f64 * LINE + BAR + MARGIN);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a picture's size")]
    let mut svg = Svg::new(width as u32, height as u32, MONO, title);
    // Where the last line ends, with room for the tails of its letters.
    let end = height - MARGIN + 3.0;
    let mut style = String::from("<style>@keyframes s{");
    for (at, shown) in &frames {
        #[allow(clippy::cast_precision_loss, reason = "a few hundred lines")]
        let up = shown.saturating_sub(LINES) as f64 * LINE;
        let _ = write!(style, "{:.2}%{{transform:translateY(-{up:.0}px)}}", at / whole * 100.0);
    }
    let _ = write!(
        style,
        "}}@keyframes h{{{}}}",
        frames
            .iter()
            .map(|(at, shown)| {
                #[allow(clippy::cast_precision_loss, reason = "a few hundred lines")]
                let hidden = LINES.saturating_sub(*shown) as f64 * LINE;
                format!("{:.2}%{{height:{hidden:.0}px;y:{:.0}px}}", at / whole * 100.0, end - hidden)
            })
            .collect::<String>()
    );
    let _ = write!(
        style,
        ".s{{animation:s {whole:.1}s steps(1,end) infinite}}.h{{animation:h {whole:.1}s steps(1,end) infinite}}\
         @media (prefers-reduced-motion:reduce){{.s,.h{{animation:none}}}}text{{white-space:pre}}</style>"
    );
    svg.raw(&style);
    svg.raw(&format!(
        "<clipPath id=\"c\"><rect x=\"0\" y=\"{BAR}\" width=\"{width:.0}\" height=\"{:.0}\"/></clipPath>",
        end - BAR
    ));
    svg.raw("<g clip-path=\"url(#c)\"><g class=\"s\">");
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        #[allow(clippy::cast_precision_loss, reason = "a few hundred lines")]
        let y = BAR + LINE * (index as f64 + 0.8);
        let trimmed = line.trim_start();
        let fill = if is_step(line) {
            colour::WARN
        } else if trimmed.starts_with("$ ") {
            colour::GOOD
        } else if trimmed.starts_with("+ ") {
            colour::SERIES[7]
        } else {
            colour::TEXT
        };
        svg.raw(&format!(
            "<text x=\"{MARGIN:.0}\" y=\"{y:.0}\" font-size=\"12\" fill=\"{fill}\" xml:space=\"preserve\">{}</text>",
            escape(&shortened(line, COLUMNS))
        ));
    }
    svg.raw("</g></g>");
    svg.raw(&format!(
        "<rect class=\"h\" x=\"{MARGIN:.0}\" width=\"{:.0}\" y=\"{height:.0}\" height=\"0\" fill=\"{}\"/>",
        width - 2.0 * MARGIN,
        colour::PAGE
    ));
    svg.rect((0.0, 0.0, width, BAR), colour::PANEL, 8.0);
    svg.text((width / 2.0, BAR - 10.0), 12, colour::FAINT, "middle", title);
    svg.finish()
}

/// When how many lines have been shown, and how long it all takes, in seconds.
fn frames(lines: &[&str]) -> (Vec<(f64, usize)>, f64) {
    let (mut frames, mut at) = (Vec::new(), 0.0);
    for (index, line) in lines.iter().enumerate() {
        if is_step(line) && index > 0 {
            at += PAUSE;
        }
        frames.push((at, index + 1));
        at += READING;
    }
    (frames, at + END)
}

fn is_step(line: &str) -> bool {
    line.starts_with('[') && line.contains(" s] ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_in_it_and_steps_wait() {
        let printed = "\n[  0.0 s] One\n          $ ls <x>\n\n[  1.0 s] Two\n          + 13.0.0.1/32\n";
        let picture = draw("a demo", printed);
        for text in ["[  0.0 s] One", "$ ls &lt;x&gt;", "[  1.0 s] Two", "+ 13.0.0.1/32"] {
            assert!(picture.contains(text), "{text} in {picture}");
        }
        let (frames, whole) = frames(&["[  0.0 s] One", "a", "[  1.0 s] Two"]);
        assert_eq!(frames.iter().map(|(_, shown)| *shown).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(frames[2].0 - frames[1].0 > PAUSE && whole > frames[2].0 + END, "{frames:?}");
    }
}
