//! The case of letters in a query's name, which a server repeats in its answer: some more bits that a forged answer has to guess
//! (draft-vixie-dnsext-dns0x20). Pure but for the random numbers, which are hickory's.

use hickory_proto::rr::Name;

/// How many queries in random case a server may fail before it is queried in lower case.
const FAILURES: u32 = 3;

/// How one server spells the names of queries in its answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spelling {
    /// Not known yet.
    #[default]
    Unknown,
    /// It failed this many queries in random case, and answered none.
    Failing(u32),
    /// It repeats them.
    Kept,
    /// It does not, or fails mixed case: it is queried in lower case.
    Lost,
}

/// How a server repeated a query in random case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// The answer repeats the question to the letter.
    Same,
    /// The answer spells the name otherwise.
    Other,
    /// A failure, or an answer without a question.
    Silent,
}

impl Spelling {
    /// Spells `name` for a query to the server.
    #[must_use]
    pub fn spell(self, name: &Name) -> Name {
        let mut spelled = name.clone();
        if self != Self::Lost {
            spelled.randomize_label_case();
        }
        spelled
    }

    /// The state after one more query, and whether its answer is accepted. A server that once kept the case does not lose it:
    /// an answer in another case is forged.
    #[must_use]
    pub const fn after(self, echo: Echo) -> (Self, bool) {
        match (self, echo) {
            (Self::Lost, _) => (Self::Lost, true),
            (Self::Kept, Echo::Other) => (Self::Kept, false),
            (Self::Kept, _) | (_, Echo::Same) => (Self::Kept, true),
            (_, Echo::Other) => (Self::Lost, true),
            (Self::Unknown, Echo::Silent) => (Self::Failing(1), true),
            (Self::Failing(failures), Echo::Silent) if failures + 1 >= FAILURES => (Self::Lost, true),
            (Self::Failing(failures), Echo::Silent) => (Self::Failing(failures + 1), true),
        }
    }
}

/// How an answer spells the name that was `sent`.
#[must_use]
pub fn echo(sent: &Name, answered: Option<&Name>) -> Echo {
    match answered {
        Some(answered) if answered.eq_case(sent) => Echo::Same,
        Some(answered) if answered == sent => Echo::Other,
        // No name, or another one: hickory has refused the latter already.
        _ => Echo::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    #[test]
    fn a_server_that_keeps_the_case_is_accepted_in_no_other() {
        let (known, accepted) = Spelling::default().after(Echo::Same);
        assert_eq!((known, accepted), (Spelling::Kept, true));
        assert_eq!(known.after(Echo::Other), (Spelling::Kept, false), "a forged answer");
        assert_eq!(known.after(Echo::Silent), (Spelling::Kept, true), "silence says nothing");
    }

    #[test]
    fn a_server_that_loses_or_fails_case_is_queried_in_lower() {
        assert_eq!(Spelling::default().after(Echo::Other), (Spelling::Lost, true));
        let failed = |known: Spelling| known.after(Echo::Silent).0;
        let twice = failed(failed(Spelling::default()));
        assert_eq!(twice, Spelling::Failing(2));
        assert_eq!(twice.after(Echo::Same).0, Spelling::Kept);
        assert_eq!(failed(twice), Spelling::Lost);
        assert_eq!(Spelling::Lost.after(Echo::Other), (Spelling::Lost, true));
        let queried = name("names-of-servers.example.com.");
        assert!(Spelling::Lost.spell(&queried).eq_case(&queried));
    }

    #[test]
    fn a_name_in_random_case_is_the_same_name_in_other_letters() {
        let queried = name("a-name-with-many-letters.citrixworkspacesapi.example.com.");
        let spelled: Vec<Name> = (0..20).map(|_| Spelling::Unknown.spell(&queried)).collect();
        assert!(spelled.iter().all(|spelled| *spelled == queried));
        assert!(spelled.iter().any(|spelled| !spelled.eq_case(&queried)));
        assert_eq!(echo(&queried, Some(&queried)), Echo::Same);
        assert_eq!(
            echo(&queried, Some(&name("A-name-with-many-letters.citrixworkspacesapi.example.com."))),
            Echo::Other
        );
        assert_eq!(echo(&queried, None), Echo::Silent);
    }
}
