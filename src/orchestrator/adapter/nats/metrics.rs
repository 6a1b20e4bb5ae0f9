//! Names of the bus's metrics, as this folder calls them.

pub(super) use crate::telemetry::metrics::{
    MESSAGES_REFUSED as REFUSED, MESSAGES_UNSENT as UNSENT, NATS_CONNECTED as CONNECTED,
    NATS_CONNECTS as CONNECTS, NATS_SERVER_RESTARTS as SERVER_RESTARTS, NATS_SLOW_CONSUMER as SLOW,
};
