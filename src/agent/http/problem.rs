//! What went wrong, as people can read it: short, and without credentials.

use std::error::Error;

use reqwest::{StatusCode, Url};

use crate::text;

/// A URL without what may be secret: user, password, query.
pub(super) fn place(url: &Url) -> String {
    let mut place = url.clone();
    // Both fail only for URLs that cannot have them.
    let _ = place.set_username("");
    let _ = place.set_password(None);
    place.set_query(None);
    place.set_fragment(None);
    place.to_string()
}

/// Why there is no answer.
pub(super) fn of_request(error: &reqwest::Error) -> String {
    let cause = root_cause(error);
    if error.is_timeout() {
        format!("cannot connect in time: {cause}")
    } else if error.is_connect() {
        format!("cannot connect: {cause}")
    } else if error.is_redirect() {
        format!("redirected in vain: {cause}")
    } else {
        format!("no answer: {cause}")
    }
}

/// A status that is no success, with what to do.
pub(super) fn of_status(status: StatusCode) -> String {
    let advice = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; check user and password in the stream's source"
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => "; the source may be off air, or its path is wrong",
        _ => "",
    };
    format!("{status}{advice}")
}

/// The innermost error: the ones around it say only that there is one.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    text::mask(&cause.to_string())
}
