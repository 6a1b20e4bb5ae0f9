//! MessagePack with named fields, compressed where it is large. Size and depth are limited before anything is decoded.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::PROTOCOL_VERSION;
use crate::assign::Assign;
use crate::compress::{inflate, is_compressed};
use crate::control::{Control, ControlReply};
use crate::heartbeat::Heartbeat;
use crate::id::WorkerId;
use crate::leader::{Beacon, LeaderRecord};
use crate::limit::{
    MAX_DEPTH, MAX_ENTRIES, MAX_LABELS, MAX_LEADER_LEASE_MS, MAX_LOG_LINE_BYTES, MAX_LOG_LINES,
    MAX_LOG_WAIT_MS, MAX_MESSAGE_BYTES, MAX_PARTS, MAX_PERFORMANCE, MAX_SOURCE_BYTES, MAX_TEXT_BYTES,
};
use crate::logs::{LogReply, LogRequest};

/// Why a message was refused. [`DecodeError::reason`] is its metric label.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Larger than the limit; it was not looked at.
    #[error("message of {0} bytes is over the limit of {MAX_MESSAGE_BYTES}")]
    TooLarge(usize),
    /// Compressed, and larger than the limit when inflated; it was not inflated further.
    #[error("compressed message has more than the limit of {MAX_MESSAGE_BYTES} bytes in it")]
    Bomb,
    /// Compressed, and damaged or cut off.
    #[error("compressed message is damaged or cut off")]
    Damaged,
    /// Not MessagePack, or not this message.
    #[error("message is malformed")]
    Malformed(#[source] rmp_serde::decode::Error),
    /// Bytes follow after the message.
    #[error("{0} bytes follow after the message")]
    Trailing(usize),
    /// Another protocol version.
    #[error("message has protocol version {0}, this side speaks {PROTOCOL_VERSION}")]
    Version(u16),
    /// A list, text or number is over its limit.
    #[error("field {0} is over its limit")]
    Limit(&'static str),
    /// The subject names another worker than the payload.
    #[error("subject names worker {subject}, payload names {payload}")]
    Spoofed {
        /// The worker of the subject.
        subject: String,
        /// The worker of the payload.
        payload: WorkerId,
    },
}

impl DecodeError {
    /// Short name for metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::Bomb => "bomb",
            Self::Damaged => "damaged",
            Self::Malformed(_) => "malformed",
            Self::Trailing(_) => "trailing",
            Self::Version(_) => "version",
            Self::Limit(_) => "limit",
            Self::Spoofed { .. } => "spoofed",
        }
    }
}

/// A message that can be checked after decoding.
pub trait Message: Serialize + DeserializeOwned {
    /// The `v` of the message.
    fn version(&self) -> u16;
    /// The worker that the message belongs to, where its subject names one.
    fn worker(&self) -> Option<&WorkerId> {
        None
    }
    /// Checks lists, texts and numbers against their limits.
    ///
    /// # Errors
    /// The first field over its limit.
    fn check(&self) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// Encodes a message. Messages hold nothing that MessagePack cannot carry, so this does not fail in practice.
///
/// # Errors
/// When a value cannot be encoded.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    rmp_serde::to_vec_named(message)
}

/// Decodes a message, compressed or not, and checks version, limits and, where `subject_worker` is given, that the payload names the same
/// worker.
///
/// # Errors
/// When the message is refused; nothing of it may be used.
pub fn decode<M: Message>(bytes: &[u8], subject_worker: Option<&WorkerId>) -> Result<M, DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLarge(bytes.len()));
    }
    let inflated;
    let bytes = if is_compressed(bytes) {
        inflated = inflate(bytes)?;
        &inflated
    } else {
        bytes
    };
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(MAX_DEPTH);
    let message = match M::deserialize(&mut deserializer) {
        Ok(message) => message,
        Err(error) => {
            return Err(other_version(bytes).map_or(DecodeError::Malformed(error), DecodeError::Version));
        }
    };
    drop(deserializer);
    if !rest.is_empty() {
        return Err(DecodeError::Trailing(rest.len()));
    }
    if message.version() != PROTOCOL_VERSION {
        return Err(DecodeError::Version(message.version()));
    }
    if let (Some(subject), Some(payload)) = (subject_worker, message.worker())
        && subject != payload
    {
        return Err(DecodeError::Spoofed {
            subject: subject.to_string(),
            payload: payload.clone(),
        });
    }
    message.check()?;
    Ok(message)
}

/// The version of a message whose shape is not ours, if it names another one.
fn other_version(bytes: &[u8]) -> Option<u16> {
    #[derive(serde::Deserialize)]
    struct OnlyVersion {
        v: u16,
    }
    let mut deserializer = rmp_serde::Deserializer::new(bytes);
    deserializer.set_max_depth(MAX_DEPTH);
    let only: OnlyVersion = serde::Deserialize::deserialize(&mut deserializer).ok()?;
    (only.v != PROTOCOL_VERSION).then_some(only.v)
}

fn limit(ok: bool, field: &'static str) -> Result<(), DecodeError> {
    if ok {
        Ok(())
    } else {
        Err(DecodeError::Limit(field))
    }
}

