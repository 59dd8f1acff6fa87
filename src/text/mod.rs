//! Text for people: tables and paragraphs of at most 80 columns, and colour where it is wanted. Pure.
//!
//! Text from lists, resources and answers passes through a table, a tree, a paragraph or a line, and is
//! [made visible](connectivity_allowlist::visible) there. Colour is added after that.

pub mod output;

use connectivity_allowlist::visible::{visible, visible_lines};
use std::borrow::Cow;

/// The most columns of anything printed for people.
pub const WIDTH: usize = 80;

/// Whether colour is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether it is.
    pub colour: bool,
}

impl Style {
    /// Without colour.
    #[cfg(test)]
    pub const PLAIN: Self = Self { colour: false };

    /// A text in the colour of its meaning.
    #[must_use]
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_owned() }
    }

    /// A finished text for a terminal: nothing in it acts but the ends of lines and our own colours.
    #[must_use]
    pub fn shown(self, text: &str) -> Cow<'_, str> {
        if !self.colour {
            return visible_lines(text);
        }
        let mut shown = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("\x1b[") {
            let (before, from) = rest.split_at(at);
            shown.push_str(&visible_lines(before));
            let colour = COLOURS.into_iter().find(|colour| from.starts_with(colour));
            let (taken, after) = from.split_at(colour.map_or(1, str::len));
            shown.push_str(&colour.map_or_else(|| visible(taken), Cow::Borrowed));
            rest = after;
        }
        shown.push_str(&visible_lines(rest));
        Cow::Owned(shown)
    }
}

/// The meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Allowed, added, or works.
    Good,
    /// Denied, removed, or fails.
    Bad,
    /// Changed, or to be seen.
    Notable,
    /// A heading.
    Bold,
}

impl Tone {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Bad => "31",
            Self::Notable => "33",
            Self::Bold => "1",
        }
    }
}

/// Every sequence that is written for colour.
const COLOURS: [&str; 5] = ["\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[0m"];

/// The first of some texts, and how many more there are: `a, b and 3 more`.
#[must_use]
pub fn first_of(texts: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let more = texts.len().saturating_sub(most);
    let shown = texts.take(most).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

/// A line of its own, with its end.
#[must_use]
pub fn line(text: &str) -> String {
    format!("{}\n", visible(text))
}

/// A table: columns as wide as their longest cell. If that takes more than 80 columns, the widest are narrowed, and their
/// cells get several lines. A word too long for that stays whole: a cut name cannot be copied.
#[must_use]
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    let shown = |row: &Vec<String>| row.iter().map(|cell| visible(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let lines: Vec<&Vec<String>> = std::iter::once(&headings).chain(&rows).collect();
    let widths = widths(&lines, headings.len());
    let mut text = String::new();
    for row in lines {
        let cells = widths.iter().enumerate();
        let cells: Vec<Vec<String>> =
            cells.map(|(column, width)| wrap(row.get(column).map_or("", String::as_str), *width)).collect();
        for number in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
            let mut line = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let part = cell.get(number).map_or("", String::as_str);
                line.push_str(&format!("{part:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// The least width of a last column.
const LEAST: usize = 20;

/// The widths of columns, so that they fit: the widest are narrowed, down to their longest word.
fn widths(rows: &[&Vec<String>], columns: usize) -> Vec<usize> {
    let of = |column: usize, length: &dyn Fn(&str) -> usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| length(cell)).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns).map(|column| of(column, &|cell| cell.chars().count())).collect();
    let longest = |cell: &str| pieces(cell).map(|piece| piece.trim().chars().count()).max().unwrap_or(0);
    let least: Vec<usize> = (0..columns).map(|column| of(column, &longest)).collect();
    let gaps = 2 * columns.saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > WIDTH {
        let can_give = (0..columns).filter(|column| widths[*column] > least[*column]);
        let Some(widest) = can_give.max_by_key(|column| widths[*column]) else { break };
        widths[widest] -= 1;
    }
    // Only words that are too long exceed the last column.
    if let Some((last, others)) = widths.split_last_mut() {
        let taken = others.iter().sum::<usize>() + gaps;
        *last = (*last).min(WIDTH.saturating_sub(taken).max(LEAST));
    }
    widths
}

/// Where a text may be broken: after spaces, and within lists without any, after commas.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([' ', ','])
}

/// A text in lines of at most `width` columns, broken at spaces, and after commas where a word is longer than a line; at
/// least one line.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in visible(text).split_whitespace() {
        let parts: Vec<&str> = if word.chars().count() > width { pieces(word).collect() } else { vec![word] };
        for (number, part) in parts.into_iter().enumerate() {
            let Some(line) = lines.last_mut() else { break };
            let space = usize::from(number == 0 && !line.is_empty());
            if line.is_empty() || line.chars().count() + space + part.chars().count() <= width {
                line.push_str(&" ".repeat(space));
                line.push_str(part);
            } else {
                lines.push(part.to_owned());
            }
        }
    }
    lines
}

/// A tree of texts, as `explain` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The text of this node.
    pub text: String,
    /// The nodes below it.
    pub children: Vec<Tree>,
    /// How many characters at the start of the text are in colour, and in which.
    lead: Option<(usize, Style, Tone)>,
}

