//! Why a message server is not to be had, and whether waiting helps.

use std::error::Error;

use async_nats::{ConnectError, ConnectErrorKind, rustls};

/// Whether a failure to connect may pass by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The server may come yet.
    Passing,
    /// The server refuses our login.
    Refused,
    /// One side does not trust the other's certificate.
    Untrusted,
}

/// What kind of trouble it is. Trust is read from the cause, because the client reports it as any other failure to read.
#[must_use]
pub fn trouble(error: &ConnectError) -> Trouble {
    let tls = || {
        let cause = error.source()?.downcast_ref::<std::io::Error>()?;
        cause.get_ref()?.downcast_ref::<rustls::Error>()
    };
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation => Trouble::Refused,
        ConnectErrorKind::Tls => Trouble::Untrusted,
        _ if tls().is_some() => Trouble::Untrusted,
        _ => Trouble::Passing,
    }
}
