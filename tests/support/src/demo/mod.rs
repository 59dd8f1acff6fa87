//! The demo: the operator at work on real parts, told step by step to a person.

mod policies;
mod question;
mod stage;
mod story;
mod teller;
mod zone;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};

use stage::Stage;
use teller::Teller;

/// How the demo ended, where it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It told all, or was kept running until somebody ended it.
    Told,
    /// Somebody interrupted it before.
    Interrupted,
}

/// Tells everything from start to end, and cleans up however it ends. With `keep`, all is left running after the last
/// step until a signal comes.
///
/// # Errors
/// With what went wrong and the last lines of what the programs logged.
pub async fn run(keep: bool) -> anyhow::Result<Ended> {
    let mut signals = Signals::new()?;
    let teller = Teller::start();
    let mut stage = tokio::select! {
        stage = Stage::set(&teller) => stage?,
        () = signals.any() => return Ok(Ended::Interrupted),
    };
    let told = tokio::select! {
        told = story::tell(&teller, &mut stage) => told,
        () = signals.any() => return Ok(Ended::Interrupted),
    };
    if let Err(error) = told {
        return Err(anyhow!("{error:#}\n{}", stage.log_tails()));
    }
    if keep {
        stage.say_how_to_talk_to_it(&teller);
        tokio::select! {
            ended = stage.watch() => return ended.map(|()| Ended::Told),
            () = signals.any() => {}
        }
    }
    teller.step("Cleaning up: the operator, its objects and everything started here end");
    drop(stage);
    teller.step("Done");
    Ok(Ended::Told)
}

/// What a terminal, a shell and a supervisor send to end a program.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
