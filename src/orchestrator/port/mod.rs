//! What actors and adapters may ask of each other: traits and plain values, no implementation.

pub mod alert_sink;
pub mod breakers;
pub mod bus;
pub mod clock;
pub mod gateway;
pub mod incidents;
pub mod journal;
pub mod leader_key;
pub mod samples;
pub mod start;
pub mod store;
pub mod terms;

pub use alert_sink::{AlertSink, SinkError};
pub use breakers::{BreakerStatus, Breakers};
pub use bus::{Bus, BusError, Inbox};
pub use clock::Clock;
pub use gateway::{
    ActorStatus, AlertOrderError, Gateway, GatewayError, LeaderSeen, OrderError, StepDownError, View,
};
pub use incidents::IncidentLog;
pub use journal::{AuditEvent, EventLog, EventQuery, Journal, StoredEvent, Waiting};
pub use leader_key::LeaderKey;
pub use samples::SampleLog;
pub use start::{Current, Phase, Start};
pub use store::{LongTransaction, Store, StoreError, TakenOver};
pub use terms::TermMemory;
