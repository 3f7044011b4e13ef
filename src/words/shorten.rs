//! Texts of clients and files in messages.

/// A text cut to a length that is fit for an error message.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain(['…']).collect()
}

/// A text cut to about this many bytes: three quarters of them from its beginning, and the rest from its end, where a
/// message says what was expected.
pub(crate) fn shorten_middle(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let boundary = |mut position: usize| {
        while !text.is_char_boundary(position) {
            position -= 1;
        }
        position
    };
    let tail = bytes / 4;
    let (head, tail) = (boundary(bytes - tail), boundary(text.len() - tail));
    format!("{} … {}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_long_text_is_cut() {
        assert_eq!(shorten_middle("short", 8), "short");
        assert_eq!(shorten_middle("abcdefghij", 8), "abcdef … ij");
        let umlauts = "ä".repeat(100);
        let cut = shorten_middle(&umlauts, 9);
        assert!(cut.starts_with("ää") && cut.ends_with('ä') && cut.len() < 20);
    }
}
