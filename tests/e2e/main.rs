//! The whole program, judged from outside: real processes, a real nats-server, a real icecast2.

mod agent;
mod alerting;
mod bench;
mod classic;
mod consistency;
mod database;
mod demo;
mod detection;
mod ends;
mod events;
mod exclusive;
mod icecast;
mod leaders;
mod logs;
mod moves;
mod operator;
mod outages;
mod owner_lost;
mod refusals;
mod restored;
mod secured;
mod silent_database;
mod start;
mod survival;
mod versions;
mod writes;
