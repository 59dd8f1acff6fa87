//! Where a report is written.

use super::figures::Report;
use super::plot;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// Where reports go that put another operator beside this one: a folder of the workspace that git ignores.
const BESIDE: &str = "bench-results";

/// The folder of a report in the workspace `root`: `out` where it is given, else `docs`, where this operator's own report is
/// a page. A report with another operator beside it belongs to who measured: among the pages it would be one that no
/// index names.
#[must_use]
pub fn folder(report: &Report, out: Option<PathBuf>, root: &Path) -> PathBuf {
    let usual = if report.beside.is_some() { BESIDE } else { "docs" };
    out.unwrap_or_else(|| root.join(usual))
}

/// The report whose numbers are in a folder, to put one of some parts into; nothing where there is none.
///
/// # Errors
/// Where its numbers cannot be read.
pub fn earlier(report: &Report, folder: &Path) -> anyhow::Result<Option<Report>> {
    let file = folder.join(format!("{}.json", report.stem()));
    if !file.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    Ok(Some(serde_json::from_str(&text).with_context(|| file.display().to_string())?))
}

/// Writes a report, its numbers and, where it has any, its plot. Returns the file of the report.
///
/// # Errors
/// Where a file cannot be written.
pub fn write(report: &Report, folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let stem = report.stem();
    let file = folder.join(format!("{stem}.md"));
    std::fs::write(&file, report.markdown())?;
    std::fs::write(folder.join(format!("{stem}.json")), serde_json::to_string_pretty(report)? + "\n")?;
    if !report.series.is_empty() {
        std::fs::write(folder.join(format!("{stem}.svg")), plot::svg(&report.series))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Beside, Point, Series};
    use super::*;
    use crate::tools::workspace_root;
    use std::collections::BTreeSet;

    fn report(beside: Option<&str>) -> Report {
        let points = [1.0, 10.0].map(|x| Point { x, y: x }).to_vec();
        let beside = beside.map(|name| Beside { name: name.to_owned(), figures: Vec::new() });
        Report { series: vec![Series { name: "time".into(), of: "peers".into(), points }], beside, ..Report::default() }
    }

    #[test]
    fn a_second_operator_leaves_pages_and_git_diff_unchanged() {
        let root = workspace_root();
        let folder = folder(&report(Some("other")), None, &root);
        let first = folder.strip_prefix(&root).expect("in the workspace").components().next().expect("a folder");
        // What tests read as pages lies in these, and at the root itself.
        assert!(!["docs", "charts"].contains(&&*first.as_os_str().to_string_lossy()), "{first:?}");
        let ignored = std::fs::read_to_string(root.join(".gitignore")).expect("what git ignores");
        assert!(ignored.lines().any(|line| line == format!("/{}", first.as_os_str().display())), "{ignored}");
    }

    #[test]
    fn the_page_is_the_own_report_and_a_folder_may_hold_any() {
        let root = Path::new("/root");
        assert_eq!(folder(&report(None), None, root), Path::new("/root/docs"));
        for beside in [None, Some("other")] {
            assert_eq!(folder(&report(beside), Some("/out".into()), root), Path::new("/out"));
        }
    }

    #[test]
    fn the_page_is_what_its_numbers_give() {
        let docs = workspace_root().join("docs");
        let read = earlier(&report(None), &docs).expect("numbers").expect("they are committed");
        let page = std::fs::read_to_string(docs.join("benchmarks.md")).expect("the page");
        assert_eq!(read.markdown(), page, "so that a part can be measured again by itself");
        assert!(earlier(&report(Some("other")), &docs).expect("no file").is_none());
    }

    #[test]
    fn a_report_names_the_plot_that_is_written_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        for (beside, stem) in [(None, "benchmarks"), (Some("other"), "benchmarks-other")] {
            let file = write(&report(beside), folder.path()).expect("written");
            assert_eq!(file, folder.path().join(format!("{stem}.md")));
            let text = std::fs::read_to_string(file).expect("the report");
            assert!(text.contains(&format!("]({stem}.svg)")), "{text}");
        }
        let there: BTreeSet<String> = std::fs::read_dir(folder.path())
            .expect("the folder")
            .map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned())
            .collect();
        let expected =
            ["benchmarks", "benchmarks-other"].map(|stem| ["json", "md", "svg"].map(|end| format!("{stem}.{end}")));
        assert_eq!(there, expected.into_iter().flatten().collect());
    }
}
