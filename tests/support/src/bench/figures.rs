//! Figures, and how they are written down.

use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// Durations of one thing measured several times.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<Duration>);

impl Sample {
    /// Takes in one more.
    pub fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// The duration that a share of `percent` does not exceed; zero of an empty sample.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(rank.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// `p50 14.2 ms, p99 40.1 ms (50 runs)`
    #[must_use]
    pub fn text(&self) -> String {
        let (median, high) = (milliseconds(self.percentile(50)), milliseconds(self.percentile(99)));
        format!("p50 {median:.1} ms, p99 {high:.1} ms ({} runs)", self.count())
    }
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// What came out, as a person reads it.
    pub measured: String,
    /// What was to be reached.
    pub target: String,
    /// The numbers behind it, by name, each with its unit at the end of the name.
    pub values: std::collections::BTreeMap<String, f64>,
}

/// Every figure of a run, and what the run was.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Where, when and of what: each line `name: value`.
    pub circumstances: Vec<(String, String)>,
    /// The figures.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Notes a figure, and says so on standard error.
    pub fn note(&mut self, what: &str, measured: String, target: &str, values: &[(&str, f64)]) {
        eprintln!("  {what}: {measured}");
        self.figures.push(Figure {
            what: what.to_owned(),
            measured,
            target: target.to_owned(),
            values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        });
    }

    /// The report as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "# Benchmarks\n\nWritten by `make bench`; the numbers behind each line stand in `benchmarks.json` beside this file. \
             Medians and ratios travel between machines, single times do not.\n\n",
        );
        for (name, value) in &self.circumstances {
            let _ = writeln!(text, "- {name}: {value}");
        }
        text.push_str("\n| figure | measured | to reach |\n| --- | --- | --- |\n");
        for figure in &self.figures {
            let _ = writeln!(text, "| {} | {} | {} |", figure.what, figure.measured, figure.target);
        }
        text
    }
}
