//! A client for plain HTTP on loopback.

use std::net::Ipv4Addr;
use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(15);

/// A client that gives up after some seconds and never goes through a proxy.
///
/// # Panics
/// Panics where the client cannot be built.
pub fn client() -> reqwest::Client {
    // The client is built without a TLS provider of its own and refuses to start without one, even for plain HTTP. An
    // error says that it is installed already.
    let _ = async_nats::rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .no_proxy()
        .build()
        .expect("an HTTP client")
}

/// An answer: its status and, where it is JSON, its body.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body; a JSON string where it is not JSON.
    pub body: Value,
}

/// The HTTP API of one orchestrator.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    client: reqwest::Client,
}

impl Api {
    /// The API on a loopback port.
    pub fn new(port: u16) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, port)
    }

    /// The API at an address.
    pub fn at(address: Ipv4Addr, port: u16) -> Self {
        Self {
            base: format!("http://{address}:{port}"),
            client: client(),
        }
    }

    /// The URL without a path.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a request, whatever the answer.
    ///
    /// # Errors
    /// When there is no answer, in words.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| format!("{path}: {error:?}"))?;
        let status = response.status().as_u16();
        let text = response
            .text()
            .await
            .map_err(|error| format!("{path}: {error:?}"))?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }

    /// Reads a path.
    ///
    /// # Errors
    /// When the answer is not 200, in words.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        let answer = self.send(Method::GET, path, None).await?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(format!("{path}: {} {}", answer.status, answer.body))
        }
    }

    /// Reads a list to its end, page by page.
    ///
    /// # Errors
    /// When an answer is not 200, or no such list, in words.
    pub async fn list(&self, name: &str) -> Result<Vec<Value>, String> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.get(&format!("/api/v1/{name}?limit=1000{after}")).await?;
            let found = page[name]
                .as_array()
                .ok_or_else(|| format!("{name}: no list of this name in {page}"))?;
            items.extend(found.iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return Ok(items),
            }
        }
    }
}
