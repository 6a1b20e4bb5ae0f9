//! A plain connection to the message server. Not the client that workers use: it makes a task and an allocation or two for
//! each message, and would be the limit of what is measured.

use std::path::Path;

use serde_json::json;
use streamkeeper_protocol::connect::{CONNECT_FILE, Connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::failure::Failure;

/// Bytes that are read at a time.
const READ_BYTES: usize = 256 * 1024;
/// Longest line of the server's, that with its own description included.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) subject: &'a str,
    pub(super) reply: Option<&'a str>,
    pub(super) payload: &'a [u8],
}

/// What comes.
#[derive(Debug)]
pub(super) struct Incoming {
    half: OwnedReadHalf,
    buffer: Vec<u8>,
}

/// What goes.
#[derive(Debug)]
pub(super) struct Outgoing {
    half: OwnedWriteHalf,
    buffer: Vec<u8>,
}

/// Connects as a worker, by the `connect.json` of the folder; gives the prefix of all subjects as well.
pub(super) async fn connect(folder: &Path) -> Result<(Incoming, Outgoing, String), Failure> {
    let path = folder.join(CONNECT_FILE);
    let failed =
        |what: &str| Failure::failed(format!("bench: {}: the message server {what}", path.display()));
    let bytes = std::fs::read(&path).map_err(|error| failed(&format!("is not named: {error}")))?;
    let found: Connect =
        serde_json::from_slice(&bytes).map_err(|error| failed(&format!("is not named: {error}")))?;
    let address = found.urls.first().and_then(|url| url.strip_prefix("nats://"));
    let address = address.ok_or_else(|| failed("has no address"))?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| failed(&format!("does not answer: {error}")))?;
    // Answers are timed.
    stream
        .set_nodelay(true)
        .map_err(|error| failed(&error.to_string()))?;
    let (read, write) = stream.into_split();
    let mut incoming = Incoming {
        half: read,
        buffer: Vec::with_capacity(READ_BYTES),
    };
    let mut outgoing = Outgoing {
        half: write,
        buffer: Vec::with_capacity(READ_BYTES),
    };
    let login = json!({
        "verbose": false,
        "pedantic": false,
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "name": "streamkeeper bench",
        "user": found.user,
        "pass": found.password,
    });
    outgoing.line(&format!("CONNECT {login}"));
    outgoing.line("PING");
    outgoing.flush().await?;
    // Its description, then the answer; a refusal comes in its place.
    loop {
        let mut welcome = None;
        incoming
            .read(|_| {}, |line| welcome = Some(line.to_owned()))
            .await?;
        match welcome.as_deref() {
            Some("PONG") => return Ok((incoming, outgoing, found.prefix)),
            Some(refusal) if refusal.starts_with("-ERR") => return Err(failed(&format!("says {refusal}"))),
            _ => {}
        }
    }
}

impl Outgoing {
    fn line(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
        self.buffer.extend_from_slice(b"\r\n");
    }

    pub(super) fn subscribe(&mut self, subject: &str, number: u32) {
        self.line(&format!("SUB {subject} {number}"));
    }

    pub(super) fn pong(&mut self) {
        self.line("PONG");
    }

    pub(super) fn publish(&mut self, subject: &str, payload: &[u8]) {
        self.buffer.extend_from_slice(b"PUB ");
        self.line(&format!("{subject} {}", payload.len()));
        self.buffer.extend_from_slice(payload);
        self.buffer.extend_from_slice(b"\r\n");
    }

    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        let written = self.half.write_all(&self.buffer).await;
        self.buffer.clear();
        written.map_err(lost)
    }
}

impl Incoming {
    /// Waits for more, and hands over every message that is complete, and every other line. Nothing is lost where it is given
    /// up meanwhile.
    pub(super) async fn read(
        &mut self,
        mut message: impl FnMut(Message<'_>),
        mut line: impl FnMut(&str),
    ) -> Result<(), Failure> {
        self.buffer.reserve(READ_BYTES);
        let read = self.half.read_buf(&mut self.buffer).await.map_err(lost)?;
        if read == 0 {
            return Err(Failure::failed("bench: the message server closed the connection"));
        }
        let mut at = 0;
        while let Some((found, taken)) = parse(&self.buffer[at..])? {
            match found {
                Found::Message(found) => message(found),
                Found::Line(found) => line(found),
            }
            at += taken;
        }
        self.buffer.drain(..at);
        Ok(())
    }
}

fn lost(error: std::io::Error) -> Failure {
    Failure::failed(format!("bench: the message server is gone: {error}"))
}

/// What stands at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Found<'a> {
    Message(Message<'a>),
    Line(&'a str),
}

/// The first message or line, and how many bytes it has; none while it is not complete.
fn parse(bytes: &[u8]) -> Result<Option<(Found<'_>, usize)>, Failure> {
    let strange = |what: &str| {
        Failure::failed(format!(
            "bench: the message server says what nobody expects: {what}"
        ))
    };
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return match bytes.len() {
            0..MAX_LINE_BYTES => Ok(None),
            _ => Err(strange("a line without an end")),
        };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| strange("no text"))?;
    let Some(head) = line.strip_prefix("MSG ") else {
        return Ok(Some((Found::Line(line), end + 2)));
    };
    let mut words = head.split(' ').filter(|word| !word.is_empty());
    let subject = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.skip(1).collect();
    let (reply, length) = match rest[..] {
        [length] => (None, length),
        [reply, length] => (Some(reply), length),
        _ => return Err(strange(line)),
    };
    let length: usize = length.parse().map_err(|_| strange(line))?;
    let from = end + 2;
    let Some(payload) = bytes
        .get(from..from + length)
        .filter(|_| bytes.len() >= from + length + 2)
    else {
        return Ok(None);
    };
    let message = Message {
        subject,
        reply,
        payload,
    };
    Ok(Some((Found::Message(message), from + length + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole() {
        let bytes = b"MSG a.b 1 3\r\nx\r\n\r\nMSG a.b 1 _I.1 2\r\nyz\r\nPING\r\nMSG";
        let (found, taken) = parse(bytes).unwrap().unwrap();
        let first = Message {
            subject: "a.b",
            reply: None,
            payload: b"x\r\n",
        };
        assert_eq!(found, Found::Message(first));
        let rest = &bytes[taken..];
        let (found, taken) = parse(rest).unwrap().unwrap();
        let second = Message {
            subject: "a.b",
            reply: Some("_I.1"),
            payload: b"yz",
        };
        assert_eq!(found, Found::Message(second));
        let rest = &rest[taken..];
        assert_eq!(parse(rest).unwrap(), Some((Found::Line("PING"), 6)));
        assert_eq!(parse(&rest[6..]).unwrap(), None);
        for cut in 0..bytes.len() - 1 {
            assert!(parse(&bytes[..cut]).is_ok(), "{cut}");
        }
        assert!(parse(b"MSG a 1 many\r\n").is_err());
    }
}
