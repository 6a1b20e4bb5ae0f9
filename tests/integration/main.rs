//! Parts of the program against real servers.

mod flood;
mod http_api;
mod managed_nats;
mod metrics;
mod nats_alerts;
mod nats_bus;
mod python_worker;
mod store;
mod webhook;
mod worker_driver;
