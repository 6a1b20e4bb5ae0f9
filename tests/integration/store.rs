//! The store's contract, on real databases of both kinds.

mod backend;
mod bad;
mod contract;
mod faults;
mod opening;
mod pool;
mod secured;
mod takeover;
