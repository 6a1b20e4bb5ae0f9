//! The wire contract: golden bytes stay decodable, bad bytes are refused by name, the documents say what the code does.

mod asyncapi;
mod bad_input;
mod compression;
mod document;
mod examples;
mod golden;
mod schema;
mod tolerance;
