//! What a command wrote, as people can read it: bounded, without control characters and passwords.

/// How much of the output is kept, in bytes.
const KEPT_BYTES: usize = 4 * 1024;
/// Longest reason made of it, in bytes. With the status before it, it fits the wire's limit for texts.
pub(crate) const MAX_REASON_BYTES: usize = 900;
/// Longest line of output that is logged, in bytes.
const MAX_LINE_BYTES: usize = 4 * 1024;

/// The end of an output that may be endless.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    /// Takes what was read.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        let excess = self.bytes.len().saturating_sub(KEPT_BYTES);
        if excess > 0 {
            self.bytes.drain(..excess);
            self.cut = true;
        }
    }

    /// The last lines as one line, masked.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let whole = if self.cut {
            // The first word may be the rest of an URL whose scheme is lost: its password would not be found.
            text.split_once(char::is_whitespace).map_or("", |(_, rest)| rest)
        } else {
            &text
        };
        let plain = without_escapes(whole);
        let lines: Vec<&str> = plain
            .split(['\n', '\r'])
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        last_bytes(&mask(&lines.join("; ")), MAX_REASON_BYTES)
    }
}

/// A line as a command wrote it, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawLine {
    bytes: Vec<u8>,
    cut: bool,
}

impl RawLine {
    pub(crate) fn is_blank(&self) -> bool {
        self.bytes.iter().all(u8::is_ascii_whitespace)
    }
}

/// Makes lines of chunks. Both ends of lines count: progress is often shown with carriage returns alone.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    bytes: Vec<u8>,
    cut: bool,
}

impl Splitter {
    /// Takes from the chunk up to the end of a line. None when it is used up without one.
    pub(crate) fn next(&mut self, chunk: &mut &[u8]) -> Option<RawLine> {
        let end = chunk.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (part, after) = chunk.split_at(end.unwrap_or(chunk.len()));
        let room = MAX_LINE_BYTES - self.bytes.len();
        self.cut |= part.len() > room;
        self.bytes.extend_from_slice(&part[..part.len().min(room)]);
        *chunk = after.get(1..).unwrap_or_default();
        end.map(|_| self.take())
    }

    /// What was written after the last end of a line.
    pub(crate) fn rest(&mut self) -> Option<RawLine> {
        (!self.bytes.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> RawLine {
        RawLine {
            bytes: std::mem::take(&mut self.bytes),
            cut: std::mem::take(&mut self.cut),
        }
    }
}

/// A line as it is logged, masked.
pub(crate) fn line(raw: &RawLine) -> String {
    let plain = without_escapes(&String::from_utf8_lossy(&raw.bytes));
    let kept = plain.trim_end();
    if !raw.cut {
        return mask(kept);
    }
    // A login that was cut before its @ would not be found.
    let open = kept.rfind("://").map(|at| at + 3);
    let whole = match open {
        Some(from) if !kept[from..].contains(ends_authority) => &kept[..from],
        Some(_) | None => kept,
    };
    format!("{}…", mask(whole))
}

fn ends_authority(c: char) -> bool {
    c.is_whitespace() || matches!(c, '/' | '?' | '#')
}

/// Replaces the passwords of URLs: `scheme://user:password@` becomes `scheme://user:***@`.
pub(crate) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, from) = rest.split_at(at + 3);
        masked.push_str(before);
        let end = from.find(ends_authority).unwrap_or(from.len());
        let (authority, after) = from.split_at(end);
        match authority.rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split_once(':').map(|(user, _)| user);
                masked.push_str(user.unwrap_or(login));
                masked.push_str(if user.is_some() { ":***@" } else { "@" });
                masked.push_str(host);
            }
            None => masked.push_str(authority),
        }
        rest = after;
    }
    masked.push_str(rest);
    masked
}

/// Leaves out terminal colours and other control characters, line ends excepted.
fn without_escapes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.next_if_eq(&'[').is_some() {
            // A control sequence ends with its first character from @ to ~.
            while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
            chars.next();
        } else if c == '\t' {
            plain.push(' ');
        } else if !c.is_control() || matches!(c, '\n' | '\r') {
            plain.push(c);
        }
    }
    plain
}

fn last_bytes(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut from = text.len() - limit + '…'.len_utf8();
    while !text.is_char_boundary(from) {
        from += 1;
    }
    format!("…{}", &text[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked() {
        for (text, expected) in [
            ("no url", "no url"),
            (
                "rtsp://cam:s3cret@10.0.0.1/live: refused",
                "rtsp://cam:***@10.0.0.1/live: refused",
            ),
            (
                "http://u:p@ss:w@h:80 x https://a:b@c",
                "http://u:***@h:80 x https://a:***@c",
            ),
            ("http://:p@h", "http://:***@h"),
            ("http://user@h", "http://user@h"),
            ("http://h:80/a:b@c", "http://h:80/a:b@c"),
            ("http://h?x=a:b@c ://", "http://h?x=a:b@c ://"),
            ("'srt://u:it's@h' failed", "'srt://u:***@h' failed"),
        ] {
            assert_eq!(mask(text), expected);
        }
    }

    #[test]
    fn a_tail_is_one_line_without_colours() {
        let mut tail = Tail::default();
        tail.push(b"\x1b[0;31mfirst\x1b[0m\r\n\n  frame=1\rframe=2\t\x07\nlast \xff\n");
        assert_eq!(tail.text(), "first; frame=1; frame=2; last \u{fffd}");
    }

    #[test]
    fn a_tail_is_bounded_and_keeps_the_end() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(format!("line {number} ä\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.len() <= MAX_REASON_BYTES && tail.bytes.len() <= KEPT_BYTES);
        assert!(text.starts_with('…') && text.ends_with("line 9999 ä"), "{text}");
    }

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while let Some(raw) = splitter.next(&mut rest) {
                lines.push(line(&raw));
            }
        }
        lines.extend(splitter.rest().map(|raw| line(&raw)));
        lines
    }

    #[test]
    fn chunks_become_lines_without_passwords() {
        assert_eq!(
            lines(&[b"one\ntw", b"o\r", b"\x1b[1mrtsp://u:s3", b"cret@h\x1b[0m \nlast"]),
            ["one", "two", "rtsp://u:***@h", "last"]
        );
        assert_eq!(lines(&[b"", b"\n", b"\n\n"]), ["", "", ""]);
    }

    #[test]
    fn a_long_line_is_cut_and_shows_no_password_wherever_that_is() {
        for padding in 0..80 {
            let text = [
                &vec![b'x'; MAX_LINE_BYTES - padding][..],
                b" rtsp://camera-user:s3cret-password@host/live: bad ",
                &[b'y'; MAX_LINE_BYTES],
                b"\nnext",
            ]
            .concat();
            let found = lines(&[&text[..5], &text[5..]]);
            assert_eq!((found.len(), found[1].as_str()), (2, "next"));
            assert!(found[0].ends_with('…') && found[0].len() <= MAX_LINE_BYTES + '…'.len_utf8());
            assert!(
                !found[0].contains("s3c") && !found[0].contains("pass"),
                "{padding}: {}",
                found[0]
            );
        }
    }

    #[test]
    fn an_url_that_was_cut_shows_no_password() {
        // Wherever the cut falls, the password is not seen.
        for padding in 0..80 {
            let mut tail = Tail::default();
            tail.push(b"rtsp://camera-user:s3cret-password@host/live: bad\n");
            tail.push(&vec![b'x'; KEPT_BYTES - padding]);
            let text = tail.text();
            assert!(
                !text.contains("s3cret") && !text.contains("password"),
                "{padding}: {text}"
            );
        }
    }
}
