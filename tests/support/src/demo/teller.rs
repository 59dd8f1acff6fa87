//! How the demo speaks: headed steps with the time that has passed, and what belongs to each below it.

use std::io::Write;
use std::time::Instant;

/// What stands before a line that belongs to a step.
const INDENT: &str = "          ";

/// Prints, and knows when it started.
pub(super) struct Teller {
    started: Instant,
}

impl Teller {
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// A step's heading.
    pub(super) fn step(&self, title: &str) {
        print(&format!("\n[{:5.1} s] {title}\n", self.started.elapsed().as_secs_f32()));
    }

    /// Text below a heading, a line or several.
    pub(super) fn say(&self, text: &str) {
        for line in text.trim_end().lines() {
            print(format!("{INDENT}{line}").trim_end());
            print("\n");
        }
    }

    /// A command that a person could type, and what it printed.
    pub(super) fn command(&self, command: &str, output: &str) {
        self.say(&format!("$ {command}"));
        self.say(output);
    }
}

/// A reader who went away (`| head`) is no reason to fail: the demo ends by itself, and cleans up.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
