//! Text from outside, as it may be shown to a person: a list, a resource or an answer may hold characters that move a cursor,
//! colour a terminal, turn the direction of writing, or forge a line. Pure.

use std::borrow::Cow;

/// A text in one line, in which nothing acts on what shows it: control characters and those that turn the direction of writing
/// or take no room stand there escaped, `\n`, `\x1b`, `\u{202e}`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_active)
}

/// The same of a text in several lines: their ends stay.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character != '\n' && is_active(character))
}

fn escaped(text: &str, is_active: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_active) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            _ if !is_active(character) => escaped.push(character),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\0'..='\x7f' => escaped.push_str(&format!("\\x{:02x}", u32::from(character))),
            _ => escaped.extend(character.escape_unicode()),
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character does something other than stand there.
fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks, embeddings, overrides and isolates of the direction of writing (Unicode, UAX 9).
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Ends of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // What takes no room, and so hides.
            | '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_escaped_and_all_else_stays() {
        assert!(matches!(visible("DaaS – ブ é \\"), Cow::Borrowed("DaaS – ブ é \\")));
        assert_eq!(visible("\u{1b}[2J\u{7}a\r\nb\tc\u{7f}"), "\\x1b[2J\\x07a\\r\\nb\\tc\\x7f");
        assert_eq!(
            visible("\u{9b}31m\u{85}\u{202e}evil\u{2066}\u{200b}\u{2028}"),
            "\\u{9b}31m\\u{85}\\u{202e}evil\\u{2066}\\u{200b}\\u{2028}"
        );
        assert_eq!(visible_lines("a\r\nb\u{1b}\n"), "a\\r\nb\\x1b\n");
    }
}
