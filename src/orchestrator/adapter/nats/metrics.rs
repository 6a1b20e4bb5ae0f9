//! Names of the bus's metrics.

/// Messages that were refused, by `reason`.
pub(super) const REFUSED: &str = "streamkeeper_messages_refused_total";
/// Outgoing messages that were given up, by `reason`.
pub(super) const UNSENT: &str = "streamkeeper_messages_unsent_total";
/// Connections to NATS that came to stand.
pub(super) const CONNECTS: &str = "streamkeeper_nats_connects_total";
/// Times that the client dropped incoming messages because we read too slowly.
pub(super) const SLOW: &str = "streamkeeper_nats_slow_consumer_total";
/// Times that the managed nats-server ended by itself and was started again.
pub(super) const SERVER_RESTARTS: &str = "streamkeeper_nats_server_restarts_total";
