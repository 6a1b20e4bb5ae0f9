//! One HTTP exchange, plain or over TLS, with limits on time and size; what went wrong becomes one line.

#[cfg(test)]
mod tests;

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
/// How a standby says where the leader is.
const REDIRECT: u16 = 307;
/// Most orchestrators that are asked one after the other: the lead may pass on meanwhile.
const MAX_REDIRECTS: usize = 4;
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
        let (server, response) = self.send(method, target, body, ANSWER_TIMEOUT).await?;
        server.whole(response).await
    }

    /// Asks for an answer that comes line by line and need not have an end. `quiet` is the longest time without a byte.
    pub(crate) async fn follow(&self, target: &str, quiet: Duration) -> Result<Following, HttpError> {
        let sent = self.send(Method::GET, target, None, NO_TIMEOUT);
        let (server, response) = tokio::time::timeout(ANSWER_TIMEOUT, sent)
            .await
            .map_err(|_| self.silent(ANSWER_TIMEOUT))??;
        Ok(Following {
            server,
            response,
            rest: Vec::new(),
            quiet,
        })
    }

    /// Sends a request. Where the server is a standby, the leader that it names is asked.
    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<Vec<u8>>,
        timeout: Duration,
    ) -> Result<(Self, Response), HttpError> {
        let mut server = self.clone();
        for _ in 0..MAX_REDIRECTS {
            let mut request = server
                .client
                .request(method.clone(), format!("{}{target}", server.base))
                .timeout(timeout)
                .header("Accept", "application/json");
            if let Some(body) = body.clone() {
                request = request.header("Content-Type", "application/json").body(body);
            }
            let response = request.send().await.map_err(|error| server.unreachable(&error))?;
            let leader = leader_of(&response, target).map(str::to_owned);
            match leader {
                Some(leader) => server = Self::parse(&leader)?,
                None => return Ok((server, response)),
            }
        }
        Err(server.malformed(format!(
            "{MAX_REDIRECTS} orchestrators in a row name another as the leader; ask again in a moment"
        )))
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

/// Where a standby says that the leader is: the same path elsewhere. Everything else is no standby, but some proxy's page.
fn leader_of<'a>(response: &'a Response, target: &str) -> Option<&'a str> {
    let place = response.headers().get("Location")?.to_str().ok()?;
    let is_redirect = response.status().as_u16() == REDIRECT;
    place.strip_suffix(target).filter(|_| is_redirect)
}

/// A client for one server.
fn client(url: &Url) -> reqwest::Result<Client> {
    // Fails only where it was installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("streamkeeper/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        // Only a standby's redirect is followed, by us; a login page of some proxy in between must not pass for it.
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
