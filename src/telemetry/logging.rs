//! Log lines, for people or for programs, on standard error: standard output is for the results of commands.

use super::traces::Traces;
use clap::ValueEnum;
use connectivity_allowlist::visible::visible;
use std::fmt;
use std::io::{self, IsTerminal as _};
use thiserror::Error;
use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// The default of `RUST_LOG`. kube repeats a refused watch at every attempt; `facts` logs it once. Its spans around a reconcile
/// repeat ours, and its client's reports are errors of the client's caller.
pub const DEFAULT_FILTER: &str =
    "info,kube_runtime::watcher=error,kube_runtime::controller=warn,kube_client::client::builder=off";

/// The filter for the value of `RUST_LOG`. A level alone, as in the chart, is ours: up to `info` the libraries stay as quiet as by
/// default. `debug`, or a filter with targets, is used as it is.
fn filter_of(value: Option<&str>) -> String {
    let value = value.map(str::trim).filter(|value| !value.is_empty()).unwrap_or("info");
    match ["info", "warn", "error"].into_iter().find(|level| value.eq_ignore_ascii_case(level)) {
        Some(level) => DEFAULT_FILTER.replacen("info", level, 1),
        None => value.to_owned(),
    }
}

/// The crate whose targets a filter may name without a level.
const OWN_TARGET: &str = "citrix_allowlist";

/// The part of a filter that is no level, as `verbose` is. The library takes it for a target, and then nothing at all is logged.
fn unknown_level(filter: &str) -> Option<&str> {
    let parts = filter.split(',').map(str::trim).filter(|part| !part.is_empty());
    let mut words = parts.filter(|part| !part.contains(['=', '[']) && !part.starts_with(OWN_TARGET));
    words.find(|word| word.parse::<LevelFilter>().is_err())
}

/// The form of log lines (`--log-format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people, in colour on a terminal
    #[default]
    Text,
    /// A JSON object a line: `timestamp`, `level`, `target`, `message`, the event's fields, and `span`
    Json,
}

/// Why logging cannot be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// `RUST_LOG` cannot be understood.
    #[error("RUST_LOG={value:?} is no filter such as info,citrix_allowlist=debug: {reason}")]
    Filter {
        /// Its value.
        value: String,
        /// The error.
        reason: tracing_subscriber::filter::ParseError,
    },
    /// `RUST_LOG` has a word that is no level.
    #[error(
        "RUST_LOG={value:?}: `{word}` is no level; off, error, warn, info, debug and trace are allowed, and targets such as citrix_allowlist=debug"
    )]
    Level {
        /// Its value.
        value: String,
        /// The word.
        word: String,
    },
    /// Logging was set up before.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// Sets logging up for the whole process, and `traces` if there are any. `filter` is `RUST_LOG`'s value, or [`DEFAULT_FILTER`] if
/// it is unset or empty.
///
/// # Errors
/// The filter cannot be understood, or logging was set up before.
pub fn init(format: LogFormat, filter: Option<&str>, traces: Option<&Traces>) -> Result<(), LoggingError> {
    let colour = io::stderr().is_terminal();
    let lines = lines(format, filter, colour, io::stderr)?;
    tracing_subscriber::registry().with(lines).with(traces.map(Traces::layer)).try_init()?;
    Ok(())
}

/// Lines for people or programs, of what passes the filter.
fn lines<S, W>(
    format: LogFormat,
    filter: Option<&str>,
    colour: bool,
    writer: W,
) -> Result<impl Layer<S> + use<S, W>, LoggingError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let value = filter_of(filter);
    if let Some(word) = unknown_level(&value) {
        return Err(LoggingError::Level { word: word.to_owned(), value });
    }
    let filter = EnvFilter::builder().parse(&value).map_err(|reason| LoggingError::Filter { value, reason })?;
    let lines = tracing_subscriber::fmt::layer().with_ansi(colour).with_writer(writer);
    let lines = match format {
        LogFormat::Text => lines.fmt_fields(debug_fn(field).delimited(" ")).boxed(),
        LogFormat::Json => {
            lines.json().with_ansi(false).flatten_event(true).with_current_span(true).with_span_list(false).boxed()
        }
    };
    Ok(lines.with_filter(filter))
}

