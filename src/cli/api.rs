//! The orchestrator's API as the verbs use it: JSON in and out, problems as failures with the right exit code.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::http::{Answer, Following, HttpError, Server};

#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// The orchestrator's API
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8001",
        env = "STREAMKEEPER_SERVER"
    )]
    pub(crate) server: String,
}

impl ServerArgs {
    pub(crate) fn api(&self) -> Result<Api, Failure> {
        Api::new(&self.server)
    }
}

/// The API of one orchestrator.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    server: Server,
}

/// Why a call did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The server says what is wrong.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The answer is something else.
    #[error("{server}: the answer to {target} cannot be read: {problem}; is this the API of streamkeeper?")]
    Shape {
        server: String,
        target: String,
        problem: String,
    },
}

/// Problem details (RFC 9457).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) suggestion: Option<String>,
    pub(crate) errors: Vec<ProblemItem>,
}

/// One of several mistakes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ProblemItem {
    pub(crate) pointer: Option<String>,
    pub(crate) parameter: Option<String>,
    pub(crate) dependency: Option<String>,
    pub(crate) detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.title, self.status)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        for item in &self.errors {
            let place = [&item.pointer, &item.parameter, &item.dependency]
                .into_iter()
                .flatten()
                .next();
            match place {
                Some(place) => write!(f, "\n  {place}: {}", item.detail)?,
                None => write!(f, "\n  {}", item.detail)?,
            }
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n  {suggestion}")?;
        }
        Ok(())
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let exit = match &error {
            ApiError::Http(HttpError::Url { .. }) => Exit::Usage,
            ApiError::Http(HttpError::Unreachable { .. }) => {
                let text = format!(
                    "{error}; does the orchestrator run there? name another one with --server or STREAMKEEPER_SERVER"
                );
                return Self::new(Exit::Unreachable, text);
            }
            ApiError::Http(HttpError::Untrusted { .. }) => Exit::Unreachable,
            ApiError::Problem(problem) if (400..500).contains(&problem.status) => Exit::Refused,
            ApiError::Http(HttpError::Malformed { .. }) | ApiError::Problem(_) | ApiError::Shape { .. } => {
                Exit::Failed
            }
        };
        Self::new(exit, error.to_string())
    }
}

impl Api {
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        let server = Server::parse(url).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Self { server })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, ApiError> {
        self.ask(Method::GET, target, None).await
    }

    pub(crate) async fn put(&self, target: &str, body: &Value) -> Result<Value, ApiError> {
        self.ask(Method::PUT, target, Some(body)).await
    }

    pub(crate) async fn post(&self, target: &str, body: &Value) -> Result<Value, ApiError> {
        self.ask(Method::POST, target, Some(body)).await
    }

    pub(crate) async fn delete(&self, target: &str) -> Result<Value, ApiError> {
        self.ask(Method::DELETE, target, None).await
    }

    /// An answer that is read line by line; `quiet` is the longest time without a byte of it.
    pub(crate) async fn follow(&self, target: &str, quiet: Duration) -> Result<Following, ApiError> {
        let following = self.server.follow(target, quiet).await?;
        if (200..300).contains(&following.status()) {
            return Ok(following);
        }
        let answer = following.whole().await?;
        Err(self.refusal(target, &answer))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<T, ApiError> {
        let body = body.map(|body| body.to_string().into_bytes());
        let answer = self.server.exchange(method, target, body).await?;
        self.read(target, &answer)
    }

    fn read<T: DeserializeOwned>(&self, target: &str, answer: &Answer) -> Result<T, ApiError> {
        if (200..300).contains(&answer.status) {
            return serde_json::from_slice(&answer.body)
                .map_err(|error| self.shape(target, error.to_string()));
        }
        Err(self.refusal(target, answer))
    }

    fn refusal(&self, target: &str, answer: &Answer) -> ApiError {
        match serde_json::from_slice::<Problem>(&answer.body) {
            Ok(problem) if !problem.title.is_empty() => ApiError::Problem(Box::new(Problem {
                status: answer.status,
                ..problem
            })),
            _ => self.shape(target, format!("status {} without an explanation", answer.status)),
        }
    }

    fn shape(&self, target: &str, problem: String) -> ApiError {
        ApiError::Shape {
            server: self.server.to_string(),
            target: target.to_owned(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: u16, body: &str) -> Result<Value, Failure> {
        let api = Api::new("http://h:1").unwrap();
        let answer = Answer {
            status,
            body: body.as_bytes().to_vec(),
        };
        api.read::<Value>("/x", &answer).map_err(Failure::from)
    }

    #[test]
    fn every_way_to_fail_has_its_exit_code() {
        assert!(outcome(200, "{}").is_ok());
        for (status, body, exit, part) in [
            (
                404,
                r#"{"title":"No such stream","detail":"x"}"#,
                Exit::Refused,
                "No such stream (404): x",
            ),
            (
                422,
                r#"{"title":"T","errors":[{"pointer":"/streams/0/source","detail":"is empty"}],"suggestion":"S"}"#,
                Exit::Refused,
                "\n  /streams/0/source: is empty\n  S",
            ),
            (503, r#"{"title":"Not leading"}"#, Exit::Failed, "(503)"),
            (404, "<html>", Exit::Failed, "is this the API of streamkeeper?"),
            (200, "<html>", Exit::Failed, "cannot be read"),
        ] {
            let failure = outcome(status, body).unwrap_err();
            assert_eq!(failure.exit, exit, "{body}");
            assert!(failure.text.contains(part), "{}", failure.text);
        }
        assert_eq!(Api::new("ftp://h").unwrap_err().exit, Exit::Usage);
    }
}
