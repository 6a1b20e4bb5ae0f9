//! The `streamkeeper` command.

fn main() {}
