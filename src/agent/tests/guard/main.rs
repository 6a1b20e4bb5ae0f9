//! A real agent, a real guard, real commands, real deaths. The tests build their program (an example of this crate) themselves.
#![cfg(test)]

mod agent;
mod commands;
mod deaths;
mod leases;
mod limits;
mod output;
mod reader;
mod support;
