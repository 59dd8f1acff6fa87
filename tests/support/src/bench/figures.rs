//! Figures, and how they are written down.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

/// Values of one thing measured several times, in the unit that its name says.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Takes in one more.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Takes in one more, in milliseconds.
    pub fn add_time(&mut self, duration: Duration) {
        self.add(milliseconds(duration));
    }

    /// The value that a share of `percent` does not exceed; zero of an empty sample.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(rank.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    /// The value in the middle.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The value taken in last; zero of an empty sample.
    #[must_use]
    pub fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// `p50 14.2 ms, p99 40.1 ms (50 runs)`, of times.
    #[must_use]
    pub fn times(&self) -> String {
        format!("p50 {:.1} ms, p99 {:.1} ms ({} runs)", self.median(), self.percentile(99), self.count())
    }
}

/// The median, and what it lies between where it was measured more than once: `0.82 (0.79 to 0.91)`.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$}", self.median())?;
        let (least, most) = (self.percentile(0), self.percentile(100));
        if self.count() > 1 && format!("{least:.digits$}") != format!("{most:.digits$}") {
            write!(f, " ({least:.digits$} to {most:.digits$})")?;
        }
        Ok(())
    }
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Several things measured together, by name, each perhaps more than once.
#[derive(Clone, Debug, Default)]
pub struct Measured(BTreeMap<String, Sample>);

impl Measured {
    /// Takes in one value.
    pub fn add(&mut self, name: &str, value: f64) {
        self.0.entry(name.to_owned()).or_default().add(value);
    }

    /// What was measured under a name.
    #[must_use]
    pub fn of(&self, name: &str) -> Sample {
        self.0.get(name).cloned().unwrap_or_default()
    }
}

/// One line of the report.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// What came out, as a person reads it.
    pub measured: String,
    /// What was to be reached.
    pub target: String,
    /// Whether it was reached; nothing where that is not for a program to say.
    pub reached: Option<bool>,
    /// The numbers behind it, by name, each with its unit at the end of the name.
    pub values: BTreeMap<String, f64>,
}

/// One point of a plot.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Point {
    /// How many.
    pub x: f64,
    /// What it costs.
    pub y: f64,
}

/// A line of a plot.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Series {
    /// What it costs, with its unit.
    pub name: String,
    /// Of how many.
    pub of: String,
    /// The points, in the order of how many.
    pub points: Vec<Point>,
}

impl Series {
    /// The exponent of the power of how many that the cost grows by, fitted to the points by least squares of their
    /// logarithms; `None` with less than two points.
    #[must_use]
    pub fn exponent(&self) -> Option<f64> {
        let logarithms: Vec<(f64, f64)> = self
            .points
            .iter()
            .filter(|point| point.x > 0.0 && point.y > 0.0)
            .map(|point| (point.x.ln(), point.y.ln()))
            .collect();
        if logarithms.len() < 2 {
            return None;
        }
        let count = logarithms.len() as f64;
        let (mean_x, mean_y) =
            logarithms.iter().fold((0.0, 0.0), |(sum_x, sum_y), (x, y)| (sum_x + x / count, sum_y + y / count));
        let covariance: f64 = logarithms.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let variance: f64 = logarithms.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        (variance > 0.0).then(|| covariance / variance)
    }
}

/// Every figure of a run, and what the run was.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// Where, when and of what, by name.
    pub circumstances: BTreeMap<String, String>,
    /// The figures.
    pub figures: Vec<Figure>,
    /// The plots.
    pub series: Vec<Series>,
    /// Another operator's figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
}

/// What another operator came to in the same run.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Beside {
    /// What the report calls it.
    pub name: String,
    /// The figures, each called as this operator's is.
    pub figures: Vec<Figure>,
}

impl Beside {
    /// What came out of a figure, as a person reads it; a dash where it was not measured.
    fn measured(&self, what: &str) -> &str {
        self.figures.iter().find(|figure| figure.what == what).map_or("–", |figure| &figure.measured)
    }
}

impl Report {
    /// Notes a figure, and says so on standard error.
    pub fn note(&mut self, what: &str, measured: String, target: &str, reached: Option<bool>, values: &[(&str, f64)]) {
        eprintln!("  {what}: {measured}");
        self.figures.push(Figure {
            what: what.to_owned(),
            measured,
            target: target.to_owned(),
            reached,
            values: values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        });
    }

