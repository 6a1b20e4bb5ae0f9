//! One HTTP exchange, plain or over TLS, with limits on time and size; what went wrong becomes one line.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::{Client, Method, Response, Url, redirect};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer: longer than the server's own limit for a change.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// For answers that need not have an end; the client knows no other word for it.
const NO_TIMEOUT: Duration = Duration::from_secs(u32::MAX as u64);
/// Most bytes without an end of a line in an answer that is read by lines.
const MAX_FOLLOWED_BYTES: usize = 4 * 1024 * 1024;
/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// The port of an orchestrator's API, where it is plain HTTP.
const DEFAULT_PORT: u16 = 8001;

/// Where a server is.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    client: Client,
    /// Without a slash at the end.
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
    #[error("server {url:?}: {problem}; write http://HOST:PORT or https://HOST")]
    Url { url: String, problem: String },
    /// Nobody listens, or the way is cut.
    #[error("{server}: {problem}")]
    Unreachable { server: String, problem: String },
    /// Somebody answers, but may be somebody else.
    #[error(
        "{server}: {problem}; where its authority is your own, add it to the system's certificates or name its file \
         in SSL_CERT_FILE"
    )]
    Untrusted { server: String, problem: String },
    /// It answered with something else.
    #[error("{server}: the answer cannot be read: {problem}; is this the API of streamkeeper?")]
    Malformed { server: String, problem: String },
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl Server {
    /// Reads a URL. Without a scheme it is plain HTTP.
    pub(crate) fn parse(text: &str) -> Result<Self, HttpError> {
        let refused = |problem: &str| HttpError::Url {
            url: text.to_owned(),
            problem: problem.to_owned(),
        };
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let mut url = Url::parse(&whole).map_err(|error| refused(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("is no http URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("holds a user or password, which the API does not know"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("is no address of a server"));
        }
        // `port()` is none for the scheme's own port as well: who writes :80 means it.
        let says_port = whole.contains(":80/") || whole.ends_with(":80");
        if url.scheme() == "http" && url.port().is_none() && !says_port {
            url.set_port(Some(DEFAULT_PORT))
                .map_err(|()| refused("takes no port"))?;
        }
        let client = client(&url).map_err(|error| refused(&cause(&error)))?;
        Ok(Self {
            client,
            base: url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Sends one request and reads the answer.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, HttpError> {
        let mut request = self
            .client
            .request(method, format!("{}{target}", self.base))
            .header("Accept", "application/json");
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        self.whole(response).await
    }

    /// Asks for an answer that comes line by line and need not have an end. `quiet` is the longest time without a byte.
    pub(crate) async fn follow(&self, target: &str, quiet: Duration) -> Result<Following, HttpError> {
        let request = self
            .client
            .get(format!("{}{target}", self.base))
            .timeout(NO_TIMEOUT)
            .send();
        let response = tokio::time::timeout(ANSWER_TIMEOUT, request)
            .await
            .map_err(|_| self.silent(ANSWER_TIMEOUT))?
            .map_err(|error| self.unreachable(&error))?;
        Ok(Following {
            server: self.clone(),
            response,
            rest: Vec::new(),
            quiet,
        })
    }

    async fn whole(&self, mut response: Response) -> Result<Answer, HttpError> {
        let status = response.status().as_u16();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => {
                    return Err(self.malformed(format!("it has more than {MAX_ANSWER_BYTES} bytes")));
                }
                Ok(None) => return Ok(Answer { status, body }),
                Err(error) if error.is_timeout() => return Err(self.unreachable(&error)),
                Err(error) => return Err(self.malformed(cause(&error))),
            }
        }
    }

    fn silent(&self, patience: Duration) -> HttpError {
        HttpError::Unreachable {
            server: self.base.clone(),
            problem: format!("no answer within {patience:?}"),
        }
    }

    fn malformed(&self, problem: String) -> HttpError {
        HttpError::Malformed {
            server: self.base.clone(),
            problem,
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> HttpError {
        let problem = if error.is_timeout() && error.is_connect() {
            format!("no connection within {CONNECT_TIMEOUT:?}")
        } else if error.is_timeout() {
            return self.silent(ANSWER_TIMEOUT);
        } else {
            cause(error)
        };
        if error.is_connect() && problem.contains("certificate") {
            HttpError::Untrusted {
                server: self.base.clone(),
                problem,
            }
        } else if error.is_connect() || error.is_timeout() {
            HttpError::Unreachable {
                server: self.base.clone(),
                problem,
            }
        } else {
            self.malformed(problem)
        }
    }
}

/// An answer that is read line by line.
pub(crate) struct Following {
    server: Server,
    response: Response,
    /// What came after the last end of a line.
    rest: Vec<u8>,
    quiet: Duration,
}

impl Following {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The whole answer, where it is no such one.
    pub(crate) async fn whole(self) -> Result<Answer, HttpError> {
        tokio::time::timeout(ANSWER_TIMEOUT, self.server.whole(self.response))
            .await
            .unwrap_or_else(|_| Err(self.server.silent(ANSWER_TIMEOUT)))
    }

    /// The next line; none when the answer has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, HttpError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.rest.len() > MAX_FOLLOWED_BYTES {
                let problem = format!("it has a line of more than {MAX_FOLLOWED_BYTES} bytes");
                return Err(self.server.malformed(problem));
            }
            match tokio::time::timeout(self.quiet, self.response.chunk()).await {
                Ok(Ok(Some(chunk))) => self.rest.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Ok(None),
                Ok(Err(error)) => {
                    return Err(HttpError::Unreachable {
                        server: self.server.base.clone(),
                        problem: format!("the connection broke: {}", cause(&error)),
                    });
                }
                Err(_) => return Err(self.server.silent(self.quiet)),
            }
        }
    }
}

/// A client for one server.
fn client(url: &Url) -> reqwest::Result<Client> {
    // Fails only where it was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("streamkeeper/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        // The API redirects nobody; a login page of some proxy in between must not pass for it.
        .redirect(redirect::Policy::none());
    if url.scheme() == "http" {
        // Plain HTTP needs no certificates, and works on machines that have none.
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    builder.build()
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

/// What lies at the bottom of an error: the layers above it only say that something failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn urls_are_read_or_refused() {
        for (url, expected) in [
            ("http://h:1", "http://h:1"),
            ("h", "http://h:8001"),
            ("http://h:80", "http://h"),
            ("http://h:1/base/", "http://h:1/base"),
            ("http://[::1]:9/", "http://[::1]:9"),
            ("http://[::1]", "http://[::1]:8001"),
            ("https://h", "https://h"),
            ("https://h:8443/base", "https://h:8443/base"),
        ] {
            assert_eq!(Server::parse(url).unwrap().to_string(), expected);
        }
        for url in [
            "ftp://h",
            "",
            "http://",
            "http://u:p@h",
            "http://h/?x",
            "http://h:x",
        ] {
            assert!(Server::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn loopback_is_asked_without_a_proxy() {
        for (url, expected) in [
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }

    /// What is made of one answer, given as bytes.
    async fn read(raw: &'static str) -> Result<Answer, HttpError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let answering = async {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let _ = connection.read(&mut request).await.unwrap();
            connection.write_all(raw.as_bytes()).await.unwrap();
            connection.shutdown().await.unwrap();
        };
        tokio::join!(server.exchange(Method::GET, "/", None), answering).0
    }

    #[tokio::test]
    async fn answers_are_read_whole_or_refused() {
        for (raw, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}"),
            ("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\nx", 404, "x"),
            (
                "HTTP/1.1 302 Found\r\nLocation: http://h/\r\nContent-Length: 0\r\n\r\n",
                302,
                "",
            ),
        ] {
            let answer = read(raw).await.unwrap();
            assert_eq!(
                (answer.status, answer.body.as_slice()),
                (status, body.as_bytes()),
                "{raw}"
            );
        }
        for bad in [
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            let error = read(bad).await.unwrap_err();
            assert!(matches!(error, HttpError::Malformed { .. }), "{bad:?}: {error}");
        }
    }

    #[test]
    fn text_is_encoded() {
        assert_eq!(encode("a b/c&d=é"), "a%20b%2Fc%26d%3D%C3%A9");
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        for scheme in ["http", "https"] {
            let server = Server::parse(&format!("{scheme}://{address}")).unwrap();
            let error = server.exchange(Method::GET, "/", None).await.unwrap_err();
            assert!(matches!(error, HttpError::Unreachable { .. }), "{error}");
            assert!(error.to_string().contains(&address.to_string()), "{error}");
            assert!(error.to_string().contains("refused"), "{error}");
        }
    }
}