impl Tree {
    /// A node without children.
    #[must_use]
    pub fn leaf(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A node with children.
    #[must_use]
    pub fn node(text: impl Into<String>, children: Vec<Self>) -> Self {
        Self { text: text.into(), children, lead: None }
    }

    /// The node with this many characters at the start of its text in colour.
    #[must_use]
    pub fn led(mut self, characters: usize, style: Style, tone: Tone) -> Self {
        self.lead = Some((characters, style, tone));
        self
    }

    /// The lines of the node's own text.
    fn lines(&self, width: usize) -> Vec<String> {
        let mut lines = wrap(&self.text, width);
        if let (Some((characters, style, tone)), Some(first)) = (self.lead, lines.first_mut()) {
            let end = first.char_indices().nth(characters).map_or(first.len(), |(at, _)| at);
            let (lead, rest) = first.split_at(end);
            *first = format!("{}{rest}", style.paint(tone, lead));
        }
        lines
    }

    /// The tree with its branches drawn, in at most 80 columns.
    #[must_use]
    pub fn drawn(&self) -> String {
        let mut text = String::new();
        for line in self.lines(WIDTH) {
            text.push_str(&line);
            text.push('\n');
        }
        self.draw_children("", &mut text);
        text
    }

    fn draw_children(&self, prefix: &str, text: &mut String) {
        for (index, child) in self.children.iter().enumerate() {
            let is_last = index + 1 == self.children.len();
            let (first, rest) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let under = if child.children.is_empty() { "" } else { "│ " };
            let lines = child.lines(WIDTH.saturating_sub(prefix.chars().count() + 5));
            for (number, line) in lines.iter().enumerate() {
                let branch = if number == 0 { first.to_owned() } else { format!("{rest}{under}") };
                text.push_str(format!("{prefix}{branch}{line}").trim_end());
                text.push('\n');
            }
            child.draw_children(&format!("{prefix}{rest}"), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_fit_80_columns_and_keep_long_words_whole() {
        let long = "word ".repeat(30);
        let name = "n".repeat(90);
        let text = table(&["KIND", "MESSAGE"], &[vec!["Wildcard".into(), long], vec!["A".into(), name.clone()]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "KIND      MESSAGE");
        assert!(lines[1].starts_with("Wildcard  word word"));
        assert!(lines[2].starts_with("          word"));
        assert!(lines.iter().all(|line| line.contains(&name) || line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains(&name));
    }

    #[test]
    fn the_widest_columns_give_and_lists_break_after_commas() {
        let ports = "TCP 443,5671-5672,9350-9354; UDP 443,3478-3481,49152-65535".to_owned();
        let service = "Workspace Environment Management".to_owned();
        let name = "us-console.wem.cloud.com 20.101.50.184/32".to_owned();
        let text = table(&["", "SERVICE", "PORTS", "NAME"], &[vec!["+".into(), service, ports, name]]);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.lines().count() > 2 && text.contains("us-console.wem.cloud.com"), "{text}");
        assert_eq!(wrap("80,443,5671-5672 x", 8), ["80,443,", "5671-5672", "x"]);
    }

    #[test]
    fn trees_are_drawn_with_their_branches() {
        let tree = Tree::node("root", vec![Tree::node("a", vec![Tree::leaf("b ".repeat(50))]), Tree::leaf("c")]);
        let text = tree.drawn();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["root", "├─ a"]);
        assert!(lines[2].starts_with("│  └─ b b") && lines[3].starts_with("│     b b"), "{text}");
        assert_eq!(lines.last(), Some(&"└─ c"));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        assert_eq!(Style::PLAIN.paint(Tone::Good, "x"), "x");
        assert_eq!(Style { colour: true }.paint(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        let tree = Tree::leaf("not allowed: x").led("not allowed".len(), Style { colour: true }, Tone::Bad);
        assert_eq!(tree.drawn(), "\x1b[31mnot allowed\x1b[0m: x\n");
    }

    #[test]
    fn what_comes_from_outside_cannot_act_on_a_terminal() {
        let hostile = "\x1b[2Ja\r\n\u{202e}b";
        let escaped = "\\x1b[2Ja\\r\\n\\u{202e}b";
        assert_eq!(table(&["A", "B"], &[vec![hostile.into(), "1".into()]]).lines().count(), 2);
        assert!(table(&["A"], &[vec![hostile.into()]]).contains(escaped));
        assert_eq!(wrap(hostile, 80), [escaped]);
        assert_eq!(Tree::leaf(hostile).drawn(), format!("{escaped}\n"));
        assert_eq!(line(hostile), format!("{escaped}\n"));
        assert_eq!(Style::PLAIN.shown("\x1b[32ma\n\x1b[0m"), "\\x1b[32ma\n\\x1b[0m");
        let colour = Style { colour: true };
        let good = colour.paint(Tone::Good, "a\n");
        assert_eq!(colour.shown(&good), good);
        assert_eq!(colour.shown("\x1b[32ma\x1b[2J\x1b"), "\x1b[32ma\\x1b[2J\\x1b");
    }
}
