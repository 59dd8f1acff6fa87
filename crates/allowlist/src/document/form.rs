//! The forms of the vendor's list, a line each. Pure.

use super::{DocumentError, ParsedDocument, Reading};
use serde_json::{Map, Value};

/// What a form's file says of it.
pub(super) struct FormRules {
    /// Its name, which saved lists carry: never changed.
    pub name: &'static str,
    /// As sentences name it.
    pub in_words: &'static str,
    /// Whether a document says itself until when it is valid.
    pub states_expiry: bool,
    /// Whether an object is a document of this form, if it is none of the forms above it in the table.
    pub recognise: fn(&Map<String, Value>) -> bool,
    /// Reads one that is recognised.
    pub read: fn(&Map<String, Value>, &Reading<'_>) -> Result<ParsedDocument, DocumentError>,
}

macro_rules! forms {
    ($($(#[$about:meta])* $form:ident = $rules:expr,)+) => {
        /// The forms in which the vendor publishes its list.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ListForm {
            $($(#[$about])* $form,)+
        }

        impl ListForm {
            /// Every form. The first that recognises a document reads it.
            pub const ALL: &[Self] = &[$(Self::$form),+];

            pub(super) const fn rules(self) -> &'static FormRules {
                match self {
                    $(Self::$form => &$rules,)+
                }
            }
        }
    };
}

forms! {
    /// `format=zscaler`
    Zscaler = super::zscaler::RULES,
    /// `format=json`
    #[default]
    Json = super::json::RULES,
    /// The older static lists: names only, by product.
    StaticList = super::static_list::RULES,
}

impl ListForm {
    /// The form's name: `json`, `zscaler` or `static`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.rules().name
    }

    /// The form of this name; `None` where there is none.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|form| form.as_str() == name)
    }

    /// The form as sentences name it.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        self.rules().in_words
    }

    /// Whether its documents say until when they are valid. The validity of others is counted from when they are received.
    #[must_use]
    pub const fn states_expiry(self) -> bool {
        self.rules().states_expiry
    }
}
