//! The forms of the vendor's list, a line each. Pure.

use super::{DocumentError, ParsedDocument, Reading};
use serde_json::{Map, Value};

/// The rules of a form.
pub(super) struct FormRules {
    /// Its name, which saved lists contain: never changed.
    pub name: &'static str,
    /// Its name in sentences.
    pub in_words: &'static str,
    /// Whether a document states the end of its validity.
    pub states_expiry: bool,
    /// Whether an object is a document of this form, unless a form above it in the table recognises it.
    pub recognise: fn(&Map<String, Value>) -> bool,
    /// Reads a recognised document.
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

    /// The form of this name; `None` for an unknown one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|form| form.as_str() == name)
    }

    /// The form's name in sentences.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        self.rules().in_words
    }

    /// Whether its documents state the end of their validity. For others, it is counted from when they are received.
    #[must_use]
    pub const fn states_expiry(self) -> bool {
        self.rules().states_expiry
    }
}
