//! Who a worker is in one life of its process.

use streamkeeper_protocol::{SessionId, WorkerId};

/// Who a worker is in this life: what the guard needs to tell its death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The worker.
    pub worker: WorkerId,
    /// This life.
    pub session: SessionId,
    /// The machine's boot id.
    pub boot_id: String,
}

impl Identity {
    /// A new life of `worker` on this machine, with a random session.
    ///
    /// ```
    /// use streamkeeper_worker::{Identity, WorkerId};
    ///
    /// let worker = WorkerId::new("w-1")?;
    /// let (one, other) = (Identity::new(worker.clone()), Identity::new(worker));
    /// assert_ne!(one.session, other.session);
    /// # Ok::<(), streamkeeper_worker::IdError>(())
    /// ```
    #[must_use]
    pub fn new(worker: WorkerId) -> Self {
        Self {
            worker,
            session: SessionId::from_u128(rand::random()),
            boot_id: boot_id(),
        }
    }
}

/// The machine's boot id. Where the machine has none, a random one: it never proves that two lives share a boot.
fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let known = read.ok().map(|text| text.trim().to_owned());
    known
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
}
