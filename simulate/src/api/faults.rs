//! What goes wrong between a client and the API server.

use super::admission::Admit;
use super::call::Call;
use super::failure::ApiFailure;
use super::rights::Rights;
use super::store::Store;
use std::fmt;
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Fate {
    /// It is answered at once.
    #[default]
    Served,
    /// It arrives after a time, even if its client has given up by then, and its answer after another.
    Slow {
        /// From the client to the server.
        request: Duration,
        /// Back.
        answer: Duration,
    },
    /// The server refuses it before it looks at it: throttling, an outage.
    Refused(ApiFailure),
    /// The connection breaks before it arrives: nothing happens.
    Broken,
    /// It never arrives, and nothing says so.
    Silent,
    /// It is carried out, and the connection breaks before its answer.
    AnswerBroken,
    /// It is carried out, and its answer never arrives.
    AnswerSilent,
}

/// Decides the fate of each request, when it is sent; the cluster is as it is then.
pub type Fates = Box<dyn FnMut(&Call, &Store) -> Fate + Send>;

/// The faults, rights and admission of a server: a value that the world sets and changes. They are called while the server is
/// locked, so they may ask it nothing but what they are given.
#[derive(Default)]
pub struct Hooks {
    /// The fate of each request; all are served without it.
    pub fates: Option<Fates>,
    /// The rights of the accounts; everyone may do everything without them.
    pub rights: Option<Rights>,
    /// Steps of admission, in this order.
    pub admission: Vec<Admit>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").field("rights", &self.rights).field("admission", &self.admission.len()).finish()
    }
}

/// What the world does to watches that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFault {
    /// They go on.
    None,
    /// Nothing arrives for now; it will later, if the watch still is open.
    Held,
    /// The server ends them.
    Ended,
    /// The connection breaks.
    Broken,
    /// The last changes arrive once more, and then they go on.
    Repeated,
}
