//! What each station of the way costs by itself: read from where divan and the instruction counter leave it.

use super::candidate::mebibytes;
use super::figures::{Point, Report, Series};
use anyhow::Context as _;
use serde_json::Value;
use std::path::Path;

/// The most that work may grow by, as a power of the number of peers: n log n between 200 and 20,000 is about n^1.15.
const MOST_GROWTH: f64 = 1.2;

/// Reads the medians of the table that divan prints.
///
/// # Errors
/// Where there is none: the micro-benchmarks have not run.
pub fn times(file: &Path, report: &mut Report) -> anyhow::Result<()> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("{}: run the micro-benchmarks first", file.display()))?;
    let mut stations: Vec<(String, Vec<Point>)> = Vec::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['│', '├', '╰', '─', ' ']);
        let mut columns = line.split('│').map(str::trim);
        let (Some(first), _, Some(median)) = (columns.next(), columns.next(), columns.next()) else { continue };
        let (name, fastest) = first.split_once(char::is_whitespace).unwrap_or((first, ""));
        if fastest.is_empty() {
            stations.push((name.to_owned(), Vec::new()));
        } else if let (Ok(x), Some(y), Some((_, points))) = (name.parse(), in_milliseconds(median), stations.last_mut())
        {
            points.push(Point { x, y });
        }
    }
    stations.retain(|(_, points)| !points.is_empty());
    anyhow::ensure!(!stations.is_empty(), "{} holds no table of divan's", file.display());
    for (name, points) in stations {
        push(report, &format!("{name}, in ms"), points);
    }
    Ok(())
}

/// `1.5 ms`, `80 µs`, `1.2 s`.
fn in_milliseconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once(' ')?;
    let factor = match unit {
        "ns" => 1e-6,
        "µs" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// Reads what the instruction counter wrote; where it could not count, the report says so.
///
/// # Errors
/// Where the file is no count.
pub fn instructions(file: &Path, report: &mut Report) -> anyhow::Result<()> {
    let what = "instructions of a reconcile that changes nothing";
    let Ok(text) = std::fs::read_to_string(file) else {
        report.note(
            what,
            "not counted: valgrind is not on this machine".to_owned(),
            "known, guarded at 5 %",
            None,
            &[],
        );
        return Ok(());
    };
    let counted: Value = serde_json::from_str(&text)?;
    let count = |pointer: &str| counted.pointer(pointer).and_then(Value::as_f64).context("a count");
    let (now, recorded) = (count("/reconcile/now")?, count("/reconcile/recorded")?);
    let change = (now / recorded - 1.0) * 100.0;
    report.note(
        what,
        format!("{now:.0}; {change:+.1} % against the {recorded:.0} recorded"),
        "known, guarded at 5 %",
        Some(change <= 5.0),
        &[("instructions", now), ("recorded", recorded)],
    );
    for (station, sizes) in counted["stations"].as_object().into_iter().flatten() {
        let sizes = sizes.as_object().into_iter().flatten();
        let points =
            sizes.filter_map(|(peers, count)| Some(Point { x: peers.parse().ok()?, y: count.as_f64()? / 1e6 }));
        push(report, &format!("{}, in millions of instructions", station.replace('_', " ")), points.collect());
    }
    Ok(())
}

fn push(report: &mut Report, name: &str, mut points: Vec<Point>) {
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    report.series.push(Series { name: name.to_owned(), of: "peers".to_owned(), points });
}

/// The memory that learned names take, as the benchmark of that name counted it.
///
/// # Errors
/// Where the file is not what it wrote.
pub fn learned(file: &Path, report: &mut Report) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let counted: Value = serde_json::from_str(&text)?;
    let count = |field: &str| counted[field].as_u64().with_context(|| format!("{field} of {}", file.display()));
    let (names, addresses, bytes, bound) = (count("names")?, count("addresses")?, count("bytes")?, count("bound")?);
    report.note(
        &format!("{names} learned names with {addresses} addresses each, in the names table"),
        format!("{:.1} MiB, {:.0} bytes each", mebibytes(bytes), bytes as f64 / names as f64),
        &format!("{:.0} MiB", mebibytes(bound)),
        Some(bytes <= bound),
        &[("bytes", bytes as f64), ("names", names as f64)],
    );
    Ok(())
}

/// Says whether every station grows by n log n at most.
pub fn growth(report: &mut Report) {
    let exponents: Vec<(String, f64)> = report
        .series
        .iter()
        .filter(|series| series.of == "peers")
        .filter_map(|series| Some((series.name.clone(), series.exponent()?)))
        .collect();
    let Some((name, most)) = exponents.iter().max_by(|a, b| a.1.total_cmp(&b.1)).cloned() else { return };
    report.note(
        "growth of parsing, selecting, deciding, merging and rendering over 200, 2,000 and 20,000 peers",
        format!("at most peers^{most:.2} ({name})"),
        "n log n: peers^1.2 over this range",
        Some(most <= MOST_GROWTH),
        &[("most_exponent", most)],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_micro_benchmarks_becomes_series() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("stations.txt");
        let table = "
Timer precision: 20 ns
stations      fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ merge                    │               │               │               │         │
│  ├─ 200     7.1 µs        │ 9.2 µs        │ 8 µs          │ 8.1 µs        │ 100     │ 100
│  ├─ 2000    70 µs         │ 92 µs         │ 80 µs         │ 81 µs         │ 100     │ 100
│  ╰─ 20000   700 µs        │ 920 µs        │ 0.8 ms        │ 810 µs        │ 100     │ 100
╰─ parse                    │               │               │               │         │
   ├─ 200     100 µs        │ 1.2 ms        │ 110 µs        │ 110 µs        │ 100     │ 100
   ╰─ 2000    1 ms          │ 1.2 s         │ 1.1 ms        │ 1.1 ms        │ 100     │ 100
";
        std::fs::write(&file, table).expect("written");
        let mut report = Report::default();
        times(&file, &mut report).expect("a series");
        growth(&mut report);
        let [merge, parse] = report.series.as_slice() else { panic!("two series: {:?}", report.series) };
        assert_eq!((merge.name.as_str(), merge.points.len()), ("merge, in ms", 3));
        assert!((merge.points[2].y - 0.8).abs() < 1e-9 && (parse.points[0].y - 0.11).abs() < 1e-9);
        assert_eq!(report.figures[0].reached, Some(true));
        std::fs::write(&file, "nothing").expect("written");
        assert!(times(&file, &mut report).is_err());
    }

    #[test]
    fn the_memory_of_learned_names_is_held_against_its_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("learned.json");
        let mut reached = Vec::new();
        for bytes in [5 << 20, 21 << 20] {
            let counted = serde_json::json!({ "names": 10_000, "addresses": 2, "bytes": bytes, "bound": 20 << 20 });
            std::fs::write(&file, counted.to_string()).expect("written");
            let mut report = Report::default();
            learned(&file, &mut report).expect("read");
            let figure = &report.figures[0];
            assert_eq!((&*figure.target, report.figures.len()), ("20 MiB", 1));
            reached.push((figure.measured.clone(), figure.reached));
        }
        let small = ("5.0 MiB, 524 bytes each".to_owned(), Some(true));
        assert_eq!(reached, [small, ("21.0 MiB, 2202 bytes each".to_owned(), Some(false))]);
    }
}
