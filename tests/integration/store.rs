//! The store's contract, on real databases of both kinds.

mod admin;
mod alerts;
mod backend;
mod bad;
mod contract;
mod durable;
mod events;
mod faults;
mod kept;
mod opening;
mod plans;
mod pool;
mod samples;
mod secured;
mod stepping;
mod takeover;
