//! The wire contract: golden bytes stay decodable, bad bytes are refused by name.

mod bad_input;
mod golden;
