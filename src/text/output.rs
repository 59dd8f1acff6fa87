//! Where output goes, and in which form.

use crate::text::{Style, line};
use anyhow::Context as _;
use clap::ValueEnum;
use connectivity_allowlist::visible::{visible, visible_json, visible_yaml};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_saphyr::DoubleQuoted;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::{self, IsTerminal as _, Write};

/// A form that programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// YAML documents, each after a line `---`
    Yaml,
    /// JSON values, one after the other
    Json,
}

/// The error where nothing can be printed, such as with a full disk.
const UNWRITTEN: &str = "standard output cannot be written";

/// Prints values, one after the other. Each method fails where nothing can be written.
pub struct Printer<W> {
    out: W,
    form: Form,
}

impl<W: Write> Printer<W> {
    /// Prints to `out`.
    pub fn new(out: W, form: Form) -> Self {
        Self { out, form }
    }

    /// A value.
    pub fn value(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        match self.form {
            Form::Yaml => write!(self.out, "---\n{}", visible_yaml(&yaml(value)?)),
            Form::Json => writeln!(self.out, "{}", visible_json(&serde_json::to_string_pretty(value)?)),
        }
        .context(UNWRITTEN)
    }

    /// An object of another kind.
    pub fn object(&mut self, object: &Value) -> anyhow::Result<()> {
        match self.form {
            // Escapes need double quotes, which all texts of JSON have; and JSON is YAML.
            Form::Yaml if acts(object) => {
                write!(self.out, "---\n{}\n", visible_yaml(&serde_json::to_string_pretty(object)?)).context(UNWRITTEN)
            }
            Form::Yaml => self.value(&Readable(object)),
            Form::Json => self.value(object),
        }
    }

    /// A YAML document word for word; on a terminal, active characters are escaped, which comments may have. Empty lines at its
    /// end stay: a block scalar may keep them.
    pub fn text(&mut self, text: &str) -> anyhow::Result<()> {
        let text = text.trim_start_matches('\n');
        let shown = if io::stdout().is_terminal() { visible_yaml(text) } else { Cow::Borrowed(text) };
        let end = if shown.ends_with('\n') { "" } else { "\n" };
        write!(self.out, "---\n{shown}{end}").context(UNWRITTEN)
    }

    /// Text for people.
    pub fn people(&mut self, text: &str) -> anyhow::Result<()> {
        self.out.write_all(style().shown(text).as_bytes()).context(UNWRITTEN)
    }

    /// The form of its values.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// Writes what is buffered.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.out.flush().context(UNWRITTEN)
    }
}

/// A value whose texts kubectl can read in YAML: it refuses a block scalar that starts with a tab.
struct Readable<'a>(&'a Value);

impl Serialize for Readable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if text.contains('\n') && text.trim_start_matches([' ', '\n']).starts_with('\t') => {
                DoubleQuoted(text).serialize(serializer)
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Readable)),
            Value::Object(fields) => serializer.collect_map(fields.iter().map(|(key, value)| (key, Readable(value)))),
            value => value.serialize(serializer),
        }
    }
}

/// Whether a text or field of a value acts on a terminal.
fn acts(value: &Value) -> bool {
    let is_active = |text: &str| matches!(visible_yaml(text), Cow::Owned(_));
    match value {
        Value::String(text) => is_active(text),
        Value::Array(items) => items.iter().any(acts),
        Value::Object(fields) => fields.iter().any(|(key, value)| is_active(key) || acts(value)),
        _ => false,
    }
}

/// Prints text as it is.
pub(crate) fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut printer = io::stdout().lock();
    printer.write_all(text.as_ref()).and_then(|()| printer.flush()).context(UNWRITTEN)
}

/// Prints a line for people.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    print(line(text))
}

/// Prints a line on standard error. If that is closed, the line is dropped.
pub(crate) fn warn(text: &str) {
    let _ = io::stderr().write_all(line(text).as_bytes());
}

/// A value as YAML.
pub(crate) fn yaml(value: &impl Serialize) -> anyhow::Result<String> {
    let mut text = serde_saphyr::to_string(value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Colour on standard output: on a terminal that can, unless `NO_COLOR` says no (no-color.org).
pub(crate) fn style() -> Style {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").as_deref() == Some(OsStr::new("dumb"));
    Style { colour: !no_color && !dumb && io::stdout().is_terminal() }
}

/// Prints the progress of a wait on standard error, if that is a terminal.
pub(crate) struct Progress {
    shown: bool,
    watched: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { shown: false, watched: io::stderr().is_terminal() }
    }

    pub fn say(&mut self, text: &str) {
        if self.watched {
            let _ = write!(io::stderr(), "\r\x1b[K{}", visible(text));
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn printed(object: &Value, form: Form) -> String {
        let mut out = Vec::new();
        Printer::new(&mut out, form).object(object).expect("printed");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_text_that_starts_with_a_tab_is_no_block_scalar() {
        let object = json!({ "a": "\tx\ny\n", "b": ["\n \tx"], "c": "x\n\ty\n" });
        let expected = "---\na: \"\\tx\\ny\\n\"\nb:\n- \"\\n \\tx\"\nc: |\n  x\n  \ty\n";
        assert_eq!(printed(&object, Form::Yaml), expected);
    }

    /// Formerly it was escaped where it stood without quotes too, and so became another text.
    #[test]
    fn what_acts_on_a_terminal_reads_the_same() {
        let object = json!({ "a": "x\u{202e}y", "b\u{200b}": ["\u{2028}", "\u{1b}[2J\nz"] });
        for form in [Form::Yaml, Form::Json] {
            let text = printed(&object, form);
            assert!(!text.contains(['\u{202e}', '\u{200b}', '\u{2028}', '\u{1b}']), "{text:?}");
            assert_eq!(serde_saphyr::from_str::<Value>(&text).expect("YAML"), object, "{text}");
        }
    }
}
