//! What is wrong with an expression, and where in its text.

use std::ops::Range;

/// One thing that is wrong: where, what was found, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes of the expression's text that it is about; empty at the end of the text.
    pub span: Range<usize>,
    /// What was found and what would be right, in one line.
    pub message: String,
}

impl Fault {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    /// The message, the line of `text` that it is about, and carets under the place, as a terminal shows it.
    pub fn with_excerpt(&self, text: &str) -> String {
        let start = floor(text, self.span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor(text, self.span.end).clamp(start, line_end);
        let indent: String = text[line_start..start].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(text[start..end].chars().count().max(1));
        format!("{}\n    {}\n    {indent}{carets}", self.message, &text[line_start..line_end])
    }
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_under_the_place_and_stay_on_its_line() {
        let text = "giaddr ==\n\tföö and x";
        let at = text.find("föö").unwrap();
        assert_eq!(Fault::new(at..at + 5, "no").with_excerpt(text), "no\n    \tföö and x\n    \t^^^");
        assert_eq!(Fault::new(text.len()..text.len(), "no").with_excerpt("ab"), "no\n    ab\n      ^");
        assert_eq!(Fault::new(7..20, "no").with_excerpt(text), "no\n    giaddr ==\n           ^^");
    }
}
