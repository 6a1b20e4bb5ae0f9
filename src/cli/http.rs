//! One HTTP/1.1 exchange per connection, over plain TCP. All that the API of an orchestrator and the demo's radio need;
//! no proxy settings, no TLS, no connection that lingers.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer: longer than the server's own limit for a change.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// The port of an orchestrator's API.
const DEFAULT_PORT: u16 = 8001;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Host and port, as in the `Host` header.
    authority: String,
    /// What stands before every path.
    base: String,
}

/// An answer, of whatever status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The URL cannot be used.
    #[error("server {url:?}: {problem}; write http://HOST:PORT")]
    Url { url: String, problem: &'static str },
    /// Nobody listens, or the way is cut.
    #[error("{server}: {problem}")]
    Unreachable { server: Server, problem: String },
    /// It answered with something else.
    #[error("{server}: the answer is no HTTP that can be read: {problem}; is this the API of streamkeeper?")]
    Malformed { server: Server, problem: &'static str },
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.base)
    }
}

impl Server {
    /// Reads a URL.
    pub(crate) fn parse(url: &str) -> Result<Self, HttpError> {
        let refused = |problem| HttpError::Url {
            url: url.to_owned(),
            problem,
        };
        if url.starts_with("https://") {
            return Err(refused(
                "https is not supported, because the API speaks plain HTTP",
            ));
        }
        let rest = url.strip_prefix("http://").unwrap_or(url);
        if rest.contains("://") {
            return Err(refused("is no http URL"));
        }
        let (authority, base) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains(['@', '?', '#', ' ']) || base.contains(['?', '#', ' '])
        {
            return Err(refused("is no address of a server"));
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let base = base.trim_end_matches('/');
        Ok(Self {
            authority: if has_port {
                authority.to_owned()
            } else {
                format!("{}:{DEFAULT_PORT}", authority.trim_end_matches(':'))
            },
            base: if base.is_empty() {
                String::new()
            } else {
                format!("/{base}")
            },
        })
    }

    /// Sends one request and reads the answer.
    pub(crate) async fn exchange(
        &self,
        method: &str,
        target: &str,
        body: Option<&[u8]>,
    ) -> Result<Answer, HttpError> {
        let unreachable = |problem: String| HttpError::Unreachable {
            server: self.clone(),
            problem,
        };
        let connect = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.authority));
        let mut connection = match connect.await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable(format!("no connection within {CONNECT_TIMEOUT:?}"))),
        };
        let exchange = async {
            connection.write_all(&self.request(method, target, body)).await?;
            let mut raw = Vec::new();
            connection.take(MAX_ANSWER_BYTES).read_to_end(&mut raw).await?;
            Ok::<_, std::io::Error>(raw)
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, exchange).await {
            Ok(Ok(raw)) => read_answer(&raw).map_err(|problem| HttpError::Malformed {
                server: self.clone(),
                problem,
            }),
            Ok(Err(error)) => Err(unreachable(error.to_string())),
            Err(_) => Err(unreachable(format!("no answer within {ANSWER_TIMEOUT:?}"))),
        }
    }

    fn request(&self, method: &str, target: &str, body: Option<&[u8]>) -> Vec<u8> {
        let mut request = format!(
            "{method} {}{target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: application/json\r\n",
            self.base, self.authority
        );
        if let Some(body) = body {
            request.push_str("Content-Type: application/json\r\n");
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body.unwrap_or_default());
        request
    }
}

fn read_answer(raw: &[u8]) -> Result<Answer, &'static str> {
    let end = find(raw, b"\r\n\r\n").ok_or("it ends before its headers do")?;
    let head = std::str::from_utf8(&raw[..end]).map_err(|_| "its headers are not text")?;
    let rest = &raw[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .filter(|line| line.starts_with("HTTP/1."))
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok())
        .ok_or("it has no status")?;
    let header = |wanted: &str| {
        head.split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim())
    };
    let body = if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        unchunk(rest)?
    } else {
        match header("content-length").map(str::parse::<usize>) {
            Some(Ok(length)) => rest.get(..length).ok_or("it is cut off")?.to_vec(),
            Some(Err(_)) => return Err("its length is no number"),
            None => rest.to_vec(),
        }
    };
    Ok(Answer { status, body })
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n").ok_or("it is cut off")?;
        let size = std::str::from_utf8(&rest[..end])
            .ok()
            .map(|line| line.split(';').next().unwrap_or_default().trim())
            .and_then(|size| usize::from_str_radix(size, 16).ok())
            .ok_or("a chunk has no size")?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..size).ok_or("it is cut off")?);
        rest = rest.get(size + 2..).ok_or("it is cut off")?;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Text as it may stand in a path or query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        for (url, expected) in [
            ("http://h:1", "http://h:1"),
            ("h", "http://h:8001"),
            ("http://h:1/base/", "http://h:1/base"),
            ("http://[::1]:9/", "http://[::1]:9"),
            ("http://[::1]", "http://[::1]:8001"),
        ] {
            assert_eq!(Server::parse(url).unwrap().to_string(), expected);
        }
        for url in [
            "https://h",
            "ftp://h",
            "",
            "http://",
            "http://u:p@h",
            "http://h/?x",
        ] {
            assert!(Server::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn answers_are_read_whole_or_refused() {
        let read = |text: &str| read_answer(text.as_bytes());
        let answer = |status, body: &str| {
            Ok(Answer {
                status,
                body: body.as_bytes().to_vec(),
            })
        };
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
            answer(200, "{}")
        );
        assert_eq!(read("HTTP/1.1 404 Not Found\r\n\r\nx"), answer(404, "x"));
        assert_eq!(
            read(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\n{\"\r\nA;x\r\n0123456789\r\n0\r\n\r\n"
            ),
            answer(200, "{\"0123456789")
        );
        for bad in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: -\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn text_is_encoded() {
        assert_eq!(encode("a b/c&d=é"), "a%20b%2Fc%26d%3D%C3%A9");
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let server = Server::parse(&address.to_string()).unwrap();
        let error = server.exchange("GET", "/", None).await.unwrap_err();
        assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