/// A field of a line for people: text of a list or an answer may contain ends of lines, and forge the next one.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    match field.name() {
        "message" => writer.write_str(&visible(&text)),
        name => write!(writer, "{name}={}", visible(&text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};
    use std::sync::Arc;

    /// The lines of these events.
    fn lines_of(format: LogFormat, filter: Option<&str>, colour: bool, events: impl FnOnce()) -> String {
        let file = Arc::new(tempfile::tempfile().expect("a file"));
        let lines = lines(format, filter, colour, Arc::clone(&file)).expect("a layer");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), events);
        let (mut written, mut text) = (&*file, String::new());
        written.rewind().expect("a file");
        written.read_to_string(&mut text).expect("UTF-8");
        text
    }

    fn logged(format: LogFormat, filter: Option<&str>) -> String {
        lines_of(format, filter, false, || {
            let span = tracing::info_span!("reconcile", allowlist = "citrix/daas-us", generation = 3);
            span.in_scope(|| tracing::info!(added = 2, "applied"));
            tracing::debug!("quiet");
            tracing::warn!(target: "kube_runtime::watcher", "repeated");
        })
    }

    #[test]
    fn json_lines_carry_their_fields_and_the_spans() {
        let text = logged(LogFormat::Json, None);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let [line] = lines.as_slice() else { panic!("one line: {text}") };
        assert_eq!(
            (&line["message"], &line["added"], &line["level"], &line["span"]["allowlist"], &line["span"]["generation"]),
            (&"applied".into(), &2.into(), &"INFO".into(), &"citrix/daas-us".into(), &3.into())
        );
    }

    #[test]
    fn nothing_in_an_event_forges_a_line_or_acts_on_a_terminal() {
        let hostile = "2026\n2026-01-01T00:00:00Z ERROR forged\r\x1b[2J\u{9b}31m\u{202e}";
        for colour in [false, true] {
            let text = lines_of(LogFormat::Text, None, colour, || {
                let span = tracing::info_span!("fetch", key = %hostile);
                span.in_scope(|| tracing::info!(version = %hostile, debug = ?hostile, "a list: {hostile}"));
            });
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.ends_with('\n') && text.contains("\\n2026-01-01T00:00:00Z ERROR forged"), "{text}");
            assert!(!text.contains("\x1b[2J") && !text.contains(['\r', '\u{9b}', '\u{202e}']), "{text:?}");
            assert_eq!(text.contains('\x1b'), colour, "{text:?}");
        }
    }

    #[test]
    fn text_lines_are_for_people_and_the_filter_is_obeyed() {
        let text = logged(LogFormat::Text, Some(""));
        assert!(text.contains("reconcile{allowlist=\"citrix/daas-us\" generation=3}"), "{text}");
        assert!(text.ends_with("applied added=2\n"), "{text}");
        assert!(logged(LogFormat::Text, Some("debug")).contains("quiet"));
        assert_eq!(logged(LogFormat::Json, Some("off")), "");
        for level in [None, Some("info"), Some(" INFO ")] {
            let text = logged(LogFormat::Text, level);
            assert!(text.contains("applied") && !text.contains("repeated"), "a level alone is ours: {text}");
        }
        assert!(!logged(LogFormat::Text, Some("warn")).contains("applied"));
        assert!(logged(LogFormat::Text, Some("info,kube_runtime=warn")).contains("repeated"), "a named target is used");
    }

    /// `verbose` and `warning` were taken for targets, and nothing was logged.
    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for value in ["verbose", "warning", "info,loud", "hyper"] {
            let lines = lines::<tracing_subscriber::Registry, _>(LogFormat::Text, Some(value), false, io::sink);
            let error = lines.err().expect(value).to_string();
            assert!(error.starts_with(&format!("RUST_LOG=\"{value}\": `")) && error.contains("is no level"), "{error}");
        }
        for value in ["WARN", "info,citrix_allowlist::names=debug", "citrix_allowlist", "off", "hyper=trace,info"] {
            assert_eq!(unknown_level(value), None, "{value}");
        }
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_refused_with_an_example() {
        let lines = lines::<tracing_subscriber::Registry, _>(LogFormat::Text, Some("citrix=loud"), false, io::sink);
        let error = lines.err().expect("refused");
        assert!(error.to_string().starts_with("RUST_LOG=\"citrix=loud\" is no filter such as info,"), "{error}");
    }
}