fn check_labels(labels: &std::collections::BTreeMap<String, String>) -> Result<(), DecodeError> {
    limit(labels.len() <= MAX_LABELS, "labels")?;
    let fits = |text: &String| text.len() <= MAX_TEXT_BYTES;
    limit(
        labels.iter().all(|(key, value)| fits(key) && fits(value)),
        "labels",
    )
}

impl Message for Heartbeat {
    fn version(&self) -> u16 {
        self.v
    }

    fn worker(&self) -> Option<&WorkerId> {
        Some(&self.worker)
    }

    fn check(&self) -> Result<(), DecodeError> {
        limit(self.seq > 0, "seq")?;
        limit(self.boot_id.len() <= MAX_TEXT_BYTES, "boot_id")?;
        limit(self.version.len() <= MAX_TEXT_BYTES, "version")?;
        limit(
            self.zone.as_ref().is_none_or(|zone| zone.len() <= MAX_TEXT_BYTES),
            "zone",
        )?;
        limit(
            self.capacity.weight.is_finite() && self.capacity.weight >= 0.0,
            "capacity.weight",
        )?;
        check_labels(&self.labels)?;
        limit(self.performance.len() <= MAX_PERFORMANCE, "performance")?;
        let cpu = self
            .performance
            .iter()
            .filter_map(|stream| stream.measured.cpu_cores);
        limit(
            cpu.into_iter().all(|cores| cores.is_finite() && cores >= 0.0),
            "performance.cpu_cores",
        )?;
        let inventory = &self.inventory;
        limit(inventory.count as usize <= MAX_ENTRIES, "inventory.count")?;
        limit(
            inventory.running.len() <= inventory.count as usize,
            "inventory.running",
        )?;
        limit(
            inventory.parts <= MAX_PARTS && inventory.part <= inventory.parts,
            "inventory.parts",
        )?;
        let reasons = inventory
            .running
            .iter()
            .filter_map(|running| running.reason.as_ref());
        limit(
            reasons.map(String::len).all(|len| len <= MAX_TEXT_BYTES),
            "inventory.running.reason",
        )
    }
}

impl Message for Assign {
    fn version(&self) -> u16 {
        self.v
    }

    fn worker(&self) -> Option<&WorkerId> {
        Some(&self.worker)
    }

    fn check(&self) -> Result<(), DecodeError> {
        limit(self.entries.len() <= MAX_ENTRIES, "entries")?;
        limit(self.parts <= MAX_PARTS && self.part <= self.parts, "parts")?;
        limit(
            self.reason
                .as_ref()
                .is_none_or(|reason| reason.len() <= MAX_TEXT_BYTES),
            "reason",
        )?;
        for spec in self.entries.iter().filter_map(|entry| entry.spec.as_ref()) {
            limit(spec.source.len() <= MAX_SOURCE_BYTES, "entries.spec.source")?;
            check_labels(&spec.labels)?;
        }
        Ok(())
    }
}

impl Message for Control {
    fn version(&self) -> u16 {
        self.v
    }

    fn worker(&self) -> Option<&WorkerId> {
        Some(&self.worker)
    }

    fn check(&self) -> Result<(), DecodeError> {
        limit(self.id.len() <= MAX_TEXT_BYTES, "id")
    }
}

impl Message for ControlReply {
    fn version(&self) -> u16 {
        self.v
    }
}

impl Message for Beacon {
    fn version(&self) -> u16 {
        self.v
    }

    fn check(&self) -> Result<(), DecodeError> {
        limit(self.api_url.len() <= MAX_TEXT_BYTES, "api_url")
    }
}

impl Message for LeaderRecord {
    fn version(&self) -> u16 {
        self.v
    }

    fn check(&self) -> Result<(), DecodeError> {
        limit(self.lease_ms <= MAX_LEADER_LEASE_MS, "lease_ms")
    }
}

impl Message for LogRequest {
    fn version(&self) -> u16 {
        self.v
    }

    fn worker(&self) -> Option<&WorkerId> {
        Some(&self.worker)
    }

    fn check(&self) -> Result<(), DecodeError> {
        limit((1..=MAX_LOG_LINES).contains(&(self.lines as usize)), "lines")?;
        limit(self.wait_ms <= MAX_LOG_WAIT_MS, "wait_ms")
    }
}

impl Message for LogReply {
    fn version(&self) -> u16 {
        self.v
    }

    fn check(&self) -> Result<(), DecodeError> {
        limit(self.lines.len() <= MAX_LOG_LINES, "lines")?;
        let mut texts = self.lines.iter().map(|line| &line.text);
        limit(texts.all(|text| text.len() <= MAX_LOG_LINE_BYTES), "lines.text")?;
        limit(
            self.reason
                .as_ref()
                .is_none_or(|reason| reason.len() <= MAX_TEXT_BYTES),
            "reason",
        )
    }
}

impl Message for crate::alert::Alert {
    fn version(&self) -> u16 {
        self.v
    }
}

impl Message for crate::event::Event {
    fn version(&self) -> u16 {
        self.v
    }
}
