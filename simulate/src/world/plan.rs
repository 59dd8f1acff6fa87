//! Which faults come when: everything that a seed decides beforehand, so that a part of it can be replayed.

use super::Size;
use super::faults::WorldFault;
use crate::api::WatchFault;
use fastrand::Rng;
use std::time::Duration;

/// How long a time without faults is: what settles in it, and then stays quiet. The operator's longest pauses are two minutes, the
/// vendor's limit makes lists wait, and a refused write is tried again every minute.
pub const SETTLED: Duration = Duration::from_secs(40 * 60);
/// How long after the last fault a namespace that was deleted with its objects is gone.
const TERMINATED: Duration = Duration::from_secs(3 * 60);
/// How long it is watched after [`SETTLED`].
pub const QUIET: Duration = Duration::from_secs(10 * 60);
/// How long the faults of [`FaultPlan::succeed_behind_a_hanging_watch`] last together.
const HANGING: Duration = Duration::from_secs(20 * 60);
/// The time without faults at a world's end: until addresses that are answered no longer have expired (`addressRetention`, 1 h by
/// default), also those that a successor recovered from policies, whose hour begins when its first answers come.
pub const EXPIRED: Duration = Duration::from_secs(3 * 3600);

/// One fault, when it comes and how long it lasts.
#[derive(Clone, Debug)]
pub struct Step {
    /// Since the world began.
    pub at: Duration,
    /// For so long.
    pub lasts: Duration,
    /// What.
    pub fault: WorldFault,
}

/// What a world does in which moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// A fault is over: its number.
    Over(usize),
    /// A fault begins: its number.
    Begin(usize),
    /// What is still missing is created, now that its namespace is gone.
    Completed,
    /// Nothing has been wrong for [`SETTLED`]: everything has to be right, and to stay so for [`QUIET`].
    Settled,
}

/// A seed's faults.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    /// They may overlap.
    pub steps: Vec<Step>,
    /// When everything has to be right.
    pub settled: Vec<Duration>,
    /// When no fault comes any more.
    pub end: Duration,
}

impl FaultPlan {
    /// The faults of at least so many hours: some minutes or hours of them at a time, then time to settle.
    #[must_use]
    pub fn pick(random: &mut Rng, size: Size, hours: u32) -> Self {
        let mut plan = Self { steps: Vec::new(), settled: vec![SETTLED], end: SETTLED + QUIET };
        let length = Duration::from_secs(u64::from(hours) * 3600);
        while plan.end < length {
            let over = plan.end + Duration::from_secs(random.u64(600..3 * 3600));
            // Some times are calm, and others have several faults at once.
            let pace = random.u64(20..900);
            let mut at = plan.end + Duration::from_secs(random.u64(1..pace));
            while at < over {
                let lasts = Duration::from_millis(random.u64(100..400_000)).min(over - at);
                plan.steps.push(Step { at, lasts, fault: WorldFault::pick(random, size) });
                at += Duration::from_millis(random.u64(1..pace * 1000));
            }
            plan.settled.push(over + SETTLED);
            plan.end = over + SETTLED + QUIET;
        }
        // Kinds of faults that were added later have numbers after all others, so that what a number means stays.
        let ends: Vec<Duration> = plan.settled.iter().skip(1).map(|at| *at - SETTLED).collect();
        for over in ends {
            if random.bool() {
                continue;
            }
            let lasts = Duration::from_millis(random.u64(100..60_000));
            let at = over.saturating_sub(Duration::from_millis(random.u64(60_000..600_000)));
            plan.steps.push(Step { at, lasts, fault: WorldFault::Upgrade });
        }
        let spans: Vec<(Duration, Duration)> = plan.spans().collect();
        for (begin, over) in &spans {
            let (begin, last) = (*begin, over.saturating_sub(HANGING));
            if begin < last && random.bool() {
                plan.succeed_behind_a_hanging_watch(random, size, last);
            }
        }
        for (begin, over) in spans {
            for _ in 0..random.u8(..6) {
                let at = begin + (over - begin).mul_f64(random.f64());
                let lasts = Duration::from_millis(random.u64(100..400_000)).min(over - at);
                plan.steps.push(Step { at, lasts, fault: WorldFault::pick_later(random, size) });
            }
        }
        plan
    }

    /// From when to when there are faults.
    fn spans(&self) -> impl Iterator<Item = (Duration, Duration)> {
        let begins = self.settled.iter().map(|at| *at + QUIET);
        begins.zip(self.settled.iter().skip(1).map(|at| *at - SETTLED))
    }

    /// Faults that break something only together: names move twice while a standby's watches hang, and then it is the only one left. So
    /// it has never seen policies that allow the addresses in between, and nothing answers them any more.
    fn succeed_behind_a_hanging_watch(&mut self, random: &mut Rng, size: Size, at: Duration) {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        let successor = random.usize(..size.replicas);
        let customer = random.usize(..size.customers);
        let mut add = |after: u64, lasts: u64, fault: WorldFault| {
            self.steps.push(Step { at: at + minutes(after), lasts: minutes(lasts), fault });
        };
        add(0, 18, WorldFault::Watches(Some(successor), WatchFault::Held));
        // DNS servers keep what a name had for five minutes, and what it has then for five seconds.
        for after in [1, 8] {
            (0..size.names).for_each(|name| add(after, 1, WorldFault::Move(customer, name, 5)));
        }
        for other in (0..size.replicas).filter(|other| *other != successor) {
            add(10, 5, WorldFault::Crash(other));
        }
    }

    /// The moments of these steps, in order, up to a time; all of them without `only`.
    #[must_use]
    pub fn moments(&self, only: Option<&[usize]>, until: Duration) -> Vec<(Duration, Moment)> {
        let steps = self.steps.iter().enumerate();
        let chosen = steps.filter(|(number, _)| only.is_none_or(|only| only.contains(number)));
        let mut moments: Vec<_> = chosen
            .flat_map(|(number, step)| [(step.at, Moment::Begin(number)), (step.at + step.lasts, Moment::Over(number))])
            .chain(self.settled.iter().map(|at| (*at - SETTLED + TERMINATED, Moment::Completed)))
            .chain(self.settled.iter().map(|at| (*at, Moment::Settled)))
            .filter(|(at, _)| *at <= until)
            .collect();
        moments.sort();
        moments
    }
}
