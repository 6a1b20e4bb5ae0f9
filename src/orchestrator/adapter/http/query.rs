//! Query parameters: every one must be known, so that a misspelt `dry_run` does not change anything.

use std::fmt::Display;
use std::str::FromStr;

use actix_web::HttpRequest;
use actix_web::web;

use super::problem::{ErrorItem, Kind, Problem};

/// The parameters that nobody has taken yet, and what was wrong with those that were taken.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<ErrorItem>,
}

impl Query {
    pub(super) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|error| Problem::new(Kind::InvalidQuery, error.to_string()))?;
        Ok(Self {
            pairs: pairs.into_inner(),
            known: Vec::new(),
            errors: Vec::new(),
        })
    }

    /// Takes a parameter as text.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let mut values: Vec<String> = self
            .pairs
            .extract_if(.., |(key, _)| key == name)
            .map(|(_, value)| value)
            .collect();
        if values.len() > 1 {
            self.wrong(name, format!("is given {} times; give it once", values.len()));
        }
        values.pop()
    }

    /// Takes a parameter and reads it.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(name, format!("{text:?}: {error}"));
                None
            }
        }
    }

    /// Takes a parameter that is one of some words.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let chosen = words.iter().find(|(word, _)| *word == text);
        if chosen.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(name, format!("{text:?}: write one of {}", words.join(", ")));
        }
        chosen.map(|(_, value)| *value)
    }

    /// Takes every parameter `prefix.KEY=VALUE`.
    pub(super) fn map(&mut self, prefix: &str, shown: &'static str) -> Vec<(String, String)> {
        self.known.push(shown);
        self.pairs
            .extract_if(.., |(key, _)| key.starts_with(prefix) && key.len() > prefix.len())
            .map(|(key, value)| (key[prefix.len()..].to_owned(), value))
            .collect()
    }

    pub(super) fn wrong(&mut self, name: &str, detail: String) {
        self.errors.push(ErrorItem::parameter(name, detail));
    }

    /// Refuses whatever is left, and whatever was wrong.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in &self.pairs {
            let known = match self.known.is_empty() {
                true => "this path takes none".to_owned(),
                false => format!("known are {}", self.known.join(", ")),
            };
            self.errors
                .push(ErrorItem::parameter(name, format!("unknown parameter; {known}")));
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        let detail = match self.errors.len() {
            1 => "one parameter is wrong".to_owned(),
            count => format!("{count} parameters are wrong"),
        };
        Err(Problem::new(Kind::InvalidQuery, detail).with_errors(self.errors))
    }
}

/// `dry_run=true`.
pub(super) fn dry_run(request: &HttpRequest) -> Result<bool, Problem> {
    let mut query = Query::of(request)?;
    let dry_run = query.choice("dry_run", &[("true", true), ("false", false)]);
    query.finish()?;
    Ok(dry_run.unwrap_or(false))
}
