//! Text for people: tables and paragraphs of at most 80 columns, and colour where it is welcome. Pure.

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

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What is allowed, added, well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What is denied, removed, wrong.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What changed, or wants to be seen.
    #[must_use]
    pub fn notable(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// A heading.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// A table: columns as wide as their longest cell, the last one wrapped at word boundaries into what is left of 80
/// columns. A cell too long for that stays whole: a name that is cut cannot be copied.
#[must_use]
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let columns = headings.len();
    let last = columns.saturating_sub(1);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..last).map(width).collect();
    let indent: usize = widths.iter().map(|width| width + 2).sum();
    let mut text = String::new();
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        let tail = row.get(last).map(String::as_str).unwrap_or_default();
        let lines = wrap(tail, WIDTH.saturating_sub(indent).max(20));
        for (number, part) in lines.iter().enumerate() {
            if number > 0 {
                line = " ".repeat(indent);
            }
            line.push_str(part);
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// A text in lines of at most `width` columns, broken at spaces only; at least one line.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A tree of texts, as `explain` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// What stands at this node.
    pub text: String,
    /// What stands below.
    pub children: Vec<Tree>,
}

impl Tree {
    /// A node without children.
    #[must_use]
    pub fn leaf(text: impl Into<String>) -> Self {
        Self { text: text.into(), children: Vec::new() }
    }

    /// A node with children.
    #[must_use]
    pub fn node(text: impl Into<String>, children: Vec<Self>) -> Self {
        Self { text: text.into(), children }
    }

    /// The tree with its branches drawn, in at most 80 columns.
    #[must_use]
    pub fn drawn(&self) -> String {
        let mut text = String::new();
        for line in wrap(&self.text, WIDTH) {
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
            for (number, line) in wrap(&child.text, WIDTH.saturating_sub(prefix.chars().count() + 5)).iter().enumerate()
            {
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
    fn colour_is_only_where_it_is_welcome() {
        assert_eq!(Style::PLAIN.good("x"), "x");
        assert_eq!(Style { colour: true }.bad("x"), "\x1b[31mx\x1b[0m");
    }
}
