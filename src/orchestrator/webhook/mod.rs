//! What a webhook may be: which addresses it may lie at, and what it is told. Both the settings and the sink judge by this.

mod address;
mod template;

pub use address::{Refusal, refusal};
pub use template::{BadTemplate, Template};
