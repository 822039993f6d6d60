//! Texts of others on a terminal, which obeys what it prints.

/// The text, with controls and what turns the direction of writing as escapes.
pub(super) fn text(text: &str) -> String {
    let is_shown = |c: char| c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ';
    let show = |c: char| {
        if is_shown(c) {
            c.to_string()
        } else {
            c.escape_unicode().to_string()
        }
    };
    text.chars().map(show).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_text_is_printed_so_that_no_terminal_obeys_it() {
        for (text, shown) in [
            ("ann@example.com", "ann@example.com"),
            ("Jörg 王", "Jörg 王"),
            ("a\u{1b}[2J\nb", "a\\u{1b}[2J\\u{a}b"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{200b}b", "a\\u{200b}b"),
        ] {
            assert_eq!(super::text(text), shown);
        }
    }
}
