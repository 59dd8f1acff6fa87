//! `explain --term`: the meaning of a term in status, events or alerts, without a cluster.

use crate::crd::ProblemKind;
use crate::explain_texts::{Alert, Text};
use crate::reason::Reason;
use crate::text::output::{Form, Printer};
use anyhow::bail;
use serde::Serialize;

/// The version of the schema that `-o json|yaml` prints.
const SCHEMA: &str = "citrix-allowlist.io/term/v1";

/// A term, and its meaning in one place.
#[derive(Debug, Serialize)]
struct Term {
    schema: &'static str,
    term: String,
    /// Where it is used: `reason`, `problem` or `alert`.
    kind: &'static str,
    means: &'static str,
    remedy: &'static str,
}

impl Term {
    fn new(term: &str, kind: &'static str, text: Text) -> Self {
        Self { schema: SCHEMA, term: term.to_owned(), kind, means: text.means, remedy: text.remedy }
    }

    fn place(&self) -> &'static str {
        match self.kind {
            "reason" => "reason of a condition or an event",
            "problem" => "kind of problem in status.problems",
            _ => "alert",
        }
    }
}

/// How alike a mistyped term is to the one that is meant, from 0 to 1. Many begin with the same word, so it is more than clap's 0.7 for
/// commands and flags.
const ALIKE: f64 = 0.9;
/// The most terms that a mistyped one may have meant.
const MOST_ALIKE: usize = 3;

/// Every term; some are both a reason and a kind of problem.
fn all() -> Vec<Term> {
    let reasons = Reason::ALL.into_iter().map(|reason| Term::new(reason.as_str(), "reason", reason.text()));
    let problems = ProblemKind::ALL.into_iter().map(|kind| Term::new(kind.as_str(), "problem", kind.text()));
    let alerts = Alert::ALL.into_iter().map(|alert| Term::new(alert.as_str(), "alert", alert.text()));
    reasons.chain(problems).chain(alerts).collect()
}

/// The terms that a mistyped one may have meant, the nearest first.
fn alike<'a>(word: &str, terms: &[&'a str]) -> Vec<&'a str> {
    let similarity = |term: &str| strsim::jaro_winkler(&term.to_ascii_lowercase(), &word.to_ascii_lowercase());
    let mut alike: Vec<(f64, &str)> = terms.iter().map(|term| (similarity(term), *term)).collect();
    alike.retain(|(similarity, _)| *similarity > ALIKE);
    alike.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    alike.into_iter().take(MOST_ALIKE).map(|(_, term)| term).collect()
}

/// Prints the meaning of a term, in any case.
///
/// # Errors
/// Where it is none of them: the terms that are spelled much like it, or all.
pub(super) fn print(word: &str, output: Option<Form>) -> anyhow::Result<()> {
    let all = all();
    let found: Vec<&Term> = all.iter().filter(|term| term.term.eq_ignore_ascii_case(word)).collect();
    if found.is_empty() {
        let mut words: Vec<&str> = all.iter().map(|term| term.term.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        let alike = alike(word, &words);
        if !alike.is_empty() {
            bail!("--term: unknown term \"{word}\"; did you mean {}?", alike.join(", "));
        }
        bail!("--term: unknown term \"{word}\"; expected one of {}", words.join(", "));
    }
    let mut printer = Printer::new(std::io::stdout().lock(), output.unwrap_or(Form::Yaml));
    for term in found {
        if output.is_some() {
            printer.value(term)?;
        } else {
            printer.people(&format!("{} ({})\n  {}\n  {}\n", term.term, term.place(), term.means, term.remedy))?;
        }
    }
    printer.finish()?;
    Ok(())
}
