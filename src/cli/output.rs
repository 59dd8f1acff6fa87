//! Where output goes, and in which form.

use super::text::Style;
use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write};

/// A form that programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// YAML documents, each after a line `---`
    Yaml,
    /// JSON values, one after the other
    Json,
}

/// What is wrong where nothing more can be printed: a full disk, behind a redirection.
const UNWRITTEN: &str = "standard output cannot be written";

/// Prints values, one after the other.
pub(super) struct Printer<W> {
    out: W,
    form: Form,
}

impl<W: Write> Printer<W> {
    pub fn new(out: W, form: Form) -> Self {
        Self { out, form }
    }

    pub fn value(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        match self.form {
            Form::Yaml => write!(self.out, "---\n{}", yaml(value)?),
            Form::Json => writeln!(self.out, "{}", serde_json::to_string_pretty(value)?),
        }
        .context(UNWRITTEN)
    }

    /// A YAML document word for word.
    pub fn text(&mut self, text: &str) -> anyhow::Result<()> {
        let text = text.trim_matches('\n');
        writeln!(self.out, "---\n{text}").context(UNWRITTEN)
    }

    /// Text for people.
    pub fn raw(&mut self, text: &str) -> anyhow::Result<()> {
        self.out.write_all(text.as_bytes()).context(UNWRITTEN)
    }

    pub fn form(&self) -> Form {
        self.form
    }

    /// Hands on what is buffered.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.out.flush().context(UNWRITTEN)
    }
}

/// Prints text as it is.
pub(super) fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut printer = io::stdout().lock();
    printer.write_all(text.as_ref()).and_then(|()| printer.flush()).context(UNWRITTEN)
}

/// Says something on standard error. Where that is closed nobody can be told, and nothing else is lost by it.
pub(super) fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A value as YAML.
pub(super) fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_saphyr::to_string(value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Colour on standard output: on a terminal that can, unless `NO_COLOR` says no (no-color.org).
pub(super) fn style() -> Style {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").as_deref() == Some(OsStr::new("dumb"));
    Style { colour: !no_color && !dumb && io::stdout().is_terminal() }
}

/// Says on standard error how far a wait has come, where somebody watches.
pub(super) struct Progress {
    shown: bool,
    watched: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { shown: false, watched: io::stderr().is_terminal() }
    }

    pub fn say(&mut self, text: &str) {
        if self.watched {
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
            self.shown = true;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
