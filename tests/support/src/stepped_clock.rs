//! A wall clock that a test sets, for one program: a small library, loaded before the program's own, that answers when
//! it asks what time it is. The program is the real one, and all of it sees the same clock.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};

/// The library, which the C compiler that links Rust programs makes in a moment.
const SOURCE: &str = include_str!("stepped_clock.c");

/// The wall clock of the programs started with [`Self::environment`].
pub struct SteppedClock {
    offset: File,
    offset_path: PathBuf,
    library: PathBuf,
    _folder: tempfile::TempDir,
}

impl SteppedClock {
    /// A clock that is right so far.
    ///
    /// # Errors
    /// Where there is no C compiler `cc`.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("stepped_clock.c");
        std::fs::write(&source, SOURCE)?;
        let library = folder.path().join("stepped_clock.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        let output = compiler.output().context("start cc")?;
        ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
        let offset_path = folder.path().join("offset");
        let offset = File::create(&offset_path)?;
        let clock = Self { offset, offset_path, library, _folder: folder };
        clock.set(0)?;
        Ok(clock)
    }

    /// What a program is started with to go by this clock.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("STEPPED_CLOCK_FILE", self.offset_path.display().to_string()),
        ]
    }

    /// Sets it so many seconds ahead of the machine's, or behind.
    ///
    /// # Errors
    /// Where its file cannot be written.
    pub fn set(&self, seconds: i64) -> anyhow::Result<()> {
        Ok(self.offset.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(clock: &SteppedClock) -> i64 {
        let output = Command::new("date").arg("+%s").envs(clock.environment()).output().expect("date");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("seconds")
    }

    #[test]
    fn a_program_goes_by_the_clock_as_it_is_set() {
        let clock = SteppedClock::new().expect("a clock");
        let right = read(&clock);
        clock.set(86_400).expect("set");
        assert!((86_400..87_000).contains(&(read(&clock) - right)));
        clock.set(-86_400).expect("set");
        assert!((-86_400..-85_800).contains(&(read(&clock) - right)));
    }
}
