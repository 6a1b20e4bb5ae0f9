//! NATS as the actors see it.

use std::time::Duration;

use async_trait::async_trait;
use streamkeeper_protocol::{
    Alert, Assign, Beacon, Control, ControlReply, Event, Heartbeat, LogReply, LogRequest, SessionId,
    Severity, WorkerId,
};

/// Why a message was not handed to the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No connection: nothing was queued, because late messages would be stale.
    #[error("not connected to NATS")]
    Disconnected,
    /// The outgoing queue is full.
    #[error("the outgoing queue of {0} messages is full")]
    Full(usize),
    /// The message cannot be encoded, or one entry alone is over the server's limit.
    #[error("message cannot be sent: {0}")]
    Unsendable(String),
    /// Nobody answers on the subject.
    #[error("nobody listens on {0}")]
    NoResponders(String),
    /// No answer in time.
    #[error("no answer on {subject} within {timeout:?}")]
    Timeout {
        /// The subject.
        subject: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// An answer came that is not one.
    #[error("unreadable answer on {subject}: {reason}")]
    BadAnswer {
        /// The subject.
        subject: String,
        /// What is wrong.
        reason: String,
    },
    /// The server was to keep the message, and did not say that it has.
    #[error("the message server did not keep it: {0}")]
    NotKept(String),
}

/// Outgoing messages. All but `control`, `logs` and `keep_alert` only queue, never block, and are lost when the connection
/// is: whoever sends repeats what still holds.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Sends one answer, in parts where it is larger than the server's `max_payload`; `compressed` where it is large and
    /// its receiver understands that.
    ///
    /// # Errors
    /// When it was not queued.
    fn assign(&self, assign: &Assign, compressed: bool) -> Result<(), BusError>;

    /// Sends the leader's beacon.
    ///
    /// # Errors
    /// When it was not queued.
    fn beacon(&self, beacon: &Beacon) -> Result<(), BusError>;

    /// Sends one change of an alert to whoever listens now.
    ///
    /// # Errors
    /// When it was not queued.
    fn alert(&self, severity: Severity, rule: &str, alert: &Alert) -> Result<(), BusError>;

    /// Sends one change of an alert and waits until the server keeps it for consumers that are away. The same change
    /// may be sent again: it is kept once. A server that keeps nothing passes it on as [`Bus::alert`] does.
    ///
    /// # Errors
    /// When it was not sent, or not kept as far as is known: it is to be sent again.
    async fn keep_alert(&self, severity: Severity, rule: &str, alert: &Alert) -> Result<(), BusError> {
        self.alert(severity, rule, alert)
    }

    /// Sends an event.
    ///
    /// # Errors
    /// When it was not queued.
    fn event(&self, event: &Event) -> Result<(), BusError>;

    /// Orders a worker something and waits for its answer.
    ///
    /// # Errors
    /// When nobody answers in time.
    async fn control(&self, control: &Control, timeout: Duration) -> Result<ControlReply, BusError>;

    /// Asks a worker for lines of a stream. The answer may take as long as the request lets it wait, and `timeout` besides.
    ///
    /// # Errors
    /// When nobody answers in time.
    async fn logs(&self, request: &LogRequest, timeout: Duration) -> Result<LogReply, BusError>;

    /// Whether there is a connection now.
    fn connected(&self) -> bool;

    /// Asks the server for a sign of life (a flush) and says how long it took.
    ///
    /// # Errors
    /// When there is no connection or no answer within a second.
    async fn ping(&self) -> Result<Duration, BusError>;
}

/// Incoming messages, already decoded and checked. Implementations never block.
pub trait Inbox: Send + Sync + 'static {
    /// Heartbeats, in the order of arrival.
    fn heartbeats(&self, batch: Vec<Heartbeat>);

    /// Another leader's sign of life.
    fn beacon(&self, beacon: Beacon);

    /// The connection came or went.
    fn connection(&self, connected: bool);

    /// A connection of this session ended, as the server saw it; the session may have another one.
    fn disconnected(&self, worker: WorkerId, session: SessionId);
}
