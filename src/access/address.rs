//! Addresses of message servers; what is shown never holds a login.

use async_nats::ServerAddr;

/// One server, and who we are there where its URL says so.
#[derive(Debug, Clone)]
pub struct Address {
    /// For the client.
    pub server: ServerAddr,
    /// For people, without login.
    pub shown: String,
    /// User (or token) in the URL.
    pub user: Option<String>,
    /// Password in the URL.
    pub password: Option<String>,
}

impl Address {
    /// Reads a URL: `nats://host:4222`, `tls://user:password@host`.
    ///
    /// # Errors
    /// What is wrong with it and what to write, without the URL itself.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |problem: &str| format!("{problem}; write nats://host:4222 or tls://host:4222");
        let server: ServerAddr = url
            .parse()
            .map_err(|error: std::io::Error| wrong(&error.to_string()))?;
        if server.is_websocket() {
            return Err(wrong("websockets are not supported"));
        }
        if !matches!(server.scheme(), "nats" | "tls") {
            return Err(wrong("no address of a message server"));
        }
        if server.host().is_empty() {
            return Err(wrong("no host"));
        }
        Ok(Self {
            user: server.username().map(decoded),
            password: server.password().map(decoded),
            shown: without_login(url),
            server,
        })
    }
}

/// The URL without what stands before its host. It also works for text that is no URL, because errors quote that.
#[must_use]
pub fn without_login(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    format!("{scheme}{host}")
}

/// Undoes the percent encoding of a user or password.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = (first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_their_login() {
        let found = Address::parse("nats://a%40b:p%3Ass%zz@host").unwrap();
        assert_eq!(found.user.as_deref(), Some("a@b"));
        assert_eq!(found.password.as_deref(), Some("p:ss%zz"));
        assert_eq!(found.shown, "nats://host");
        let bare = Address::parse("host:4300").unwrap();
        assert_eq!(
            (bare.user, bare.server.host(), bare.server.port()),
            (None, "host", 4300)
        );
        assert_eq!(bare.shown, "host:4300");
        assert_eq!(Address::parse("tls://[::1]:9").unwrap().shown, "tls://[::1]:9");
    }

    #[test]
    fn bad_urls_are_explained_without_their_password() {
        for (url, expected) in [
            ("http://u:secret@host", "address"),
            ("nats://u:secret@ho st", "host"),
            ("ws://u:secret@host", "websockets"),
            ("nats://u:se@cret@host:99999", "port"),
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(error.contains(expected) || error.contains("invalid"), "{error}");
            assert!(error.contains("tls://host:4222"), "{error}");
            assert!(!error.contains("secret") && !error.contains("cret@"), "{error}");
        }
    }
}