    /// This report of some `parts`, put into an `earlier` one: its figures and plots take the place of those of the same name, and new
    /// ones come last. The circumstances stay those of the earlier run; one line says those of these parts.
    #[must_use]
    pub fn within(self, mut earlier: Self, parts: &str) -> Self {
        if self.figures.is_empty() {
            return earlier;
        }
        let of = |name: &str| self.circumstances.get(name).map_or("unknown", String::as_str);
        let said = ["extent", "date", "commit", "operator"].map(of).join(", ");
        let said = format!("{said}; load when it began: {}", of("load when it began"));
        earlier.circumstances.insert(format!("later, by themselves: {parts}"), said);
        put(&mut earlier.figures, self.figures, |figure| &figure.what);
        put(&mut earlier.series, self.series, |series| &series.name);
        earlier
    }

    /// What its files are called, without an ending.
    #[must_use]
    pub fn stem(&self) -> String {
        self.beside.as_ref().map_or_else(|| "benchmarks".to_owned(), |beside| format!("benchmarks-{}", beside.name))
    }

    /// The report as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from(PREFACE);
        for (name, value) in &self.circumstances {
            let _ = writeln!(text, "- {name}: {value}");
        }
        let (name, line) = match &self.beside {
            Some(beside) => (format!(" {} |", beside.name), " --- |"),
            None => (String::new(), ""),
        };
        text.push_str("\n## Figures\n\n| figure | measured | to reach | reached |");
        let _ = writeln!(text, "{name}\n| --- | --- | --- | --- |{line}");
        for figure in &self.figures {
            let reached = match figure.reached {
                Some(true) => "yes",
                Some(false) => "no",
                None => "–",
            };
            let beside =
                self.beside.as_ref().map_or_else(String::new, |beside| format!(" {} |", beside.measured(&figure.what)));
            let _ = writeln!(text, "| {} | {} | {} | {reached} |{beside}", figure.what, figure.measured, figure.target);
        }
        if !self.series.is_empty() {
            text.push_str(GROWTH);
            for series in &self.series {
                let points: Vec<String> =
                    series.points.iter().map(|point| format!("{}: {}", point.x, short(point.y))).collect();
                let exponent = series.exponent().map_or_else(|| "–".to_owned(), |exponent| format!("{exponent:.2}"));
                let _ = writeln!(text, "| {} | {} | {} | {exponent} |", series.name, series.of, points.join(", "));
            }
            let stem = self.stem();
            let _ = writeln!(text, "\n![Cost against the number of resources and of peers]({stem}.svg)");
        }
        text.push_str(if self.beside.is_some() { BESIDE } else { ADAPTER });
        text
    }
}

/// Puts `newer` in the place of those of the same name, or last.
fn put<T>(all: &mut Vec<T>, newer: Vec<T>, name: impl Fn(&T) -> &String) {
    for item in newer {
        match all.iter_mut().find(|known| name(known) == name(&item)) {
            Some(known) => *known = item,
            None => all.push(item),
        }
    }
}

/// A number with three digits that say something.
fn short(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}")
}

const PREFACE: &str = "# Benchmarks

`make bench` writes this file; the JSON file of the same name has the numbers behind each line. Times are of one machine that ran
everything: API server, etcd, CoreDNS, the operator and the measuring client. Counts and ratios are comparable between machines,
single times are not. A figure in the form `a (b to c)` is the median of several runs, with the lowest and the highest.

The list has 197 names with 492 addresses, at a TTL of 30 s, and a real CoreDNS answers. Other operators were measured with the
same list. The forwarder's figures have a list of 100 names and 40 wildcards, and a CoreDNS with a zone file as the upstream.
*Visible* is the time at which a watch of an independent client showed it. *Floor* is the time of a minimal client that
writes the same objects without computing them.

";

const GROWTH: &str = "
## Growth

The exponent is fitted to the logarithms of all points: 1 is linear.

| cost | of | points | exponent |
| --- | --- | --- | --- |
";

const BESIDE: &str = "
The last column is another operator's, measured in the same run: each part right after this operator's, on its own control
plane and CoreDNS. A dash marks a figure of this operator only. The end of `docs/benchmarks.md` explains how to compare another
operator.
";

const ADAPTER: &str = "
## Another operator in the same run

`make bench CANDIDATE=file.yaml` measures another operator's binary after this one's, in an equal environment. It writes both
side by side into `bench-results/benchmarks-<name>.md`, which git ignores (`BENCH_OUT` names another folder). The comparison covers
the first and the next resource, many at once, and a quiet minute. The file describes the operator's command and its resource;
`benches/candidates` has a complete one:

