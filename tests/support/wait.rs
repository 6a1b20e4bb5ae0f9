//! Waiting by looking again and again, with a generous deadline: no test depends on how fast the machine is.

use std::time::Duration;

use tokio::time::Instant;

/// Time for everything that ends by itself on a healthy machine, however busy it is.
pub const GENEROUS: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` has an answer, or gives up with the last reason why not.
pub async fn until<T>(
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, String> {
    let end = Instant::now() + deadline;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(reason) if Instant::now() >= end => {
                return Err(format!("after {deadline:?} still: {reason}"));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
