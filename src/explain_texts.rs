//! What each reason, each kind of problem and each alert means, and what a person can do. `explain` prints these sentences,
//! and the documentation repeats them. Pure.

mod alerts;

use crate::reason::Reason;
pub use alerts::Alert;

/// An explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// What it means, as one sentence.
    pub means: &'static str,
    /// What a person can do, as one sentence.
    pub remedy: &'static str,
}

/// Declares an enum with a table: each variant, what it means, and what a person can do. The first sentence is its
/// documentation too. The prefix, which may be empty, starts every published name.
macro_rules! explained {
    ($(#[$meta:meta])* $enum:ident, $prefix:literal { $($name:ident: $means:literal, $remedy:literal;)+ }) => {
        $(#[$meta])*
        pub enum $enum {
            $(#[doc = $means] $name,)+
        }

        impl $enum {
            /// Every one, in the order of the documentation.
            pub const ALL: [Self; [$($means),+].len()] = [$(Self::$name),+];

            /// Its name, as it is published.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($prefix, stringify!($name)),)+
                }
            }

            /// What it means, and what a person can do.
            #[must_use]
            pub const fn text(self) -> $crate::explain_texts::Text {
                match self {
                    $(Self::$name => $crate::explain_texts::Text { means: $means, remedy: $remedy },)+
                }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use explained;

/// The reason that a condition carries as text.
#[must_use]
pub fn reason_of(text: &str) -> Option<Reason> {
    Reason::ALL.into_iter().find(|reason| reason.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::ProblemKind;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_reason_and_alert_has_sentences_of_its_own() {
        let texts = [
            &ProblemKind::ALL.map(ProblemKind::text)[..],
            &Reason::ALL.map(Reason::text),
            &Alert::ALL.map(Alert::text),
        ];
        for texts in texts {
            assert_eq!(texts.iter().map(|text| text.means).collect::<BTreeSet<_>>().len(), texts.len());
            assert!(texts.iter().all(|text| text.means.ends_with('.') && text.remedy.ends_with('.')), "{texts:?}");
        }
        assert_eq!(reason_of("NoMatch"), Some(Reason::NoMatch));
        assert_eq!(reason_of("nomatch"), None);
    }
}