```yaml
# Letters, digits and hyphens.
name: fqdn-policy
# Its description in the report.
remark: 1.2.3, with the options of its chart
# {kubeconfig}, {folder} (an empty one, removed at the end), {port} (a free one), {dns} (address:port), {dns_ip},
# {dns_port}, {global_url} and {japan_url} are filled in.
command: [/path/to/manager, \"--health-probe-bind-address=127.0.0.1:{port}\"]
environment: { KUBECONFIG: \"{kubeconfig}\" }
# The operator counts as watching two seconds after this answers with 2xx; without it, two seconds after the start.
ready: http://127.0.0.1:{port}/readyz
# Without it, {dns_port} is a free one. An operator that uses /etc/resolv.conf needs 53 (and root): run it with its own
# resolv.conf that names {dns_ip}, a free address of the loopback network.
dns_port: 53
# Its CRDs, beside this file.
definitions: [crd.yaml]
plural: fqdnnetworkpolicies
# {name}, {namespace} and {customer} are filled in, and {fqdns}: `fqdn` for each name, separated by commas.
fqdn: '\"{fqdn}\"'
resource: |
  apiVersion: networking.example.com/v1
  kind: FQDNNetworkPolicy
  metadata: { name: \"{name}\", namespace: \"{namespace}\" }
  spec: { podSelector: {}, egress: [{ toFQDNs: [{fqdns}], ports: [{ port: 443, protocol: TCP }] }] }
# The name of the NetworkPolicy that appears for a resource.
policy: \"{name}\"
```
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends_of_a_sample() {
        let mut sample = Sample::default();
        assert_eq!(sample.median(), 0.0);
        [4.0, 1.0, 3.0, 2.0, 5.0].into_iter().for_each(|value| sample.add(value));
        assert_eq!((sample.median(), sample.percentile(99), sample.percentile(0)), (3.0, 5.0, 1.0));
        assert_eq!(format!("{sample:.1}"), "3.0 (1.0 to 5.0)");
    }

    #[test]
    fn another_operator_stands_beside_this_one() {
        let mut peers = Report::default();
        peers.note("first", "250 ms".to_owned(), "60 ms", Some(false), &[]);
        let mut report = Report::default();
        report.note("first", "46 ms".to_owned(), "60 ms", Some(true), &[]);
        report.note("restart", "0.3 s".to_owned(), "3 s", Some(true), &[]);
        assert!(report.markdown().contains("| figure | measured | to reach | reached |\n| --- | --- | --- | --- |\n"));
        report.beside = Some(Beside { name: "other".to_owned(), figures: peers.figures });
        let text = report.markdown();
        let table = "| figure | measured | to reach | reached | other |\n| --- | --- | --- | --- | --- |\n\
                     | first | 46 ms | 60 ms | yes | 250 ms |\n| restart | 0.3 s | 3 s | yes | – |\n";
        assert!(text.contains(table), "{text}");
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["beside"]["figures"][0]["measured"], "250 ms");
    }

    #[test]
    fn parts_measured_later_replace_their_figures_alone() {
        let circumstances = |date: &str| BTreeMap::from([("date".to_owned(), date.to_owned())]);
        let mut earlier = Report { circumstances: circumstances("monday"), ..Report::default() };
        earlier.note("first", "46 ms".to_owned(), "60 ms", Some(true), &[]);
        earlier.note("restart", "0.3 s".to_owned(), "3 s", Some(true), &[]);
        let mut later = Report { circumstances: circumstances("tuesday"), ..Report::default() };
        later.note("first", "50 ms".to_owned(), "60 ms", Some(true), &[]);
        later.note("forwarder", "2 ms".to_owned(), "3 ms", Some(true), &[]);
        let both = later.within(earlier, "single,forwarder");
        let figures: Vec<_> = both.figures.iter().map(|figure| (&*figure.what, &*figure.measured)).collect();
        assert_eq!(figures, [("first", "50 ms"), ("restart", "0.3 s"), ("forwarder", "2 ms")]);
        assert_eq!(both.circumstances["date"], "monday");
        assert!(both.circumstances["later, by themselves: single,forwarder"].contains("tuesday"));
    }

    #[test]
    fn the_exponent_of_a_power_is_found() {
        let series = |power: f64| Series {
            name: String::new(),
            of: String::new(),
            points: [200.0, 2_000.0, 20_000.0_f64].map(|x| Point { x, y: 3.0 * x.powf(power) }).to_vec(),
        };
        for power in [0.5, 1.0, 2.0] {
            assert!(series(power).exponent().is_some_and(|fitted| (fitted - power).abs() < 1e-9));
        }
        assert_eq!(Series { points: vec![Point { x: 1.0, y: 1.0 }], ..series(1.0) }.exponent(), None);
    }
}
