//! Names of incidents.

use std::fmt;
use std::str::FromStr;

use streamkeeper_protocol::Term;

/// Names an incident: the term under which it began, and its number within that. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId {
    /// The leadership that saw it begin.
    pub term: Term,
    /// Counts the incidents of that leadership, from 1.
    pub number: u32,
}

impl IncidentId {
    /// The one after `newest`, under this term.
    pub(super) fn after(newest: Option<Self>, term: Term) -> Self {
        let before = newest.filter(|newest| newest.term == term);
        Self {
            term,
            number: before.map_or(0, |before| before.number).saturating_add(1),
        }
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.number)
    }
}

impl FromStr for IncidentId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (term, number) = text.split_once('-')?;
            Some(Self {
                term: Term::new(term.parse().ok()?).ok()?,
                number: number.parse().ok()?,
            })
        };
        read().ok_or_else(|| format!("{text:?} names no incident; they are called such as \"17-3\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let first = IncidentId::after(None, Term::new(17).unwrap());
        assert_eq!(first.to_string(), "17-1");
        assert_eq!("17-1".parse(), Ok(first));
        let second = IncidentId::after(Some(first), first.term);
        assert_eq!(second.to_string(), "17-2");
        assert!(second > first);
        let later = IncidentId::after(Some(second), Term::new(33).unwrap());
        assert_eq!(later.to_string(), "33-1");
        assert!(later > second);
        for wrong in ["", "17", "17-", "-1", "x-1", "4294967295-1", "1-99999999999"] {
            let error = wrong.parse::<IncidentId>().unwrap_err();
            assert!(error.contains("17-3"), "{error}");
        }
    }
}
