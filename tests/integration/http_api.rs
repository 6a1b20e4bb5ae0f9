//! The HTTP API as clients see it: a real server, with small stand-ins behind the ports.

mod acting;
mod alerting;
mod changing;
mod consistency;
mod events;
mod incidents;
mod kept;
mod leading;
mod lines;
mod openapi;
mod plans;
mod probes;
mod reading;
mod recovery;
mod refusing;
mod samples;
mod schema;
mod slow;
mod world;
