//! Phases of the start: each is logged with its time, and one that fails says which it was.

use std::future::Future;

use anyhow::Context as _;

/// Runs one phase.
pub(super) async fn phase<T, E>(name: &str, work: impl Future<Output = Result<T, E>>) -> anyhow::Result<T>
where
    E: Into<anyhow::Error>,
{
    let start = tokio::time::Instant::now();
    let outcome = work.await.map_err(Into::into);
    let ms = start.elapsed().as_millis();
    match outcome {
        Ok(done) => {
            tracing::info!(phase = name, ms, "ready");
            Ok(done)
        }
        Err(error) => Err(error).with_context(|| format!("start failed in phase \"{name}\" after {ms} ms")),
    }
}
