//! Words of others, made fit for the wire.

use streamkeeper_protocol::limit::MAX_TEXT_BYTES;

/// `text` cut to the wire's limit and on one line: a leader refuses a whole heartbeat for one text that is too long.
pub(super) fn plain(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = text.get(..end).unwrap_or_default();
    // The space is never longer than what it replaces, so the limit still holds.
    kept.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_many_lined_texts_are_made_fit() {
        let long = "x".repeat(MAX_TEXT_BYTES - 1);
        for (text, expected) in [
            ("", String::new()),
            ("a\r\nb\u{1b}[0mc\u{85}\u{7f}", "a  b [0mc  ".to_owned()),
            (&format!("{long}yz"), format!("{long}y")),
            (&format!("{long}\u{e4}"), long.clone()),
            (&format!("{long}\n\n"), format!("{long} ")),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }
}
