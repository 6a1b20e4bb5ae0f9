//! The greeting of old SHOUTcast servers: `ICY 200 OK`, headers, an empty line, then the stream.
//!
//! It is no HTTP, so it arrives as if it were the beginning of the body.

/// Longest greeting that is looked at, in bytes.
const MAX_BYTES: usize = 16 * 1024;
const FIRST: &[u8] = b"ICY ";
const END: &[u8] = b"\r\n\r\n";

/// What has arrived of the greeting.
#[derive(Debug, Default)]
pub(super) struct Greeting(Vec<u8>);

impl Greeting {
    /// Takes what arrived. Once the greeting is whole and good, tells how many bytes of the stream came with it.
    pub(super) fn take(&mut self, chunk: &[u8]) -> Result<Option<usize>, String> {
        let searched = self.0.len().saturating_sub(END.len() - 1);
        self.0.extend_from_slice(chunk);
        if !self
            .0
            .iter()
            .zip(FIRST)
            .all(|(found, expected)| found == expected)
        {
            return Err("the answer is neither HTTP nor ICY; correct the stream's source".to_owned());
        }
        let end = self.0[searched..]
            .windows(END.len())
            .position(|bytes| bytes == END);
        match end {
            Some(at) => {
                let (head, rest) = self.0.split_at(searched + at + END.len());
                status(head)?;
                Ok(Some(rest.len()))
            }
            None if self.0.len() > MAX_BYTES => {
                Err(format!("the head of the answer is longer than {MAX_BYTES} bytes"))
            }
            None => Ok(None),
        }
    }
}

fn status(head: &[u8]) -> Result<(), String> {
    let head = String::from_utf8_lossy(head);
    let line = head.lines().next().unwrap_or_default().trim();
    if line.split_whitespace().nth(1) == Some("200") {
        return Ok(());
    }
    let shown: String = line.chars().filter(|c| !c.is_control()).take(100).collect();
    Err(format!("answers {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn taken(text: &[u8], size: usize) -> Result<Option<usize>, String> {
        let mut greeting = Greeting::default();
        let mut chunks = text.chunks(size);
        let first = chunks.next().unwrap();
        let mut result = greeting.take(first);
        for chunk in chunks {
            result = match result {
                Ok(Some(body)) => Ok(Some(body + chunk.len())),
                Ok(None) => greeting.take(chunk),
                Err(_) => return result,
            };
        }
        result
    }

    #[test]
    fn a_greeting_is_told_from_the_stream_wherever_it_is_cut() {
        let text = b"ICY 200 OK\r\nicy-name:x\r\n\r\nmusic";
        for size in 1..=text.len() {
            assert_eq!(taken(text, size), Ok(Some(5)), "{size}");
        }
        assert_eq!(taken(b"ICY 200 OK\r\n", 3), Ok(None));
    }

    #[test]
    fn what_is_no_good_greeting_is_told() {
        for (text, expected) in [
            (
                &b"ICY 401 Service Unavailable\r\n\r\n"[..],
                "answers ICY 401 Service Unavailable",
            ),
            (b"SSH-2.0-OpenSSH", "neither HTTP nor ICY"),
            (
                &[b"ICY 200 OK\r\n", &[b'x'; MAX_BYTES][..]].concat(),
                "longer than",
            ),
        ] {
            for size in [1, 5, text.len()] {
                let problem = taken(text, size).unwrap_err();
                assert!(problem.contains(expected), "{problem}");
            }
        }
    }
}
