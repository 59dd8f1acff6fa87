//! Programs that a test starts, and that never outlive it.
//!
//! A test may fail, panic, be interrupted or be killed outright; a static is never dropped at all. So each program runs
//! under a small shell that reads a pipe from us: whatever ends this process closes the pipe, and the shell then kills
//! the program. The same pipe carries the signals that tests send.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Starts its arguments, after the first, as a program whose output is appended to the file that the first names; sends
/// it the signals named on standard input, with a line of answer to each, and kills it when that input ends. The shell
/// ends with the program, and with its status.
const SUPERVISOR: &str = r#"
exec 3<&0
log=$1
shift
"$@" 3<&- </dev/null >>"$log" 2>&1 &
program=$!
{
    while read -r signal; do
        # 0 is sent to nobody: it asks only whether the program is there.
        kill -s "$signal" "$program"
        echo "$program"
    done
    kill -s KILL "$program"
} <&3 2>/dev/null &
watcher=$!
exec >/dev/null
wait "$program"
status=$?
kill -s KILL "$watcher"
exit "$status"
"#;

/// How many of a log's last lines an error shows.
const TAIL_LINES: usize = 30;

/// How long a program may take to freeze: a thread in a system call stops at its end.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// A running program, killed on drop and whenever this process ends, in whatever way.
#[derive(Debug)]
pub struct Process {
    name: String,
    supervisor: Child,
    signals: Option<(ChildStdin, BufReader<ChildStdout>)>,
    log: PathBuf,
}

impl Process {
    /// Starts `program` under the name `name`, both its outputs appended to the file `log`.
    ///
    /// # Errors
    ///
    /// When the log cannot be opened or no shell started. A program that cannot be started shows as one that ended.
    pub fn start<I, S>(name: &str, program: &Path, arguments: I, log: &Path) -> anyhow::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let none: [(&str, &str); 0] = [];
        Self::start_with_environment(name, program, arguments, none, log)
    }

    /// As [`Process::start`], with variables added to the environment.
    ///
    /// # Errors
    ///
    /// As [`Process::start`].
    pub fn start_with_environment<I, S, E, K, V>(
        name: &str,
        program: &Path,
        arguments: I,
        environment: E,
        log: &Path,
    ) -> anyhow::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
        E: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open the log {} of {name}", log.display()))?;
        let mut supervisor = Command::new("/bin/sh")
            .args(["-c", SUPERVISOR, "supervisor"])
            .arg(log)
            .arg(program)
            .args(arguments)
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            // A group of its own: Ctrl-C in a terminal is for us, who then end, and not for it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let signals = supervisor.stdin.take().zip(supervisor.stdout.take().map(BufReader::new));
        Ok(Self { name: name.to_owned(), supervisor, signals, log: log.to_path_buf() })
    }

    /// Sends a signal, named without `SIG`: `TERM`, `INT`, `HUP`; `STOP` and `CONT` freeze and thaw. It has been sent on
    /// return, and a frozen program does nothing any more.
    ///
    /// # Errors
    ///
    /// When the program ended before, or is not frozen within ten seconds.
    pub fn signal(&mut self, signal: &str) -> anyhow::Result<()> {
        self.request(signal)?;
        if signal == "STOP" { self.wait_until_frozen() } else { Ok(()) }
    }

    /// On a busy machine a thread goes on for a while after the signal.
    fn wait_until_frozen(&mut self) -> anyhow::Result<()> {
        let threads = format!("/proc/{}/task", self.program_id()?);
        let deadline = Instant::now() + FREEZE_LIMIT;
        while !is_frozen(&threads).with_context(|| format!("read {threads}"))? {
            ensure!(Instant::now() < deadline, "{} is not frozen after {FREEZE_LIMIT:?}", self.name);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// The program's process id, to look it up under `/proc`.
    ///
    /// # Errors
    ///
    /// When the program ended before.
    pub fn program_id(&mut self) -> anyhow::Result<u32> {
        let answer = self.request("0")?;
        answer.trim().parse().with_context(|| format!("the process id of {}: {answer:?}", self.name))
    }

    fn request(&mut self, signal: &str) -> anyhow::Result<String> {
        let not_running = || format!("send {signal} to {}, which is not running", self.name);
        let (request, answer) = self.signals.as_mut().with_context(not_running)?;
        let mut line = String::new();
        request
            .write_all(format!("{signal}\n").as_bytes())
            .and_then(|()| answer.read_line(&mut line))
            .with_context(not_running)?;
        ensure!(!line.is_empty(), not_running());
        Ok(line)
    }

    /// How it ended, or `None` while it runs. Death by a signal shows as a shell shows it: code 128 and the signal's
    /// number.
    ///
    /// # Errors
    ///
    /// When the operating system cannot tell.
    pub fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.supervisor.try_wait()?)
    }

    /// Waits for it to end by itself, at most `limit`.
    ///
    /// # Errors
    ///
    /// When it still runs then; it is left running.
    pub async fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("{} still runs after {limit:?}\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks it to end (`TERM`) and waits, at most `limit`, then kills it.
    ///
    /// # Errors
    ///
    /// When it had to be killed.
    pub async fn stop(mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        self.signal("TERM")?;
        // Dropped, and so killed, where it does not obey.
        self.wait(limit).await
    }

    /// Kills it at once, and returns when it is gone.
    pub fn kill(self) {
        drop(self);
    }

    /// The file its output goes to.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// All it has printed so far; empty when that cannot be read.
    pub fn log_text(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines it printed, headed by its name, for an error message.
    pub fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("--- the last lines of {} ({}):\n{}", self.name, self.log.display(), shown.join("\n"))
    }

    /// An error with the end of the log, once the program has ended though nobody asked it to.
    ///
    /// # Errors
    ///
    /// When it has ended.
    pub fn expect_running(&mut self) -> anyhow::Result<()> {
        match self.exit_status()? {
            Some(status) => bail!("{} ended by itself ({status})\n{}", self.name, self.log_tail()),
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Closing the pipe is the order to kill.
        drop(self.signals.take());
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.supervisor.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether no thread of a folder of `/proc` runs: all are stopped, traced or ended.
fn is_frozen(threads: &str) -> std::io::Result<bool> {
    for thread in std::fs::read_dir(threads)? {
        // A thread may end meanwhile. Its state follows its name, which may contain anything.
        let status = std::fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
        let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if !matches!(state, None | Some('T' | 't' | 'Z' | 'X')) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
