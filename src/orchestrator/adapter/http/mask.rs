//! Hides the secrets of sources wherever they may show: answers, problems, logs.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// What stands in place of a secret.
pub(super) const MASK: &str = "***";
/// A shorter secret is not looked for where it stands alone: hiding every letter that it shares with other words would
/// tell it.
const MIN_SECRET_BYTES: usize = 4;
/// Parts of a query parameter's name that make its value a secret.
const SECRET_NAMES: [&str; 8] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "signature",
    "apikey",
    "api_key",
    "auth",
];

/// Replaces passwords in URLs (`scheme://user:pass@host`, `scheme://token@host`) and in query parameters
/// (`?token=…`) by `***`, wherever they stand in a text.
#[must_use]
pub fn mask(text: &str) -> Cow<'_, str> {
    hide(text, &mut |_| {})
}

/// Masks, and tells each secret that it finds.
fn hide<'a>(text: &'a str, found: &mut impl FnMut(&str)) -> Cow<'a, str> {
    if !text.contains("://") && !text.contains('=') {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        shown.push_str(before);
        rest = match login(after) {
            None => after,
            Some((login, host)) => {
                if let Some((user, password)) = login.split_once(':') {
                    shown.push_str(user);
                    shown.push(':');
                    found(password);
                } else {
                    found(login);
                }
                shown.push_str(MASK);
                host
            }
        };
    }
    shown.push_str(rest);
    let shown = mask_parameters(&shown, found);
    if shown == text {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(shown)
    }
}

/// The secrets of a stream's source, to be hidden where they stand alone: a program may say its password in words.
#[derive(Debug)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn of(source: &str) -> Self {
        let mut secrets = Vec::new();
        hide(source, &mut |secret| {
            let plain = percent_decode_str(secret).decode_utf8_lossy().into_owned();
            secrets.extend([secret.to_owned(), plain]);
        });
        secrets.retain(|secret| secret.len() >= MIN_SECRET_BYTES && secret != MASK);
        // The longest first: one may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    pub(super) fn hide(&self, text: &str) -> String {
        let mut shown = mask(text).into_owned();
        for secret in &self.0 {
            if shown.contains(secret) {
                shown = shown.replace(secret, MASK);
            }
        }
        shown
    }
}

/// Whether a text holds the mask where a secret belongs: it was copied from an answer.
pub(super) fn is_masked(text: &str) -> bool {
    text.contains("***@") || text.contains("=***")
}

/// Cuts what follows `://` into login and `@host…`, where there is a login.
fn login(after: &str) -> Option<(&str, &str)> {
    let word = after.split(char::is_whitespace).next().unwrap_or_default();
    let authority = word.split(['/', '?', '#']).next().unwrap_or_default();
    let at = authority.rfind('@').or_else(|| {
        // A password that was not escaped may hold a slash; what looks like a port then is none.
        let (_, port) = authority.rsplit_once(':')?;
        let port_like = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let bracketed = authority.ends_with(']');
        (!port_like && !bracketed).then(|| word.rfind('@')).flatten()
    })?;
    Some(after.split_at(at))
}

fn mask_parameters(text: &str, found: &mut impl FnMut(&str)) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['?', '&', ';']) {
        let (before, after) = rest.split_at(start + 1);
        shown.push_str(before);
        rest = after;
        let name_end = after
            .find(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c)))
            .unwrap_or(after.len());
        let (name, value) = after.split_at(name_end);
        let Some(value) = value.strip_prefix('=') else {
            continue;
        };
        let lower = name.to_ascii_lowercase();
        if lower == "key" || lower == "sig" || SECRET_NAMES.iter().any(|secret| lower.contains(secret)) {
            let value_end = value
                .find(|c: char| "&;#\"'".contains(c) || c.is_whitespace())
                .unwrap_or(value.len());
            found(&value[..value_end]);
            shown.push_str(name);
            shown.push('=');
            shown.push_str(MASK);
            rest = &value[value_end..];
        }
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_nothing_else() {
        let cases = [
            (
                "rtsp://cam:s3cret@10.0.0.7:554/live",
                "rtsp://cam:***@10.0.0.7:554/live",
            ),
            ("rtsp://cam:p@ss@host/x", "rtsp://cam:***@host/x"),
            ("rtsp://cam:p/w@host/x", "rtsp://cam:***@host/x"),
            ("https://ghp_token@host/x", "https://***@host/x"),
            ("http://host:8000/mount", "http://host:8000/mount"),
            ("http://host:8000/a@b", "http://host:8000/a@b"),
            ("http://host/user@example.org", "http://host/user@example.org"),
            ("http://[::1]/user@example.org", "http://[::1]/user@example.org"),
            (
                "https://host/x.m3u8?Token=abc&quality=hd",
                "https://host/x.m3u8?Token=***&quality=hd",
            ),
            (
                "https://host/x?a=1&api_key=abc#t",
                "https://host/x?a=1&api_key=***#t",
            ),
            ("/dev/video0", "/dev/video0"),
            (
                "cannot read \"http://u:p@h/a\" nor ftp://v:q@i",
                "cannot read \"http://u:***@h/a\" nor ftp://v:***@i",
            ),
            ("mail a@b.c about http://h/", "mail a@b.c about http://h/"),
            ("select * from t where a=1", "select * from t where a=1"),
        ];
        for (text, expected) in cases {
            assert_eq!(mask(text), expected);
            assert_eq!(mask(expected), expected, "masking twice changes nothing");
            assert_eq!(is_masked(expected), text != expected, "{expected}");
        }
    }

    #[test]
    fn secrets_are_hidden_where_they_stand_alone() {
        let secrets = Secrets::of("rtsp://cam:p%40ss-word@10.0.0.7/live?token=abcd&key=xy");
        for (text, expected) in [
            ("login cam with p@ss-word refused", "login cam with *** refused"),
            ("GET /live?token=abcd&key=xy", "GET /live?token=***&key=***"),
            ("p%40ss-word, abcdef, xy", "***, ***ef, xy"),
            ("nothing here", "nothing here"),
            ("other http://u:v@h/", "other http://u:***@h/"),
        ] {
            assert_eq!(secrets.hide(text), expected);
        }
        assert_eq!(Secrets::of("http://host/x").hide("host"), "host");
    }
}
