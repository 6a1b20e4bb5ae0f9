//! Support for the tests that cross crates.

#[path = "support/fleet.rs"]
pub mod fleet;
#[path = "support/http.rs"]
pub mod http;
#[path = "support/icecast.rs"]
pub mod icecast;
#[path = "support/marks.rs"]
pub mod marks;
#[path = "support/nats.rs"]
pub mod nats;
#[path = "support/ports.rs"]
pub mod ports;
#[path = "support/postgres.rs"]
pub mod postgres;
#[path = "support/process.rs"]
pub mod process;
#[path = "support/program.rs"]
pub mod program;
#[path = "support/state.rs"]
pub mod state;
#[path = "support/wait.rs"]
pub mod wait;
#[path = "support/world.rs"]
pub mod world;
