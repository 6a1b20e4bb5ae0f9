//! The built-in reader: holds a connection to each source, a live HTTP or Icecast stream, and reads it.
//!
//! Each attempt is one `run`: whatever ends it is a failure of the stream, and the session comes back with its backoff.

mod icy;
mod problem;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Response, Url, Version, redirect};
use streamkeeper_worker::{Epoch, Job, LogFd, Performance, StreamHandler, StreamId};
use tokio::time::{Instant, timeout};

use crate::text;
use icy::Greeting;

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Between two measurements of a stream that flows.
const RATE_EVERY: Duration = Duration::from_secs(10);
/// Most streams whose stalls are remembered over their attempts.
const MAX_STALLED: usize = 1_024;
const AGENT: &str = concat!("streamkeeper/", env!("CARGO_PKG_VERSION"));

/// Reads every stream itself.
pub(crate) struct HttpHandler {
    client: Client,
    stall_after: Duration,
    stalls: Stalls,
}

impl HttpHandler {
    pub(crate) fn new(stall_after: Duration) -> Result<Self, String> {
        // The client comes without a TLS provider of its own. An error says that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(AGENT)
                .connect_timeout(stall_after)
                .redirect(redirect::Policy::limited(MAX_REDIRECTS))
                // A connection belongs to one stream and ends with it.
                .pool_max_idle_per_host(0)
                // Old SHOUTcast servers begin with `ICY 200 OK`, which is no HTTP.
                .http09_responses()
        };
        let client = builder().build().or_else(|error| {
            let error = problem::root_cause(&error);
            tracing::warn!(
                error,
                "no server can be trusted, so that https:// cannot be read; install ca-certificates"
            );
            let untrusting = builder().tls_certs_only([]).build();
            untrusting.map_err(|error| problem::root_cause(&error))
        })?;
        Ok(Self {
            client,
            stall_after,
            stalls: Stalls::default(),
        })
    }

    /// Reads until something ends it, which is told.
    async fn read(&self, job: &Job) -> String {
        let source = &job.spec.source;
        let url = match Url::parse(source) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => url,
            Ok(_) => {
                let source = text::mask(source);
                return format!(
                    "{source}: only http:// and https:// are read; run other sources with --exec"
                );
            }
            Err(error) => {
                return format!(
                    "{}: no URL: {error}; correct the stream's source",
                    text::mask(source)
                );
            }
        };
        let place = problem::place(&url);
        let problem = match self.open(url).await {
            Ok(response) => self.follow(job, response).await,
            Err(problem) => problem,
        };
        format!("{place}: {problem}")
    }

    async fn open(&self, url: Url) -> Result<Response, String> {
        let asked = problem::place(&url);
        let answer = timeout(self.stall_after, self.client.get(url).send()).await;
        let response = answer
            .map_err(|_| format!("no answer within {:?}", self.stall_after))?
            .map_err(|error| problem::of_request(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let from = problem::place(response.url());
        let by = if from == asked {
            String::new()
        } else {
            format!("redirected to {from}, which ")
        };
        Err(format!("{by}answers {}", problem::of_status(status)))
    }

    async fn follow(&self, job: &Job, mut response: Response) -> String {
        let mut greeting = (response.version() == Version::HTTP_09).then(Greeting::default);
        let mut flow = Flow::new(Instant::now());
        loop {
            let chunk = match timeout(self.stall_after, response.chunk()).await {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return format!("the source ended the stream after {} bytes", flow.bytes),
                Ok(Err(error)) => {
                    let cause = problem::root_cause(&error);
                    return format!("the connection broke after {} bytes: {cause}", flow.bytes);
                }
                Err(_) => {
                    self.stalls.count(job);
                    let patience = self.stall_after;
                    return format!("stalled: no byte for {patience:?} after {} bytes", flow.bytes);
                }
            };
            let count = match greeting.as_mut().map(|greeting| greeting.take(&chunk)) {
                None => chunk.len(),
                Some(Ok(None)) => continue,
                Some(Ok(Some(body))) => {
                    greeting = None;
                    body
                }
                Some(Err(problem)) => return problem,
            };
            if count > 0 {
                self.count(job, &mut flow, count).await;
            }
        }
    }

    async fn count(&self, job: &Job, flow: &mut Flow, count: usize) {
        if flow.bytes == 0 {
            self.report(job, None);
            tracing::info!(stream = %job.stream, epoch = %job.epoch, reconnects = job.attempt, "the stream flows");
            job.log(LogFd::Worker, "the stream flows");
            job.up().await;
        }
        if let Some(bytes_per_second) = flow.add(count, Instant::now()) {
            self.report(job, Some(bytes_per_second));
            tracing::debug!(stream = %job.stream, epoch = %job.epoch, bytes_per_second, bytes = flow.bytes,
                reconnects = job.attempt, "the stream flows");
        }
    }

    fn report(&self, job: &Job, bytes_per_second: Option<u64>) {
        job.meter.report(Performance {
            bytes_per_second,
            stalls: Some(self.stalls.of(job)),
            reconnects: Some(job.attempt),
            ..Performance::default()
        });
    }
}

#[async_trait]
impl StreamHandler for HttpHandler {
    async fn run(&self, job: Job) -> String {
        tokio::select! {
            reason = self.read(&job) => {
                tracing::info!(stream = %job.stream, epoch = %job.epoch, %reason, "the stream does not flow");
                job.log(LogFd::Worker, &reason);
                reason
            }
            // The connection is closed as the reading is dropped.
            () = job.stop.cancelled() => {
                self.stalls.forget(&job);
                "stopped".to_owned()
            }
        }
    }
}

/// How often streams stalled under their present epochs. Each stall ends an attempt, so the attempts cannot count them.
#[derive(Default)]
struct Stalls(Mutex<BTreeMap<StreamId, (Epoch, u32)>>);

impl Stalls {
    fn count(&self, job: &Job) {
        let mut stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stalls.len() >= MAX_STALLED && !stalls.contains_key(&job.stream) {
            // A stream that went elsewhere between two attempts is never forgotten otherwise.
            stalls.pop_first();
        }
        let count = match stalls.get(&job.stream) {
            Some((epoch, count)) if *epoch == job.epoch => count.saturating_add(1),
            Some(_) | None => 1,
        };
        stalls.insert(job.stream.clone(), (job.epoch, count));
    }

    fn of(&self, job: &Job) -> u32 {
        let stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = stalls.get(&job.stream).filter(|(epoch, _)| *epoch == job.epoch);
        found.map_or(0, |(_, count)| *count)
    }

    fn forget(&self, job: &Job) {
        let mut stalls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stalls.remove(&job.stream);
    }
}

/// How much flows.
struct Flow {
    bytes: u64,
    since: Instant,
    recent: u64,
}

impl Flow {
    const fn new(now: Instant) -> Self {
        Self {
            bytes: 0,
            since: now,
            recent: 0,
        }
    }

    /// Counts; now and then tells the bytes per second.
    fn add(&mut self, count: usize, now: Instant) -> Option<u64> {
        let count = count as u64;
        self.bytes += count;
        self.recent += count;
        let passed = now - self.since;
        if passed < RATE_EVERY {
            return None;
        }
        let rate = u128::from(self.recent) * 1_000 / passed.as_millis();
        self.since = now;
        self.recent = 0;
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_time_since_it_was_told() {
        let start = Instant::now();
        let mut flow = Flow::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(flow.add(6_000, at(5)), None);
        assert_eq!(flow.add(6_000, at(10)), Some(1_200));
        assert_eq!(flow.add(1_000, at(19)), None);
        assert_eq!(flow.add(7_000, at(30)), Some(400));
        assert_eq!(flow.bytes, 20_000);
    }
}
