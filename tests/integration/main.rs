//! Parts of the program against real servers.

mod http_api;
mod managed_nats;
mod nats_bus;
mod python_worker;
mod worker_driver;
