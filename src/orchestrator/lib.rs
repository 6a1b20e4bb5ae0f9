//! The orchestrator: a shell of supervised actors and adapters around the decisions of `streamkeeper-core`.
//!
//! `app` wires `adapter` and `actor`; both know only `port` and the core. Actors never import adapters, adapters
//! never import each other.

pub mod actor;
pub mod adapter;
pub mod app;
pub mod config;
pub mod port;
pub mod telemetry;
pub mod webhook;
