//! The HTTP API as clients see it: a real server, with small stand-ins behind the ports.

mod changing;
mod openapi;
mod probes;
mod reading;
mod refusing;
mod schema;
mod world;
