//! Makes text from outside safe to show: a list, a resource or an answer may contain characters that move a cursor, colour a terminal,
//! turn the direction of writing, or forge a line. Pure.

use std::borrow::Cow;

/// A text in one line, in which nothing acts on a terminal: control characters, and those that turn the direction of writing or are
/// invisible, are escaped as `\n`, `\x1b`, `\u{202e}`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_active)
}

/// The same, in at most `most` characters: a longer text ends in `…`.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    let text = visible(text);
    match text.char_indices().nth(most.saturating_sub(1)) {
        Some((at, last)) if at + last.len_utf8() < text.len() => format!("{}…", &text[..at]),
        _ => text.into_owned(),
    }
}

/// The same for a text in several lines: their ends stay.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| character != '\n' && is_active(character))
}

/// JSON that is safe to show: active characters become JSON's own escapes, so that its meaning stays. They occur within texts only;
/// the ends of lines between values stay.
#[must_use]
pub fn visible_json(json: &str) -> Cow<'_, str> {
    let acts = |character: char| !character.is_ascii_whitespace() && is_active(character);
    replaced(json, acts, |character, escaped| {
        let mut units = [0; 2];
        for unit in character.encode_utf16(&mut units) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

/// YAML that is safe to show: the same, by YAML's escapes in double quotes. Elsewhere they stay as text, and the character is lost.
#[must_use]
pub fn visible_yaml(yaml: &str) -> Cow<'_, str> {
    let acts = |character: char| !matches!(character, '\n' | '\t') && is_active(character);
    replaced(yaml, acts, |character, escaped| match u32::from(character) {
        code @ ..0x100 => escaped.push_str(&format!("\\x{code:02x}")),
        code @ ..0x1_0000 => escaped.push_str(&format!("\\u{code:04x}")),
        code => escaped.push_str(&format!("\\U{code:08x}")),
    })
}

fn replaced(text: &str, acts: impl Fn(char) -> bool, replace: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.chars().any(&acts) {
        return Cow::Borrowed(text);
    }
    let mut replaced = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if acts(character) { replace(character, &mut replaced) } else { replaced.push(character) }
    }
    Cow::Owned(replaced)
}

fn escaped(text: &str, is_active: impl Fn(char) -> bool) -> Cow<'_, str> {
    replaced(text, is_active, |character, escaped| match character {
        '\n' => escaped.push_str("\\n"),
        '\r' => escaped.push_str("\\r"),
        '\t' => escaped.push_str("\\t"),
        '\0'..='\x7f' => escaped.push_str(&format!("\\x{:02x}", u32::from(character))),
        _ => escaped.extend(character.escape_unicode()),
    })
}

/// Whether a character does more than show itself.
fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks, embeddings, overrides and isolates of the direction of writing (Unicode, UAX 9).
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Ends of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // Invisible characters: Unicode's default ignorable ones, assigned or not, and interlinear marks.
            | '\u{ad}' | '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_characters_are_escaped_and_others_stay() {
        assert!(matches!(visible("DaaS – ブ é \\"), Cow::Borrowed("DaaS – ブ é \\")));
        assert_eq!(visible("\u{1b}[2J\u{7}a\r\nb\tc\u{7f}"), "\\x1b[2J\\x07a\\r\\nb\\tc\\x7f");
        let escaped = "\\u{9b}31m\\u{85}\\u{202e}evil\\u{2066}\\u{200b}\\u{2028}";
        assert_eq!(visible("\u{9b}31m\u{85}\u{202e}evil\u{2066}\u{200b}\u{2028}"), escaped);
        assert_eq!(visible_lines("a\r\nb\u{1b}\n"), "a\\r\nb\\x1b\n");
    }

    #[test]
    fn a_long_text_is_cut_once() {
        let cut = shortened(&"é".repeat(300), 256);
        assert_eq!((cut.chars().count(), cut.ends_with("é…")), (256, true));
        assert_eq!(shortened(&cut, 256), cut);
        assert_eq!(shortened(&"é".repeat(256), 256), "é".repeat(256));
    }

    /// Characters that act on a terminal, or hide.
    const ACTIVE: &str = "\0\u{7}\u{1b}\u{7f}\u{85}\u{9b}\u{9d}\u{61c}\u{200b}\u{200e}\u{200f}\u{202a}\u{202b}\
        \u{202d}\u{202e}\u{2028}\u{2065}\u{2066}\u{2069}\u{34f}\u{3164}\u{fe0f}\u{e0100}\u{feff}\u{fff9}\u{e0001}";

    #[test]
    fn json_and_yaml_say_the_same_and_nothing_in_them_acts() {
        let value = serde_json::json!({ "a": format!("x{ACTIVE}y"), "b": [ACTIVE] });
        let json = serde_json::to_string_pretty(&value).expect("JSON");
        let shown = visible_json(&json);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), value);
        let yaml = serde_saphyr::to_string(&value).expect("YAML");
        let shown_yaml = visible_yaml(&yaml);
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&shown_yaml).expect("YAML"), value);
        for text in [&*shown, &shown_yaml, &visible_lines(&json), &visible(ACTIVE)] {
            assert!(!text.contains(|character| ACTIVE.contains(character)), "{text:?}");
        }
        assert!(matches!(visible_json("{\n  \"a\": \"é\"\n}"), Cow::Borrowed(_)));
    }
}
